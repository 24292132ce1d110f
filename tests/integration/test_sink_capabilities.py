"""What the settings say that a FHIR server can do, in the writes that it is sent."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.integration.outbound_stack import Clinic, System, a_patient

ENTITIES: dict[str, Any] = {"entity_types": ["patient"], "accept_from": ["ehr"]}


def behave(system: System, **behaviour: Any) -> None:
    requests.put(f"{system.running.switchboard}/behaviour", json=behaviour, timeout=10).raise_for_status()


@pytest.mark.parametrize("status", [412, 409])
def test_a_change_is_a_patch_that_keeps_what_others_wrote(
    clinic: Clinic, ehr: System, store: System, status: int
) -> None:
    behave(store, conflict_status=status)
    clinic.source("ehr", ehr)
    clinic.source("store", store, capabilities={"patch": True, "if_match": status}, **ENTITIES)
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    (held,) = store.all("Patient")
    store.put({**held, "maritalStatus": {"text": "Married"}})
    clinic.land("ehr", a_patient(phone="617-555-0199"))
    clinic.flow("store")
    (held,) = store.all("Patient")
    assert held["maritalStatus"] == {"text": "Married"}
    assert [point["value"] for point in held["telecom"]] == ["617-555-0199"]
    patches = [(entry["method"], entry["status"]) for entry in store.writes() if entry["method"] == "PATCH"]
    assert patches == [("PATCH", status), ("PATCH", 200)]
    assert clinic.lane("store")["reason"] == "landed"


def test_a_server_without_ids_conditions_or_transactions(clinic: Clinic, ehr: System, store: System) -> None:
    behave(store, client_ids=False, conditional_create=False, transactions=False)
    clinic.source("ehr", ehr)
    clinic.source("store", store, client_id=False, capabilities={"conditional_create": False}, **ENTITIES)
    store.faults({"on": "POST Patient", "kind": "drop_answer", "next": 1})
    clinic.land("ehr", a_patient())
    for _ in range(40):
        clinic.flow("store")
        if clinic.lane("store")["state"] == "idle":
            break
        clinic.execute("SELECT pg_sleep(0.1)")
    assert clinic.lane("store")["state"] == "idle"
    assert len(store.all("Patient")) == 1


def test_a_server_that_cannot_be_searched_is_not(clinic: Clinic, ehr: System, store: System) -> None:
    """A repeat relies on the condition of the create alone."""
    behave(store, client_ids=False)
    clinic.source("ehr", ehr)
    clinic.source("store", store, client_id=False, capabilities={"search": False}, **ENTITIES)
    store.faults(
        {"on": "POST Patient", "kind": "drop_answer", "next": 1}, {"on": "GET Patient", "kind": "status", "status": 403}
    )
    clinic.land("ehr", a_patient())
    for _ in range(40):
        clinic.flow("store")
        if clinic.lane("store")["state"] == "idle":
            break
        clinic.execute("SELECT pg_sleep(0.1)")
    assert clinic.lane("store")["reason"] == "landed"
    store.faults()
    assert len(store.all("Patient")) == 1
