"""``policy …`` and the agents' view as they are typed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.cli.main import app
from connector_runner.infra.database import rows
from connector_runner.world import reading
from tests.integration.outbound_stack import KEY, Clinic, System, an_appointment
from tests.integration.test_drain import spoken
from tests.integration.test_gates import at
from tests.integration.test_policy import compared, in_crm, labelled, lay_down, of_crm, same, two_systems

__all__ = ["compared"]


@pytest.fixture
def typed(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process of the product."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("CONNECTOR_RUNNER_HTTP_ALLOW", "127.0.0.1")


def run(clinic: Clinic, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--workspace", clinic.workspace, "--json"])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return json.loads(done.stdout) if code == 0 else done


def out(clinic: Clinic, channel: str, name: str = "ehr:Patient:p1", **more: Any) -> None:
    facts = {"opt_outs": [{"channel": channel, "opted_out": True}]}
    clinic.say(canonical_id=name, entity_type="patient", confidence=0.3, facts=facts, **more)


@pytest.mark.usefixtures("typed")
def test_check_answers_for_the_whole_person(compared: Clinic, ehr: System, store: System) -> None:
    clinic = compared
    two_systems(clinic, ehr, store)
    clinic.land("ehr", at(10), an_appointment("a1"))
    clinic.land("crm", in_crm())
    ask = ("policy", "check", "ehr:Appointment:a1")
    assert run(clinic, *ask, "--action", "contact", "--channel", "phone")["allowed"]
    out(clinic, "phone", "crm:Patient:c9")
    same(clinic, "ehr:Patient:p1", "crm:Patient:c9")
    found = run(clinic, *ask, "--action", "contact", "--channel", "phone")
    assert (found["allowed"], found["purpose"]) == (False, "outreach")
    with clinic.database.begin(clinic.workspace) as tx:
        crm = reading.entity_id(tx, clinic.workspace, "crm:Patient:c9")
    assert found["refused"] == [{"code": "opted_out", "rests_on": [f"entity:{crm}"]}]
    assert run(clinic, *ask, "--action", "contact", "--channel", "sms")["allowed"]
    assert run(clinic, *ask, "--action", "write", "--sink", "store")["allowed"]
    clinic.land("crm", of_crm(kind="deny"))
    found = run(clinic, *ask, "--action", "write", "--sink", "store")
    assert [each["code"] for each in found["refused"]] == ["consent_withdrawn"]
    shown = run(clinic, "outbound", "preview", "ehr:Appointment:a1", "--sink", "store")
    assert (shown["reason"], shown["detail"]) == ("consent_withdrawn", found["refused"][0]["rests_on"][0])
    why = run(clinic, "entity", "explain", "ehr:Appointment:a1", "--sink", "store")["sinks"][0]
    assert why["decision"] == {"action": "none", "reason": shown["reason"], "detail": shown["detail"]}
    assert run(clinic, *ask, "--action", "write", code=1)
    assert run(clinic, *ask, "--action", "sell", code=2)
    with clinic.database.begin(clinic.workspace) as tx:
        noted = rows(tx, "SELECT action FROM audit_read")
    assert {row["action"] for row in noted} >= {"policy.check"}


@pytest.mark.usefixtures("typed")
def test_apply_names_the_key_that_is_wrong_and_show_shows_what_holds(clinic: Clinic, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("test_callers: ['617-555-0142']")
    done = run(clinic, "policy", "apply", str(file), code=1)
    assert "test_callers.0" in str(done.exception)
    assert "617-555" not in str(done.exception)
    file.write_text("test_callers: ['+16175550142']\ndo_not_contact: [{number: '+16175550143', channels: [sms]}]")
    assert run(clinic, "policy", "apply", str(file)) == {"version": 1, "changed": True, "marked": 0}
    shown = run(clinic, "policy", "show")
    assert shown["policy"]["do_not_contact"] == [{"number": "+16175550143", "channels": ["sms"]}]
    with clinic.database.begin(clinic.workspace) as tx:
        entry = rows(tx, "SELECT detail FROM audit_log WHERE action = 'policy.applied'")[0]["detail"]
    assert entry["parts"] == ["do_not_contact", "test_callers"]
    assert "6175550142" not in json.dumps(entry)
    file.write_text("test_callers: ['+16175550142']")
    run(clinic, "policy", "apply", str(file))
    with clinic.database.begin(clinic.workspace) as tx:
        entry = rows(tx, "SELECT detail FROM audit_log WHERE action = 'policy.applied' ORDER BY n")[1]["detail"]
    assert entry["parts"] == ["do_not_contact"], "it was taken out"


@pytest.mark.usefixtures("typed")
def test_an_agent_sees_what_it_may_rely_on_and_what_not(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr)
    clinic.land("ehr", at(10, birthDate="2031-01-01"))
    event = spoken(clinic)
    show = ("entity", "show", "ehr:Patient:p1", "--view", "agent")
    found = run(clinic, *show)
    assert found["state"]["name"]["family"] == "Okafor"
    assert "birth_date" not in found["state"], "it is authoritative, and cannot be"
    doubted = {each["field"]: each["why"] for each in found["unverified"]}
    assert doubted["birth_date"] not in ("not_reviewed", "rejected")
    assert doubted["telecom[email|home]"] == "not_reviewed"
    assert found["state"]["telecom"][0]["value"] == "+16175550101"
    clinic.judge(event)
    found = run(clinic, *show)
    assert {each["field"] for each in found["unverified"]} == {"birth_date"}
    lay_down(clinic, rules=[{"name": "no-address", "actions": ["read"], "purposes": ["payment"], "fields": ["name"]}])
    found = run(clinic, *show, "--purpose", "payment")
    assert "name" not in found["state"]
    assert found["withheld"] == [{"field": "name", "code": "workspace_rule", "rests_on": ["rule:no-address"]}]
    with clinic.database.begin(clinic.workspace) as tx:
        noted = rows(tx, "SELECT detail FROM audit_read WHERE action = 'entity.show'")
    assert [row["detail"]["purpose"] for row in noted] == ["treatment", "treatment", "payment"]


@pytest.mark.usefixtures("typed")
def test_what_may_not_be_read_is_absent_with_the_reason(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr)
    clinic.land("ehr", labelled("42CFRPart2"))
    found = run(clinic, "entity", "show", "ehr:Patient:p1", "--view", "agent")
    assert (found["allowed"], found["state"], found["unverified"]) == (False, {}, [])
    assert found["refused"][0]["code"] == "sensitivity_label"
    assert "Okafor" not in json.dumps(found)
    assert run(clinic, "entity", "show", "ehr:Patient:p1", "--view", "agent", "--purpose", "emergency")["allowed"]
