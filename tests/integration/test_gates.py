"""Consent, sign-off and ownership, from an event to what a sink was sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, once_planned
from tests.integration.test_drain import BOTH, PATIENTS, phones, spoken

ASKING = {"accept_from": ["ehr"], "consent": "opt_out", **BOTH}


def a_consent(status: str = "active", kind: str = "permit", at: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Consent",
        "id": "c1",
        "status": status,
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"text": "sharing"}],
        "patient": {"reference": "Patient/p1"},
        "dateTime": "2026-01-01",
        "provision": {"type": kind},
        "meta": {"lastUpdated": f"2026-11-20T{at}:00:00Z"},
        **more,
    }


def at(hour: int, **more: Any) -> dict[str, Any]:
    return a_patient(meta={"lastUpdated": f"2026-11-20T{hour}:00:00Z"}, **more)


def where(clinic: Clinic, entity_type: str = "patient") -> tuple[str, str]:
    lane = clinic.lane("store", entity_type)
    return lane["state"], lane["reason"]


def test_withdrawn_consent_stops_what_waits_and_leaves_what_is_there(
    clinic: Clinic, ehr: System, store: System
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(10), an_appointment("a1"))
    clinic.flow("store")
    sent = len(store.writes())
    clinic.land("ehr", an_appointment("a2"), at(11, phone="617-555-0777"))
    clinic.release()
    assert {lane["state"] for lane in clinic.lanes("store")} == {"idle", "ready"}

    clinic.land("ehr", a_consent("inactive"))
    clinic.flow("store")
    assert len(store.writes()) == sent
    assert {(lane["state"], lane["reason"]) for lane in clinic.lanes("store")} == {("idle", "consent_withdrawn")}
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 1), "nothing is deleted there"
    clinic.land("ehr", at(12, phone="617-555-0888"), {**an_appointment("a1"), "status": "cancelled"})
    clinic.flow("store")
    assert len(store.writes()) == sent

    clinic.land("ehr", a_consent(at=11))
    clinic.flow("store")
    assert phones(store.all("Patient")[0]) == ["617-555-0888"]
    assert sorted(item["status"] for item in store.all("Appointment")) == ["booked", "cancelled"]


@pytest.mark.parametrize("first", ["consent", "patient"])
def test_where_consent_is_required_nothing_goes_without_it(
    clinic: Clinic, ehr: System, store: System, first: str
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **{**ASKING, "consent": "required"})
    if first == "patient":
        clinic.land("ehr", at(10), an_appointment("a1"))
        clinic.flow("store")
        assert where(clinic) == where(clinic, "appointment") == ("idle", "consent_missing")
        clinic.land("ehr", a_consent())
    else:
        clinic.land("ehr", a_consent())
        clinic.land("ehr", at(10), an_appointment("a1"))
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 1)
    clinic.land("ehr", {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Vanek"}]})
    assert clinic.count("patient_consent") == 1


def test_a_consent_that_is_entered_in_error_speaks_no_more(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", a_consent(kind="deny"), at(10))
    clinic.flow("store")
    assert where(clinic) == ("idle", "consent_withdrawn")
    clinic.land("ehr", a_consent("entered-in-error", "deny", at=11))
    clinic.flow("store")
    assert len(store.all("Patient")) == 1


def test_what_was_implanted_is_the_patients_what_stands_in_a_ward_is_nobodys(
    clinic: Clinic, ehr: System, store: System
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], consent="opt_out", entity_types=["patient", "device"])
    devices = [
        {"resourceType": "Device", "id": "d1", "serialNumber": "1", "patient": {"reference": "Patient/p1"}},
        {"resourceType": "Device", "id": "d2", "serialNumber": "2"},
        {"resourceType": "Device", "id": "d3", "serialNumber": "3", "patient": {"reference": "Patient/p2"}},
    ]
    clinic.land("ehr", at(10), a_patient("p2"), a_consent(kind="deny"), *devices)
    clinic.flow("store")
    assert sorted(device["serialNumber"] for device in store.all("Device")) == ["2", "3"]


def test_a_refusal_on_the_phone_counts_at_once(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(10))
    clinic.release()
    clinic.say(
        entity_type="consent",
        confidence=0.3,
        facts={"status": "active", "patient": {"ref": "ehr:Patient:p1"}, "provision": {"type": "deny"}},
    )
    clinic.flow("store")
    assert (where(clinic), store.writes()) == (("idle", "consent_withdrawn"), [])


def test_consent_withdrawn_after_planning_still_counts(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(10))
    clinic.release()
    once_planned(monkeypatch, lambda: clinic.land("ehr", a_consent("inactive")))
    done = clinic.flow("store")
    assert done.outcomes["outdated"] == 1
    assert (where(clinic), store.writes()) == (("idle", "consent_withdrawn"), [])


def test_consent_of_one_patient_is_not_anothers(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land(
        "ehr", a_consent(kind="deny"), at(10), a_patient("p2"), an_appointment("a1"), an_appointment("a2", "p2")
    )
    clinic.flow("store")
    assert [item["identifier"][0]["value"] for item in store.all("Patient")] == ["MRN-p2"]
    assert len(store.all("Appointment")) == 1


def test_a_sink_that_asks_for_a_persons_word_gets_no_automated_one(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, human_review=["patient"], **PATIENTS)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    before = len(ehr.writes())
    event = spoken(clinic)
    clinic.judge(event, kind="automated")
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert {item["code"] for item in lane["withheld"]} == {"needs_human_review"}
    assert len(ehr.writes()) == before
    clinic.judge(event, kind="human")
    clinic.flow("ehr")
    assert phones(ehr.get("Patient/p1")) == ["617-555-0199", "ada@example.org"]


def test_only_what_is_ours_to_write_is_written(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, entity_types={"patient": {"owns": ["telecom"]}})
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    clinic.judge(spoken(clinic, language={"code": "es"}))
    clinic.flow("ehr")
    patient = ehr.get("Patient/p1")
    assert phones(patient) == ["617-555-0199", "ada@example.org"]
    assert "communication" not in patient
    assert clinic.lane("ehr")["withheld"] == [{"atom": "language", "code": "not_owned"}]


def test_what_is_no_longer_ours_to_write_is_not_taken_back(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], entity_types={"patient": {}})
    clinic.land("ehr", at(10))
    clinic.flow("store")
    clinic.source("store", store, accept_from=["ehr"], entity_types={"patient": {"owns": ["name"]}})
    clinic.land("ehr", {key: value for key, value in at(11).items() if key != "telecom"})
    clinic.flow("store")
    assert phones(store.all("Patient")[0]) == ["617-555-0101"]
    assert clinic.lane("store")["state"] == "idle"


def test_a_gate_that_is_closed_later_takes_nothing_back(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    said = clinic.say(
        entity_type="patient",
        confidence=0.5,
        facts={
            "name": {"family": "Mensah", "given": ["Kofi"]},
            "telecom": [{"system": "phone", "value": "+16175550101"}],
        },
    )
    clinic.judge(said.events[0]["id"], kind="automated")
    clinic.flow("ehr")
    clinic.source("ehr", ehr, human_review=["patient"], **PATIENTS)
    clinic.say(entity_id=said.events[0]["entity_id"], confidence=0.5, facts={"language": {"code": "es"}})
    clinic.flow("ehr")
    assert phones(ehr.all("Patient")[0]) == ["+16175550101"]
    clinic.judge(said.events[0]["id"], approve=False, fields=["telecom"])
    name = clinic.say(entity_id=said.events[0]["entity_id"], confidence=0.5, facts={"gender": "male"})
    clinic.judge(name.events[0]["id"])
    clinic.flow("ehr")
    [patient] = ehr.all("Patient")
    assert ("telecom" in patient, patient["gender"], patient["name"][0]["family"]) == (False, "male", "Mensah")
