"""A call that makes a patient, an appointment and a note: one write of three steps, each with its own fate."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.cli.main import app
from connector_runner.infra.database import rows
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound.operating import steps
from connector_runner.outbound.operating.steps import Standing, Write
from tests.integration.outbound_stack import KEY, Clinic, System
from tests.integration.test_creation import FACTS
from tests.integration.test_transactions import BOOKED, CALL, name_of, sent

KINDS = ["patient", "appointment", "encounter"]
CODE = {"code": "AMB", "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode"}


@pytest.fixture(autouse=True)
def installation(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line goes by."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("CONNECTOR_RUNNER_HTTP_ALLOW", "127.0.0.1")


def call(clinic: Clinic, ehr: System, *, approve: bool = True, transaction: bool = False) -> dict[str, str]:
    """Patient, appointment, and the note of a visit that the appointment is for: entity type -> entity."""
    clinic.source("ehr", ehr, entity_types=KINDS, capabilities={"transaction": transaction})
    made: dict[str, str] = {}

    def say(kind: str, **facts: Any) -> str:
        event = clinic.say(entity_type=kind, confidence=0.5, facts=facts, correlation_id=CALL).events[0]
        made[kind] = event["entity_id"]
        if approve or kind != "patient":
            clinic.judge(event["id"])
        return name_of(clinic, event["entity_id"])

    patient = {"ref": say("patient", **FACTS)}
    appointment = {"ref": say("appointment", **BOOKED, patient=patient)}
    say("encounter", status="planned", **{"class": CODE}, patient=patient, appointment=[appointment])
    return made


def told(clinic: Clinic) -> Write:
    with clinic.database.begin(clinic.workspace) as tx:
        return steps.steps(tx, clinic.workspace, CALL)


def standings(clinic: Clinic) -> list[tuple[str, str]]:
    return [(step.entity_type, str(step.standing)) for step in told(clinic).steps if step.sink]


def typed(clinic: Clinic, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--workspace", clinic.workspace, "--json"])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return json.loads(done.stdout)


@pytest.mark.parametrize("transaction", [False, True])
def test_only_the_step_that_failed_is_tried_again(clinic: Clinic, ehr: System, transaction: bool) -> None:
    made = call(clinic, ehr, transaction=transaction)
    ehr.faults(
        {"on": "POST", "kind": "entry_fails", "status": 422, "entry": 1, "code": "business-rule"},
        {"on": "PUT Appointment", "kind": "status", "status": 422, "code": "business-rule"},
    )
    clinic.flow("ehr")
    found = typed(clinic, "outbound", "steps", CALL, code=1)
    assert found["standing"] == "failed"
    shown = {step["entity_type"]: step for step in found["steps"] if step["sink"] == "ehr"}
    assert [shown[kind]["standing"] for kind in KINDS] == ["done", "failed", "waiting"]
    assert shown["encounter"]["waits_for"] == [made["appointment"]]
    assert shown["patient"]["landed_at"]
    assert not shown["appointment"]["landed_at"]
    assert shown["appointment"]["reason"] == "http_422_business-rule"

    before = len(sent(ehr))
    ehr.faults()
    typed(clinic, "outbound", "retry", shown["appointment"]["lane_id"])
    clinic.flow("ehr")
    again = sent(ehr)[before:]
    assert again == ([("POST", "")] if transaction else [("PUT", "Appointment"), ("PUT", "Encounter")])
    assert typed(clinic, "outbound", "steps", CALL)["standing"] == "done"
    assert [len(ehr.all(kind)) for kind in ("Patient", "Appointment", "Encounter")] == [1, 1, 1]
    assert ehr.all("Patient")[0]["meta"]["versionId"] == "1"


def test_what_hangs_on_an_unverified_patient_fails_and_is_revived(clinic: Clinic, ehr: System) -> None:
    call(clinic, ehr, approve=False)
    clinic.flow("ehr")
    assert standings(clinic) == [("patient", "held_back"), ("appointment", "failed"), ("encounter", "failed")]
    assert sent(ehr) == []
    with clinic.database.begin(clinic.workspace) as tx:
        [event] = rows(tx, "SELECT id FROM event WHERE entity_type = 'patient' AND event_type = 'patient.created'")
    clinic.judge(event["id"])
    clinic.flow("ehr")
    assert standings(clinic) == [("patient", "done"), ("appointment", "done"), ("encounter", "done")]


def test_a_step_is_done_for_its_cause_whatever_comes_later(clinic: Clinic, ehr: System) -> None:
    made = call(clinic, ehr)
    clinic.flow("ehr")
    ehr.faults({"on": "PUT Patient", "kind": "status", "status": 422})
    later = clinic.say(entity_id=made["patient"], confidence=0.5, facts={"gender": "female"}, correlation_id="call-8")
    clinic.judge(later.events[0]["id"])
    clinic.flow("ehr")
    assert clinic.lane("ehr", "patient")["state"] == "quarantined"
    assert told(clinic).standing is Standing.DONE
    assert typed(clinic, "outbound", "steps", "call-8", code=1)["standing"] == "failed"


def test_an_entity_is_explained_as_a_step(clinic: Clinic, ehr: System) -> None:
    made = call(clinic, ehr)
    clinic.flow("ehr")
    [write] = typed(clinic, "entity", "explain", made["encounter"])["steps"]
    assert (write["cause"], write["standing"]) == (CALL, "done")
    assert [step["entity_type"] for step in write["steps"]] == KINDS
    shown = CliRunner().invoke(app, ["entity", "explain", made["encounter"], "--workspace", clinic.workspace])
    assert f"{CALL}: done" in shown.output


def test_what_followed_from_an_event_is_found_by_it(clinic: Clinic, ehr: System) -> None:
    call(clinic, ehr)
    with clinic.database.begin(clinic.workspace) as tx:
        [event] = rows(tx, "SELECT id FROM event WHERE entity_type = 'appointment' AND correlation_id = :c", c=CALL)
        found = steps.steps(tx, clinic.workspace, event["id"])
        assert [step.entity_type for step in found.steps] == ["appointment"]
        with pytest.raises(BadRecord, match="no event"):
            steps.steps(tx, clinic.workspace, "no such call")


def test_a_promise_that_was_refused_is_a_step_with_its_task(clinic: Clinic, ehr: System) -> None:
    call(clinic, ehr)
    ehr.faults({"on": "PUT Appointment", "kind": "status", "status": 409, "code": "conflict"})
    for _ in range(5):
        clinic.flow("ehr")
        clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state = 'ready'")
    found = told(clinic)
    assert found.standing is Standing.FAILED
    assert [(step.entity_type, str(step.standing)) for step in found.steps if step.sink is None] == [
        ("outbound_task", "no_sink")
    ]
