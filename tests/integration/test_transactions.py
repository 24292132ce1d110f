"""A new patient with an appointment and a note: one transaction of the sink where it has them, else step by step."""

from __future__ import annotations

import time
from typing import Any

import pytest

from connector_runner.infra.database import Row, rows
from connector_runner.outbound.lanes.bench import Drained
from connector_runner.outbound.sinks import sink_state
from tests.integration.outbound_stack import Clinic, System
from tests.integration.test_creation import FACTS

STEPS: dict[str, Any] = {"entity_types": ["patient", "appointment", "encounter", "practitioner"]}
BOOKED = {"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z"}
CALL = "call-7"


def sink(clinic: Clinic, ehr: System, *, client_id: bool = True, transaction: bool = True, **more: Any) -> None:
    can = {"client_id": client_id, "transaction": transaction}
    clinic.source("ehr", ehr, capabilities=can, **{**STEPS, **more})


def name_of(clinic: Clinic, entity: str) -> str:
    with clinic.database.begin(clinic.workspace) as tx:
        return str(rows(tx, "SELECT canonical_id FROM entity WHERE entity_id = :id", id=entity)[0]["canonical_id"])


def call(clinic: Clinic, *, appointments: int = 1) -> str:
    """A call in which a patient unknown so far is promised appointments; the patient's entity."""
    said = clinic.say(entity_type="patient", confidence=0.5, facts=FACTS, correlation_id=CALL)
    events = list(said.events)
    patient = {"ref": name_of(clinic, events[0]["entity_id"])}
    for day in range(appointments):
        times = {"start": f"2026-12-0{day + 1}T09:00:00Z", "end": f"2026-12-0{day + 1}T09:20:00Z"}
        facts = {**BOOKED, **times, "patient": patient}
        events += clinic.say(entity_type="appointment", confidence=0.5, facts=facts, correlation_id=CALL).events
    for event in reversed(events):
        clinic.judge(event["id"])
    return str(events[0]["entity_id"])


def once(clinic: Clinic) -> Drained:
    """Release, and one drain."""
    clinic.release()
    return clinic.drain("ehr")


def patiently(clinic: Clinic) -> None:
    """Past quiet periods, pauses and backoffs."""
    for _ in range(8):
        time.sleep(0.35)
        clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state = 'ready'")
        clinic.flow("ehr")
        if all(lane["state"] == "idle" for lane in clinic.lanes("ehr")):
            return


def sent(ehr: System) -> list[tuple[str, str]]:
    return [
        (entry["method"], entry["path"].rpartition("/fhir")[2].strip("/").partition("/")[0]) for entry in ehr.writes()
    ]


def outcomes(clinic: Clinic) -> list[tuple[str, str]]:
    with clinic.database.begin(clinic.workspace) as tx:
        found = rows(
            tx,
            "SELECT l.entity_type, w.outcome FROM write_log w JOIN sync_lane l USING (workspace_id, lane_id)"
            " WHERE w.phase = 'outcome' ORDER BY w.written_at, l.entity_type",
        )
    return [(row["entity_type"], row["outcome"]) for row in found]


def states(clinic: Clinic) -> list[tuple[str, str, str]]:
    return sorted((lane["entity_type"], lane["state"], lane["reason"]) for lane in clinic.lanes("ehr"))


def all_there(clinic: Clinic, ehr: System, appointments: int = 1) -> None:
    """Once each, the appointments of this patient; no intent is open, and nothing more is sent."""
    [patient] = ehr.all("Patient")
    booked = ehr.all("Appointment")
    assert len(booked) == appointments
    for each in booked:
        assert each["participant"][0]["actor"]["reference"] == f"Patient/{patient['id']}"
    assert clinic.count("open_intent") == 0
    writes = len(ehr.writes())
    clinic.flow("ehr")
    clinic.execute("UPDATE sync_lane SET desired_revision = desired_revision + 1, state = 'ready', due_at = now()")
    clinic.flow("ehr")
    assert len(ehr.writes()) == writes
    assert {lane["state"] for lane in clinic.lanes("ehr")} == {"idle"}


@pytest.mark.parametrize("client_id", [True, False])
def test_what_depends_on_each_other_goes_in_one_request(clinic: Clinic, ehr: System, client_id: bool) -> None:
    sink(clinic, ehr, client_id=client_id)
    call(clinic, appointments=3)
    done = clinic.flow("ehr")
    assert sent(ehr) == [("POST", "")]
    assert done.outcomes["landed"] == 4
    assert {reason for _, _, reason in states(clinic)} == {"landed"}
    all_there(clinic, ehr, 3)


def test_a_sink_without_transactions_is_written_to_step_by_step(clinic: Clinic, ehr: System) -> None:
    sink(clinic, ehr, transaction=False)
    call(clinic)
    clinic.flow("ehr")
    assert sent(ehr) == [("PUT", "Patient"), ("PUT", "Appointment")]
    all_there(clinic, ehr)


def test_no_more_than_twenty_go_together(clinic: Clinic, ehr: System) -> None:
    sink(clinic, ehr)
    patient = clinic.say(entity_type="patient", confidence=0.5, facts=FACTS).events[0]
    clinic.judge(patient["id"])
    for hour in range(24):
        facts = {**BOOKED, "start": f"2026-12-01T{hour:02}:00:00Z", "end": f"2026-12-01T{hour:02}:20:00Z"}
        said = clinic.say(
            entity_type="appointment",
            confidence=0.5,
            facts={**facts, "patient": {"ref": name_of(clinic, patient["entity_id"])}},
        )
        clinic.judge(said.events[0]["id"])
    assert clinic.flow("ehr").outcomes["landed"] == 25
    assert sent(ehr).count(("POST", "")) == 1
    assert len(sent(ehr)) == 1 + 25 - 20
    all_there(clinic, ehr, 24)


@pytest.mark.parametrize("client_id", [True, False])
@pytest.mark.parametrize("fault", ["drop_answer", "reset"])
def test_a_lost_answer_leaves_each_to_be_read_back(clinic: Clinic, ehr: System, fault: str, client_id: bool) -> None:
    sink(clinic, ehr, client_id=client_id)
    ehr.faults({"on": "POST", "kind": fault, "next": 1})
    call(clinic)
    done = once(clinic)
    assert done.outcomes["unknown"] == 2
    assert {state for _, state, _ in states(clinic)} == {"unknown"}
    assert clinic.count("open_intent") == 2
    patiently(clinic)
    absent = fault == "reset"
    assert [outcome for _, outcome in outcomes(clinic)].count("absent") == (2 if absent else 0)
    assert sent(ehr).count(("POST", "")) == 1, "what was looked for in vain goes by itself"
    all_there(clinic, ehr)


def test_what_one_step_is_refused_for_is_its_own(clinic: Clinic, ehr: System) -> None:
    sink(clinic, ehr)
    call(clinic)
    ehr.faults({"on": "POST", "kind": "entry_fails", "status": 422, "entry": 1, "code": "business-rule", "next": 1})
    clinic.flow("ehr")
    assert states(clinic) == [("appointment", "quarantined", "http_422_business-rule"), ("patient", "idle", "landed")]
    assert sorted(outcomes(clinic)) == [("appointment", "poison"), ("patient", "landed"), ("patient", "undone")]
    assert (len(ehr.all("Patient")), len(ehr.all("Appointment"))) == (1, 0)


def test_an_error_that_names_no_step_is_split(clinic: Clinic, ehr: System) -> None:
    sink(clinic, ehr)
    call(clinic, appointments=2)
    ehr.faults({"on": "POST", "kind": "entry_fails", "status": 422, "code": "business-rule", "next": 1})
    clinic.flow("ehr")
    assert sent(ehr) == [("POST", ""), ("PUT", "Patient"), ("PUT", "Appointment"), ("PUT", "Appointment")]
    all_there(clinic, ehr, 2)


def test_a_sink_that_is_busy_is_told_off_once(clinic: Clinic, ehr: System) -> None:
    sink(clinic, ehr, breaker={"failures": 2, "first_open_s": 0.2, "most_open_s": 0.5})
    call(clinic, appointments=3)
    ehr.faults({"on": "POST", "kind": "status", "status": 500, "next": 1})
    once(clinic)
    with clinic.database.begin(clinic.workspace) as tx:
        state = sink_state.state(tx, clinic.workspace, clinic.ids["ehr"])
    assert state.closed is None, "one request that failed is one failure, however many steps it had"
    ehr.faults()
    patiently(clinic)
    all_there(clinic, ehr, 3)


def somebody_elses(clinic: Clinic) -> Row:
    """The appointment of the call turns out to be another's, who is new as well; its lane."""
    call(clinic)
    clinic.flow("ehr")
    said = clinic.say(
        entity_type="patient", confidence=0.5, correlation_id="call-8",
        facts={**FACTS, "name": {"family": "Obi", "given": ["Ben"]}, "birth_date": "1979-01-02", "telecom": []},
    ).events[0]  # fmt: skip
    appointment = clinic.lane("ehr", "appointment")
    change = clinic.say(
        entity_id=appointment["entity_id"],
        confidence=0.5,
        facts={"patient": {"ref": name_of(clinic, said["entity_id"])}},
    ).events[0]
    clinic.judge(said["id"])
    clinic.judge(change["id"])
    return appointment


def is_bens(ehr: System, ref: str) -> bool:
    [ben] = [each for each in ehr.all("Patient") if each["name"][0]["family"] == "Obi"]
    return bool(ehr.get(ref)["participant"][0]["actor"]["reference"] == f"Patient/{ben['id']}")


@pytest.mark.parametrize("client_id", [True, False])
@pytest.mark.parametrize("fault", ["drop_answer", "reset"])
def test_an_update_whose_answer_was_lost_is_read_back(clinic: Clinic, ehr: System, fault: str, client_id: bool) -> None:
    """The appointment refers to somebody, so what it says must be whom it referred to before, or not."""
    sink(clinic, ehr, client_id=client_id)
    appointment = somebody_elses(clinic)
    ehr.faults({"on": "POST", "kind": fault, "next": 1})
    before = len(ehr.writes())
    patiently(clinic)
    assert sent(ehr)[before] == ("POST", "")
    assert is_bens(ehr, appointment["sink_ref"])
    assert (len(ehr.all("Patient")), len(ehr.all("Appointment"))) == (2, 1)


def test_an_update_goes_along_with_its_version(clinic: Clinic, ehr: System) -> None:
    """An appointment that is there already gets a new patient, who is made with it; a foreign edit is not lost."""
    sink(clinic, ehr)
    appointment = somebody_elses(clinic)
    theirs = ehr.get(appointment["sink_ref"])
    ehr.put({**theirs, "comment": "theirs"})
    before = len(ehr.writes())
    clinic.flow("ehr")
    patiently(clinic)
    assert ehr.get(appointment["sink_ref"])["comment"] == "theirs"
    assert is_bens(ehr, appointment["sink_ref"])
    assert sent(ehr)[before] == ("POST", ""), "both went together first, and the version was not that any more"
    assert len(ehr.all("Patient")) == 2
