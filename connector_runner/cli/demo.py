"""The simulated clinic of ``up``: an EHR that changes by itself, and a FHIR store and a CRM that are written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORKSPACE = "demo"
PATIENTS = 60
CHANGE_EVERY_S = 2.0
SYSTEMS = ("ehr", "store", "crm")
CLIENT = "connector-runner"
SCOPES = "system/*.cruds"

_READ_TYPES = (
    "Patient", "Practitioner", "Organization", "Location", "Appointment", "Encounter", "Condition", "Observation",
    "MedicationRequest", "AllergyIntolerance", "Immunization", "Procedure", "DiagnosticReport", "Coverage",
)  # fmt: skip
_WRITTEN = (
    "patient", "practitioner", "organization", "location", "appointment", "encounter", "medication_order",
    "insurance_plan",
)  # fmt: skip


def documents(base_urls: dict[str, str], *, smart: bool = False) -> list[dict[str, Any]]:
    """The data sources of the simulated clinic, for the addresses that its systems got.

    ``smart``: the EHR asks for tokens.
    """
    return [
        _crm(base_urls["crm"]),
        {
            "name": "ehr",
            "source_type": "fhir_store",
            "settings": {
                "base_url": base_urls["ehr"],
                **({"auth": {"kind": "smart_backend", "client_id": CLIENT, "scopes": SCOPES}} if smart else {}),
                "mapping": "fhir_r4",
                "overlap_s": 5,
                "resources": {name: {"cadence_s": 5, "full_sync_every_s": 3600} for name in _READ_TYPES},
                "sink": {
                    "entity_types": list(_WRITTEN),
                    "rate": {"per_second": 20, "burst": 5, "concurrency": 2},
                    "quiet_period_s": 5,
                },
            },
        },
        {
            "name": "store",
            "source_type": "fhir_store",
            "settings": {
                "base_url": base_urls["store"],
                "mapping": "fhir_r4",
                "overlap_s": 5,
                "resources": {"Patient": {"cadence_s": 10}, "Appointment": {"cadence_s": 10}},
                "sink": {
                    "entity_types": list(_WRITTEN),
                    "accept_from": ["ehr"],
                    "rate": {"per_second": 50, "burst": 10, "concurrency": 4},
                    "quiet_period_s": 5,
                },
            },
        },
    ]


def _crm(base_url: str) -> dict[str, Any]:
    """A CRM that is told of patients and their appointments."""
    record: dict[str, Any] = {"external_id_field": "externalId", "search_param": "externalId", "list_field": "results"}
    record |= {"version": "etag", "updated_field": "updatedAt", "read_only": ["createdAt", "version"]}
    return {
        "name": "crm",
        "source_type": "rest_api",
        "settings": {
            "base_url": base_url,
            "mapping": "crm",
            "records": {
                "Contact": {
                    **record,
                    "path": "contacts",
                    "upsert_path": "contacts/by-external-id/{external_id}",
                    "known_by": {"lastName": "lastName", "birthDate": "birthDate"},
                },
                "Activity": {**record, "path": "activities", "create": "idempotent_post"},
            },
            "errors": {"code": "error.code", "field": "error.field", "outcomes": {"EXISTS": "poison"}},
            "sink": {
                "entity_types": ["patient", "appointment"],
                "accept_from": ["ehr"],
                "rate": {"per_second": 20, "burst": 5, "concurrency": 2},
                "quiet_period_s": 5,
            },
        },
    }


def command_options(system: str, home: Path, key_set: str | None = None) -> list[str]:
    """How a simulated system is started; it keeps what it holds under the home folder.

    With the address of our public keys (``key_set``) the EHR asks for tokens, and knows us as a client.
    """
    words = ["--state", str(home / "sandbox" / system)]
    if system == "ehr":
        words += ["--patients", str(PATIENTS), "--change-every", str(CHANGE_EVERY_S)]
    if system == "ehr" and key_set is not None:
        clients = home / "sandbox" / "clients.json"
        clients.parent.mkdir(parents=True, exist_ok=True)
        clients.write_text(json.dumps([{"client_id": CLIENT, "jwks_url": key_set, "scopes": SCOPES}]))
        words += ["--auth", "smart", "--clients", str(clients)]
    return words
