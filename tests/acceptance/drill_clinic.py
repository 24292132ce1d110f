"""The clinic that drills are held on: its people, each of whose records says which word it is, and its systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector_runner.cli import demo
from tests.acceptance.stack import Sandbox

QUIET_S, BREAKER_S = 1.0, 3.0
RATE = {"per_second": 20, "burst": 10, "concurrency": 2}
"""With as few in flight, a sink that is slow to note arrivals cannot see more at once than the burst has room for."""
RESOURCES = ("Patient", "Appointment", "Consent")
# People whom nobody takes for one another.
FAMILIES = (
    "Abara", "Brenninkmeyer", "Castellano", "Dvorak", "Eriksson", "Fujimoto", "Gallagher", "Hashemi", "Ivanchuk",
    "Jankowski", "Kowalczyk", "Lindqvist", "Mbeki", "Nakashima", "Obolensky", "Papadakis",
)  # fmt: skip
GIVENS = ("Ada", "Boris", "Chiamaka", "Dietrich", "Esperanza", "Fyodor", "Guadalupe", "Hiroshi")


def patient(number: int, word: int) -> dict[str, Any]:
    """One whose phone says which word this is."""
    return {
        "resourceType": "Patient",
        "id": f"d{number}",
        "identifier": [{"system": "urn:mrn", "value": f"Drill{number}"}],
        "name": [{"use": "official", "family": FAMILIES[number % 16], "given": [GIVENS[number // 16 % 8]]}],
        "gender": ("female", "male")[number % 2],
        "birthDate": f"19{number * 17 % 70 + 20}-{number * 5 % 12 + 1:02d}-{number * 11 % 28 + 1:02d}",
        "telecom": [{"system": "phone", "use": "home", "value": f"617-555-{word:04d}"}],
    }


def appointment(number: int, word: int) -> dict[str, Any]:
    """That patient's visit, whose description says which word this is."""
    return {
        "resourceType": "Appointment",
        "id": f"v{number}",
        "identifier": [{"system": "urn:mrn", "value": f"visit{number}"}],
        "status": "booked",
        "description": f"visit{number} word {word}",
        "start": "2027-12-01T09:00:00Z",
        "end": "2027-12-01T09:20:00Z",
        "participant": [{"actor": {"reference": f"Patient/d{number}"}, "status": "accepted"}],
    }


def refused_consent(number: int) -> dict[str, Any]:
    """The patient's consent to sharing, withdrawn."""
    return {
        "resourceType": "Consent",
        "id": f"c{number}",
        "status": "inactive",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"text": "sharing"}],
        "patient": {"reference": f"Patient/d{number}"},
        "dateTime": "2026-01-01",
    }


def sink_settings(**more: Any) -> dict[str, Any]:
    """What both sinks have in common: little time to wait for anything."""
    return {
        "entity_types": ["patient", "appointment"],
        "accept_from": ["ehr"],
        "rate": RATE,
        "quiet_period_s": QUIET_S,
        "breaker": {"failures": 3, "first_open_s": 0.5, "most_open_s": BREAKER_S},
        **more,
    }


CONNECTION = {"mapping": "fhir_r4", "overlap_s": 5, "request_timeout_s": 2}


def store_document(store: Sandbox, token: Path, **more: Any) -> dict[str, Any]:
    """A store that chooses ids, wants a token and shares by consent."""
    credential = {"kind": "bearer", "token": f"file:{token}"}
    sink = sink_settings(client_id=False, consent="opt_out", write_auth=credential, **more)
    settings = {**CONNECTION, "base_url": store.fhir, "auth": credential, "sink": sink}
    return {"name": "store", "source_type": "fhir_store", "settings": settings}


def documents(ehr: Sandbox, store: Sandbox, crm: Sandbox, token: Path) -> list[dict[str, Any]]:
    """The EHR, polled and itself a sink; the store; a CRM."""
    polled = {name: {"cadence_s": 1} for name in RESOURCES}
    rest = next(document for document in demo.documents(dict.fromkeys(demo.SYSTEMS, f"{crm.root}/api")) if
                document["name"] == "crm")  # fmt: skip
    rest["settings"] |= {"sink": sink_settings(consent="none"), "request_timeout_s": 2}
    ehr_settings = {**CONNECTION, "base_url": ehr.fhir, "resources": polled, "sink": sink_settings(accept_from=[])}
    own = {"name": "ehr", "source_type": "fhir_store", "settings": ehr_settings}
    return [own, store_document(store, token), rest]
