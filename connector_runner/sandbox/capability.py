"""The CapabilityStatement."""

from __future__ import annotations

from .fhir_json import Json
from .search_index import DATES, REFERENCES, STRINGS, TOKENS
from .validation import CHECKED_TYPES

_PARAMETERS = [
    *(("token", name) for name in sorted(TOKENS)),
    *(("reference", name) for name in sorted(REFERENCES)),
    *(("string", name) for name in sorted(STRINGS)),
    *(("date", name) for name in sorted(DATES)),
    ("token", "_id"),
    ("date", "_lastUpdated"),
]
_INTERACTIONS = [
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
]


def capability(system: str, base_url: str, client_ids: bool) -> Json:
    """What this system can do, as of its current settings."""
    resource = {
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": client_ids,
        "conditionalCreate": True,
        "conditionalRead": "not-match",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "searchParam": [{"name": name, "type": kind} for kind, name in _PARAMETERS],
    }
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": {"name": f"sandbox {system}", "version": "1"},
        "implementation": {"description": f"Simulated system {system!r}", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json"],
        "rest": [
            {
                "mode": "server",
                "resource": [{"type": name, **resource} for name in sorted(CHECKED_TYPES)],
                "interaction": [{"code": code} for code in ("transaction", "batch", "history-system")],
            }
        ],
    }
