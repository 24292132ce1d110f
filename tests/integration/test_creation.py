"""A patient whom only conversations know: complete, not there already, and then created; or why not."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.cli.main import app
from connector_runner.infra.database import rows
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound.operating import status
from connector_runner.outbound.operating.preview import preview
from connector_runner.outbound.planning import gap_store
from connector_runner.outbound.planning.duplicate_search import decide
from tests.integration.outbound_stack import KEY, Clinic, System, a_patient, an_appointment
from tests.integration.test_drain import BOTH, PATIENTS

PHONE = {"system": "phone", "use": "home", "value": "+16175550101"}
FACTS = {"name": {"family": "Okafor", "given": ["Ada"]}, "birth_date": "1982-03-04", "telecom": [PHONE]}
THEIRS = "2026-01-01T00:00:00Z"


def heard(clinic: Clinic, *, approve: bool = True, **facts: Any) -> str:
    """A patient of whom an agent heard, approved by a person; the entity's id."""
    said = clinic.say(entity_type="patient", confidence=0.5, facts={**FACTS, **facts})
    if approve:
        clinic.judge(said.events[0]["id"])
    return str(said.events[0]["entity_id"])


@pytest.mark.parametrize("client_id", [True, False])
def test_who_is_not_there_is_created_once(clinic: Clinic, ehr: System, client_id: bool) -> None:
    clinic.source("ehr", ehr, client_id=client_id, **PATIENTS)
    ehr.put(a_patient("other", birthDate="1990-05-06"))
    heard(clinic)
    clinic.flow("ehr")
    assert len(ehr.all("Patient")) == 2
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    assert len(ehr.all("Patient")) == 2
    assert clinic.lane("ehr")["sink_ref"] != "Patient/other"


@pytest.mark.parametrize("client_id", [True, False])
def test_the_one_who_is_there_already_is_gone_on_with(clinic: Clinic, ehr: System, client_id: bool) -> None:
    clinic.source("ehr", ehr, client_id=client_id, **PATIENTS)
    ehr.put(a_patient("p1", photo=[{"title": "theirs"}]))
    entity = heard(clinic, marital_status={"code": "M", "system": "http://hl7.org/x"})
    clinic.flow("ehr")
    [patient] = ehr.all("Patient")
    assert (patient["id"], patient["photo"]) == ("p1", [{"title": "theirs"}])
    assert patient["maritalStatus"]["coding"][0]["code"] == "M"
    assert patient["identifier"] == a_patient("p1")["identifier"]
    lane = clinic.lane("ehr")
    assert (lane["sink_ref"], lane["entity_id"]) == ("Patient/p1", entity)
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    assert clinic.count("entity") == 1
    assert len(ehr.all("Patient")) == 1


def test_one_who_says_it_all_already_is_joined_without_a_write(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    ehr.put(a_patient("p1", name=[{"family": "Okafor", "given": ["Ada"]}]))
    before = len(ehr.writes())
    heard(clinic)
    clinic.flow("ehr")
    assert ehr.writes()[before:] == []
    assert (clinic.lane("ehr")["sink_ref"], clinic.lane("ehr")["reason"]) == ("Patient/p1", "in_step")


def test_a_likeness_that_does_not_tell_is_for_a_person(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    ehr.put(a_patient("p1", phone="617-555-0999"))
    heard(clinic)
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert (lane["state"], lane["reason"]) == ("quarantined", "possible_duplicate")
    assert "Patient/p1" in lane["reason_detail"]
    assert [patient["id"] for patient in ehr.all("Patient")] == ["p1"]
    decide(clinic.outbound, clinic.workspace, lane["lane_id"], "Patient/p1", actor="op")
    clinic.flow("ehr")
    assert [patient["id"] for patient in ehr.all("Patient")] == ["p1"]
    assert clinic.lane("ehr")["sink_ref"] == "Patient/p1"
    with clinic.database.begin(clinic.workspace) as tx:
        assert len(rows(tx, "SELECT 1 FROM audit_log WHERE action = 'outbound.adopted' AND actor = 'op'")) == 1
        assert clinic.outbound.quarantine.count_open(tx, clinic.workspace) == 0
    with pytest.raises(BadRecord, match="nobody asks"):
        decide(clinic.outbound, clinic.workspace, lane["lane_id"], None, actor="op")


@pytest.mark.parametrize("phone", ["617-555-0101", "617-555-0999"])
def test_what_hangs_on_one_who_is_there_goes_once_that_is_known(clinic: Clinic, ehr: System, phone: str) -> None:
    """Found to be the same by the search, with nothing left to write; or by a person's word."""
    clinic.source("ehr", ehr, **BOTH)
    ehr.put(a_patient("p1", phone=phone, name=[{"family": "Okafor", "given": ["Ada"]}]))
    said = clinic.say(entity_type="patient", confidence=0.5, facts=FACTS)
    times = {"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z"}
    with clinic.database.begin(clinic.workspace) as tx:
        name = rows(tx, "SELECT canonical_id FROM entity WHERE entity_type = 'patient'")[0]["canonical_id"]
    visit = clinic.say(entity_type="appointment", confidence=0.5, facts={**times, "patient": {"ref": name}})
    clinic.judge(visit.events[0]["id"])
    clinic.flow("ehr")
    assert clinic.lane("ehr", "appointment")["reason"] == "dependency_below_threshold"
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    if lane["reason"] == "possible_duplicate":
        decide(clinic.outbound, clinic.workspace, lane["lane_id"], "Patient/p1", actor="op")
        clinic.flow("ehr")
    assert clinic.lane("ehr", "appointment")["reason"] == "landed"
    [appointment] = ehr.all("Appointment")
    assert appointment["participant"][0]["actor"]["reference"] == "Patient/p1"


def test_a_person_may_say_that_it_is_somebody_else(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    ehr.put(a_patient("p1"))
    ehr.put(a_patient("p2"))
    heard(clinic)
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert lane["reason"] == "possible_duplicate", "two who are both the same are not one"
    decide(clinic.outbound, clinic.workspace, lane["lane_id"], None, actor="op")
    with clinic.database.begin(clinic.workspace) as tx:
        assert len(rows(tx, "SELECT 1 FROM audit_log WHERE action = 'outbound.not_a_duplicate' AND actor = 'op'")) == 1
    clinic.flow("ehr")
    assert len(ehr.all("Patient")) == 3
    assert clinic.lane("ehr")["reason"] == "landed"


def test_a_preview_knows_of_duplicates_and_of_faults_as_the_drain_does(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **BOTH)
    entity = heard(clinic, gender="female", language={"code": "es", "system": "urn:ietf:bcp:47"})
    assert preview(clinic.outbound, clinic.workspace, entity, "ehr").action == "create"
    ehr.put(a_patient("p1"))
    shown = preview(clinic.outbound, clinic.workspace, entity, "ehr")
    assert (shown.action, shown.target and shown.target["ref"]) == ("update", "Patient/p1")
    ehr.put(a_patient("p2"))
    shown = preview(clinic.outbound, clinic.workspace, entity, "ehr")
    assert (shown.action, shown.reason, shown.detail) == ("none", "possible_duplicate", "Patient/p1, Patient/p2")
    assert clinic.lanes("ehr") == []
    said = clinic.say(
        entity_type="appointment",
        confidence=0.5,
        facts={
            "status": "booked",
            "start": "2026-12-01T09:00:00Z",
            "end": "2026-12-01T08:00:00Z",
            "patient": {"ref": "ehr:Patient:p1"},
        },
    )
    clinic.judge(said.events[0]["id"])
    shown = preview(clinic.outbound, clinic.workspace, said.events[0]["entity_id"], "ehr")
    assert (shown.action, shown.reason) == ("none", "invalid_semantic")
    assert shown.request is not None
    clinic.flow("ehr")
    lanes = {lane["entity_type"]: lane["reason"] for lane in clinic.lanes("ehr")}
    assert lanes == {"patient": "possible_duplicate", "appointment": "invalid_semantic"}


def test_a_search_that_fails_creates_nobody(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    ehr.put(a_patient("p1"))
    ehr.faults({"on": "POST Patient/_search", "kind": "status", "status": 503, "retry_after": 1, "next": 1})
    heard(clinic)
    clinic.flow("ehr")
    assert [patient["id"] for patient in ehr.all("Patient")] == ["p1"]
    assert clinic.lane("ehr")["sink_ref"] is None
    ehr.faults()
    clinic.execute("UPDATE sync_lane SET due_at = now()")
    time.sleep(1.1)
    clinic.flow("ehr")
    assert clinic.lane("ehr")["sink_ref"] == "Patient/p1"


def test_what_is_missing_is_named_listed_and_filled(clinic: Clinic, ehr: System) -> None:
    types = {"patient": {"required": ["birth_date", "telecom[phone]", "address", "name"]}}
    clinic.source("ehr", ehr, entity_types=types)
    entity = heard(clinic, telecom=[{"system": "email", "use": "home", "value": "ada@example.org"}], birth_date=None)
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert (lane["state"], lane["reason"]) == ("idle", "missing_required")
    assert lane["reason_detail"] == "birth_date, telecom[phone], address"
    assert [(gap["entity_id"], gap["field"], gap["sink"]) for gap in gaps(clinic)] == [
        (entity, "address", "ehr"), (entity, "birth_date", "ehr"), (entity, "telecom[phone]", "ehr")]  # fmt: skip
    later = clinic.say(entity_id=entity, confidence=0.5, facts={"birth_date": "1982-03-04", "telecom": [PHONE]})
    clinic.judge(later.events[0]["id"])
    clinic.flow("ehr")
    assert clinic.lane("ehr")["reason_detail"] == "address"
    assert [gap["field"] for gap in gaps(clinic)] == ["address"]
    last = clinic.say(entity_id=entity, confidence=0.5, facts={"address": [{"use": "home", "city": "Boston"}]})
    clinic.judge(last.events[0]["id"])
    clinic.flow("ehr")
    assert (gaps(clinic), len(ehr.all("Patient"))) == ([], 1)


def typed(clinic: Clinic, *arguments: str, code: int = 0) -> Any:
    """The JSON of a command."""
    done = CliRunner().invoke(app, ["outbound", *arguments, "--workspace", clinic.workspace, "--json"])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return None if code else json.loads(done.stdout)


def test_a_person_sees_and_decides_from_the_command_line(
    clinic: Clinic, ehr: System, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("CONNECTOR_RUNNER_HTTP_ALLOW", "127.0.0.1")
    clinic.source("ehr", ehr, entity_types={"patient": {"required": ["gender"]}})
    entity = heard(clinic)
    clinic.flow("ehr")
    [gap] = typed(clinic, "gaps", "--entity", entity)["gaps"]
    assert (gap["field"], gap["sink"], gap["entity_type"]) == ("gender", "ehr", "patient")
    ehr.put(a_patient("p1", phone="617-555-0999"))
    clinic.judge(clinic.say(entity_id=entity, confidence=0.5, facts={"gender": "female"}).events[0]["id"])
    clinic.flow("ehr")
    assert typed(clinic, "gaps") == {"gaps": []}
    lane = clinic.lane("ehr")["lane_id"]
    typed(clinic, "same", lane, code=2)
    typed(clinic, "same", "Patient/p1", "--none", code=2)
    assert typed(clinic, "same", lane, "Patient/p1") == {"lane": lane, "record": "Patient/p1"}
    clinic.flow("ehr")
    assert clinic.lane("ehr")["sink_ref"] == "Patient/p1"
    typed(clinic, "same", lane, "--none", code=1)


def failed(clinic: Clinic) -> int:
    with clinic.database.begin(clinic.workspace) as tx:
        return int(status.lanes_by_state(tx, clinic.workspace)[0]["failed"])


def gaps(clinic: Clinic) -> list[Any]:
    with clinic.database.begin(clinic.workspace) as tx:
        return sorted(gap_store.gaps(tx, clinic.workspace), key=lambda gap: gap["field"])


def an_appointment_of(clinic: Clinic, patient: str) -> str:
    said = clinic.say(
        entity_type="appointment",
        confidence=0.5,
        facts={"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z",
               "patient": {"ref": patient}},
    )  # fmt: skip
    clinic.judge(said.events[0]["id"])
    return str(said.events[0]["entity_id"])


def test_what_the_mapping_needs_is_named_as_well(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **BOTH)
    said = clinic.say(entity_type="appointment", confidence=0.5, facts={"status": "booked"})
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    lane = clinic.lane("ehr", "appointment")
    assert (lane["reason"], lane["reason_detail"]) == ("missing_required", "participant")


def canonical(clinic: Clinic, entity: str) -> str:
    with clinic.database.begin(clinic.workspace) as tx:
        return str(rows(tx, "SELECT canonical_id FROM entity WHERE entity_id = :id", id=entity)[0]["canonical_id"])


@pytest.mark.parametrize("patient_first", [True, False])
def test_what_hangs_on_an_unverified_record_fails_until_it_is_verified(
    clinic: Clinic, ehr: System, patient_first: bool
) -> None:
    clinic.source("ehr", ehr, **BOTH)
    said = clinic.say(entity_type="patient", confidence=0.5, facts=FACTS)
    patient = canonical(clinic, said.events[0]["entity_id"])
    if patient_first:
        clinic.release()
    an_appointment_of(clinic, patient)
    clinic.flow("ehr")
    clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state = 'waiting'")
    clinic.flow("ehr")
    lane = clinic.lane("ehr", "appointment")
    assert (lane["reason"], lane["reason_detail"], lane["attempts"]) == ("dependency_below_threshold", "patient", 0)
    assert failed(clinic) == 1
    assert ehr.all("Appointment") == []
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    assert failed(clinic) == 0
    [made] = ehr.all("Appointment")
    assert made["participant"][0]["actor"]["reference"] == f"Patient/{ehr.all('Patient')[0]['id']}"


def test_what_is_called_off_before_it_was_sent_is_not_sent(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **BOTH)
    patient = canonical(clinic, heard(clinic))
    clinic.flow("ehr")
    appointment = an_appointment_of(clinic, patient)
    clinic.release()
    assert clinic.lane("ehr", "appointment")["state"] == "ready"
    off = clinic.say(entity_id=appointment, confidence=0.5, facts={"status": "cancelled"})
    clinic.judge(off.events[0]["id"])
    clinic.flow("ehr")
    lane = clinic.lane("ehr", "appointment")
    assert (lane["state"], lane["reason"], lane["reason_detail"]) == ("idle", "cancelled_before_sent", "cancelled")
    assert ehr.all("Appointment") == []
    on = clinic.say(entity_id=appointment, confidence=0.5, facts={"status": "booked"})
    clinic.judge(on.events[0]["id"])
    clinic.flow("ehr")
    assert [made["status"] for made in ehr.all("Appointment")] == ["booked"]


def test_what_was_rejected_before_it_was_sent_is_not_sent(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    said = clinic.say(entity_type="patient", confidence=0.5, facts=FACTS)
    clinic.judge(said.events[0]["id"])
    clinic.release()
    clinic.judge(said.events[0]["id"], approve=False)
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert (lane["state"], lane["reason"], lane["reason_detail"]) == ("idle", "cancelled_before_sent", "rejected")
    assert ehr.writes() == []


def test_a_story_that_was_over_when_it_came_is_told_as_it_is(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    clinic.land("ehr", a_patient(), an_appointment("a1", status="cancelled"))
    clinic.flow("store")
    assert [made["status"] for made in store.all("Appointment")] == ["cancelled"]
