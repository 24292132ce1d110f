"""Entity types whose every state is sent, in order; and those of which only the latest is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment

STATES = ["proposed", "pending", "booked", "arrived", "booked", "fulfilled"]


def setting(policy: str) -> dict[str, Any]:
    return {"accept_from": ["ehr"], "entity_types": {"patient": {}, "appointment": {"policy": policy}}}


def at(status: str, minute: int, **more: Any) -> dict[str, Any]:
    return an_appointment("a1", status=status, meta={"lastUpdated": f"2026-11-20T10:{minute:02}:00Z"}, **more)


def told(system: System) -> list[str]:
    """The states that a system was told, in order, from the versions of its only appointment."""
    [held] = system.all("Appointment")
    versions = int(held["meta"]["versionId"])
    refs = [f"Appointment/{held['id']}/_history/{number}" for number in range(1, versions + 1)]
    return [str(system.get(ref)["status"]) for ref in refs]


@pytest.mark.parametrize("before_drain", [True, False])
def test_every_state_is_sent_in_order_however_late(
    clinic: Clinic, ehr: System, store: System, before_drain: bool
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **setting("ordered"))
    clinic.land("ehr", a_patient())
    for minute, status in enumerate(STATES):
        clinic.land("ehr", at(status, minute))
        if not before_drain:
            clinic.flow("store")
    clinic.flow("store")
    assert told(store) == STATES
    lane = clinic.lane("store", "appointment")
    assert (lane["state"], lane["reason"]) == ("idle", "landed")
    clinic.poll("store", "Appointment")
    clinic.flow("store")
    assert told(store) == STATES


def test_of_the_latest_only_the_last_is_sent(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **setting("latest"))
    clinic.land("ehr", a_patient())
    for minute, status in enumerate(STATES):
        clinic.land("ehr", at(status, minute))
    clinic.flow("store")
    assert told(store) == ["fulfilled"]


def test_releases_and_polls_in_between_lose_no_state(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **{**setting("ordered"), "rate": {"per_second": 1000, "burst": 1, "concurrency": 1}})
    clinic.land("ehr", a_patient(), at("proposed", 0))
    clinic.flow("store")
    clinic.poll("store", "Appointment")
    clinic.land("ehr", at("pending", 1))
    clinic.land("ehr", at("proposed", 2))
    clinic.release()
    clinic.drain("store", slice_s=0.01)
    clinic.execute("UPDATE pending_release SET generation = generation + 1")
    clinic.land("ehr", a_patient(phone="617-555-0999", meta={"lastUpdated": "2026-11-20T12:00:00Z"}))
    clinic.land("ehr", at("booked", 3))
    clinic.flow("store")
    assert told(store) == ["proposed", "pending", "proposed", "booked"]


def test_a_state_is_what_could_be_sent_when_it_was(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, entity_types={"patient": {}, "appointment": {"policy": "ordered"}})
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    first = clinic.say(
        entity_type="appointment",
        confidence=0.5,
        facts={
            "status": "pending",
            "start": "2026-12-01T09:00:00Z",
            "end": "2026-12-01T09:20:00Z",
            "patient": {"ref": "ehr:Patient:p1"},
        },
    )
    entity = first.events[0]["entity_id"]
    clinic.judge(first.events[0]["id"])
    never = clinic.say(entity_id=entity, confidence=0.5, facts={"status": "waitlist"})
    last = clinic.say(entity_id=entity, confidence=0.5, facts={"status": "booked"})
    clinic.judge(last.events[0]["id"])
    clinic.flow("ehr")
    assert told(ehr) == ["pending", "booked"]
    assert never.events


def test_a_record_that_was_there_before_is_not_told_its_past(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, accept_from=["store"], entity_types={"patient": {"policy": "ordered"}})
    for phone in ("617-555-0101", "617-555-0102", "617-555-0103"):
        ehr.put(a_patient(phone=phone))
        clinic.poll("ehr", "Patient")
    before = len(ehr.writes())
    said = clinic.say(canonical_id="ehr:Patient:p1", entity_type="patient", confidence=0.5,
                      facts={"language": {"code": "es", "system": "urn:ietf:bcp:47"}})  # fmt: skip
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    assert len(ehr.writes()) == before + 1
    assert ehr.get("Patient/p1")["telecom"][0]["value"] == "617-555-0103"


def test_what_is_called_off_before_it_is_sent_is_not_told_either(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **setting("ordered"))
    clinic.land("ehr", at("booked", 0))
    clinic.flow("store")
    assert clinic.lane("store", "appointment")["reason"] == "dependency"
    clinic.land("ehr", at("cancelled", 1))
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    assert store.all("Appointment") == []
    assert clinic.lane("store", "appointment")["reason"] == "cancelled_before_sent"
