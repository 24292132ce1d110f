"""What a patient was told yes to, and a sink would not take."""

from __future__ import annotations

import time
from typing import Any

import pytest

from connector_runner.infra.database import Row, rows
from connector_runner.outbound.operating import status
from connector_runner.outbound.releasing.release import request_all
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, once_opened
from tests.integration.test_creation import FACTS
from tests.integration.test_drain import BOTH
from tests.integration.test_transactions import name_of

BOOKED = {"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z"}


def told_yes(clinic: Clinic, ehr: System) -> str:
    """An appointment that an agent promised; its entity."""
    clinic.source("ehr", ehr, **BOTH)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    said = clinic.say(entity_type="appointment", confidence=0.5, facts={**BOOKED, "patient": {"ref": "ehr:Patient:p1"}})
    clinic.judge(said.events[0]["id"])
    return str(said.events[0]["entity_id"])


def state(clinic: Clinic, entity: str) -> dict[str, Any]:
    with clinic.database.begin(clinic.workspace) as tx:
        return dict(rows(tx, "SELECT state FROM projection WHERE entity_id = :id", id=entity)[0]["state"])


def tasks(clinic: Clinic) -> list[Row]:
    with clinic.database.begin(clinic.workspace) as tx:
        return rows(tx, "SELECT * FROM projection WHERE entity_type = 'outbound_task' ORDER BY entity_id")


def insist(clinic: Clinic) -> None:
    """Let every attempt come at once."""
    for _ in range(4):
        clinic.flow("ehr")
        clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state = 'ready'")


ANSWERS: list[dict[str, Any]] = [
    {"status": 409},
    {"status": 409, "code": "conflict"},
    {"status": 409, "code": "business-rule"},
    {"status": 422},
    {"status": 422, "code": "business-rule"},
    {"status": 400, "code": "business-rule"},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: "-".join(str(part) for part in answer.values()))
def test_a_slot_that_was_taken_meanwhile_is_told_of(clinic: Clinic, ehr: System, answer: dict[str, Any]) -> None:
    entity = told_yes(clinic, ehr)
    ehr.faults({"on": "PUT Appointment", "kind": "status", **answer})
    insist(clinic)
    assert clinic.lane("ehr", "appointment")["state"] == "quarantined"
    held = state(clinic, entity)
    assert (held["sync_status"], held["sync_refused_by"], held["status"]) == ("refused", "ehr", "booked")
    [task] = tasks(clinic)
    assert (task["state"]["status"], task["state"]["kind"]) == ("pending", "appointment_refused")
    assert task["state"]["patient"]["ref"] == "ehr:Patient:p1"
    assert task["state"]["appointment"]["ref"].startswith("voice_agent:Appointment:")

    status.retry(clinic.outbound, clinic.workspace, lane_ids=None, sink="ehr", actor="op")
    insist(clinic)
    assert len(tasks(clinic)) == 1, "the same again is no other task"

    ehr.faults()
    status.retry(clinic.outbound, clinic.workspace, lane_ids=None, sink="ehr", actor="op")
    clinic.flow("ehr")
    assert len(ehr.all("Appointment")) == 1
    assert state(clinic, entity)["sync_status"] == "synced"
    writes = len(ehr.writes())
    clinic.flow("ehr")
    assert len(ehr.writes()) == writes, "what is noted for ourselves is not sent"


def test_another_slot_goes_without_an_operator(clinic: Clinic, ehr: System) -> None:
    """The patient was called and took it: the same record is tried again, once for each thing that is said."""
    entity = told_yes(clinic, ehr)
    ehr.faults({"on": "PUT Appointment", "kind": "status", "status": 422})
    insist(clinic)
    asked = len(ehr.writes())
    clinic.say(entity_id=entity, confidence=0.5, facts={"start": "2026-12-02T09:00:00Z"})
    insist(clinic)
    assert (clinic.lane("ehr", "appointment")["state"], len(ehr.writes())) == ("quarantined", asked), "not verified yet"
    again = clinic.say(
        entity_id=entity, confidence=0.5, facts={"start": "2026-12-03T09:00:00Z", "end": "2026-12-03T09:20:00Z"}
    )
    clinic.judge(again.events[0]["id"])
    insist(clinic)
    insist(clinic)
    assert (clinic.lane("ehr", "appointment")["state"], len(ehr.writes())) == ("quarantined", asked + 1)
    assert len(tasks(clinic)) == 2, "the patient was told yes to that one, too"

    ehr.faults()
    third = clinic.say(
        entity_id=entity, confidence=0.5, facts={"start": "2026-12-04T09:00:00Z", "end": "2026-12-04T09:20:00Z"}
    )
    clinic.judge(third.events[0]["id"])
    clinic.flow("ehr")
    [held] = ehr.all("Appointment")
    assert (held["start"], state(clinic, entity)["sync_status"]) == ("2026-12-04T09:00:00Z", "synced")
    with clinic.database.begin(clinic.workspace) as tx:
        assert clinic.outbound.quarantine.count_open(tx, clinic.workspace) == 0


def test_nobody_was_promised_what_another_system_says(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    store.faults({"on": "PUT Appointment", "kind": "status", "status": 422})
    clinic.land("ehr", a_patient(), an_appointment("a1"))
    clinic.flow("store")
    assert clinic.lane("store", "appointment")["state"] == "quarantined"
    assert tasks(clinic) == []


@pytest.mark.parametrize("discarded", [False, True])
def test_what_was_corrected_at_its_origin_goes_without_an_operator(
    clinic: Clinic, ehr: System, store: System, discarded: bool
) -> None:
    """And what was not is not tried again."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1})
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    assert clinic.lane("store")["state"] == "quarantined"
    if discarded:
        with clinic.database.begin(clinic.workspace) as tx:
            [entry] = clinic.outbound.quarantine.list(tx, clinic.workspace)
            clinic.outbound.quarantine.discard(tx, clinic.workspace, [entry.quarantine_id])

    with clinic.database.begin(clinic.workspace) as tx:
        request_all(tx, clinic.workspace)
    clinic.flow("store")
    assert clinic.lane("store")["state"] == "quarantined"

    clinic.land("ehr", a_patient(gender="male"))
    clinic.flow("store")
    assert (clinic.lane("store")["state"], clinic.lane("store")["reason"]) == ("idle", "landed")
    [there] = store.all("Patient")
    assert there["gender"] == "male"
    with clinic.database.begin(clinic.workspace) as tx:
        assert clinic.outbound.quarantine.count_open(tx, clinic.workspace) == 0


def test_what_was_corrected_while_it_was_being_refused_goes(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what only was looked at again meanwhile is refused once more, and put aside."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    clinic.land("ehr", a_patient())
    clinic.release()
    store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1})

    def corrected() -> None:
        clinic.land("ehr", a_patient(gender="male"))
        clinic.release()

    once_opened(monkeypatch, corrected)
    clinic.flow("store")
    assert (clinic.lane("store")["state"], clinic.lane("store")["reason"]) == ("idle", "landed")
    assert [patient["gender"] for patient in store.all("Patient")] == ["male"]

    store.faults({"on": "PUT Patient", "kind": "status", "status": 422})
    clinic.land("ehr", a_patient(gender="other"))
    clinic.release()
    tried = len(store.writes())

    def looked_at() -> None:
        with clinic.database.begin(clinic.workspace) as tx:
            request_all(tx, clinic.workspace)
        clinic.release()

    once_opened(monkeypatch, looked_at)
    clinic.flow("store")
    assert (clinic.lane("store")["state"], len(store.writes())) == ("quarantined", tried + 2)


def test_another_slot_that_was_promised_while_the_first_was_being_refused_goes(
    clinic: Clinic, ehr: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink says that the slot is taken, three times, before it counts as refused."""
    entity = told_yes(clinic, ehr)
    ehr.faults({"on": "PUT Appointment", "kind": "status", "status": 409})
    clinic.flow("ehr")
    clinic.execute("UPDATE sync_lane SET due_at = now(), attempts = 2 WHERE state = 'ready'")

    def another() -> None:
        said = clinic.say(
            entity_id=entity, confidence=0.5, facts={"start": "2026-12-03T09:00:00Z", "end": "2026-12-03T09:20:00Z"}
        )
        clinic.judge(said.events[0]["id"])
        clinic.release()

    def refused_then_free() -> None:
        another()
        ehr.faults({"on": "PUT Appointment", "kind": "status", "status": 409, "next": 1})

    once_opened(monkeypatch, refused_then_free)
    clinic.flow("ehr")
    [held] = ehr.all("Appointment")
    assert held["start"] == "2026-12-03T09:00:00Z"
    assert state(clinic, entity).get("sync_status") in (None, "synced")
    assert tasks(clinic) == [], "nobody rings up the patient about a slot that they do not want any more"


def test_nobody_is_told_of_a_refusal_of_what_they_do_not_want_any_more(
    clinic: Clinic, ehr: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    entity = told_yes(clinic, ehr)
    ehr.faults({"on": "PUT Appointment", "kind": "status", "status": 422, "next": 1})

    def another() -> None:
        said = clinic.say(
            entity_id=entity, confidence=0.5, facts={"start": "2026-12-03T09:00:00Z", "end": "2026-12-03T09:20:00Z"}
        )
        clinic.judge(said.events[0]["id"])
        clinic.release()

    once_opened(monkeypatch, another)
    clinic.flow("ehr")
    [held] = ehr.all("Appointment")
    assert (held["start"], tasks(clinic)) == ("2026-12-03T09:00:00Z", [])


def test_what_is_not_about_content_waits_for_a_person_whatever_is_said(
    clinic: Clinic, ehr: System, store: System
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    store.faults({"on": "PUT Patient", "kind": "status", "status": 410})
    clinic.land("ehr", a_patient(gender="male"))
    clinic.flow("store")
    assert clinic.lane("store")["state"] == "quarantined"
    store.faults()
    clinic.land("ehr", a_patient(gender="other"))
    clinic.flow("store")
    assert clinic.lane("store")["state"] == "quarantined"


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: "-".join(str(part) for part in answer.values()))
def test_a_promise_that_is_refused_in_a_transaction_is_told_of(
    clinic: Clinic, ehr: System, answer: dict[str, Any]
) -> None:
    """The patient is made all the same."""
    clinic.source("ehr", ehr, capabilities={"transaction": True}, **BOTH)
    patient = clinic.say(entity_type="patient", confidence=0.5, facts=FACTS).events[0]
    clinic.judge(patient["id"])
    about = {"ref": name_of(clinic, patient["entity_id"])}
    said = clinic.say(entity_type="appointment", confidence=0.5, facts={**BOOKED, "patient": about}).events[0]
    clinic.judge(said["id"])
    ehr.faults(
        {"on": "POST", "kind": "entry_fails", "entry": 1, **answer},
        {"on": "PUT Appointment", "kind": "status", **answer},
    )
    for _ in range(8):
        insist(clinic)
        if tasks(clinic):
            break
        time.sleep(0.3)
    insist(clinic)
    assert (clinic.lane("ehr")["state"], clinic.lane("ehr")["reason"]) == ("idle", "landed")
    assert clinic.lane("ehr", "appointment")["state"] == "quarantined"
    assert state(clinic, said["entity_id"])["sync_status"] == "refused"
    [task] = tasks(clinic)
    assert task["state"]["patient"] == about
    assert (len(ehr.all("Patient")), len(ehr.all("Appointment"))) == (1, 0)
