"""Undo: what the sink held before comes back, what others edited stays, and nothing is written over again."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector_runner.infra.database import one, rows
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.outbound.operating import logbook, status, undo_store, undoing
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.outbound.operating.undoing import Asked, Undoable
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.world import reading
from tests.integration.outbound_stack import Clinic, System, a_patient, once_planned

PATIENTS = {"entity_types": ["patient"]}
OLD, NEW = "617-555-0101", "617-555-0199"
PATIENT_MAPPING = "fhir_r4/patient"


def heard(clinic: Clinic, phone: str = NEW, **more: Any) -> None:
    """An agent hears another phone and an e-mail, and a nurse approves."""
    said = clinic.say(
        canonical_id="ehr:Patient:p1",
        entity_type="patient",
        confidence=0.5,
        facts={
            "telecom": [
                {"system": "phone", "use": "home", "value": phone},
                {"system": "email", "use": "home", "value": "ada@example.org"},
            ],
            **more,
        },
    )
    clinic.judge(str(said.events[0]["id"]))


def told(clinic: Clinic, ehr: System, **more: Any) -> None:
    """The EHR has a patient, and got another phone and an e-mail from us."""
    clinic.source("ehr", ehr, **PATIENTS)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    heard(clinic, **more)
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": NEW, "email": "ada@example.org"}


def telecom(system: System, ref: str = "Patient/p1") -> dict[str, str]:
    return {item["system"]: item["value"] for item in system.get(ref).get("telecom", [])}


def others_edit(system: System, system_name: str, value: str) -> None:
    resource = system.get("Patient/p1")
    for item in resource["telecom"]:
        if item["system"] == system_name:
            item["value"] = value
    system.put(resource)


def ask(clinic: Clinic, **chosen: Any) -> Asked:
    return undoing.ask(clinic.outbound, clinic.workspace, Selection(**chosen), actor="op")


def survey(clinic: Clinic, **chosen: Any) -> list[Undoable]:
    return undoing.survey(clinic.outbound, clinic.workspace, Selection(**chosen))


def requests(clinic: Clinic, asked: Asked) -> list[dict[str, Any]]:
    with clinic.database.begin(clinic.workspace) as tx:
        return undo_store.requests(tx, clinic.workspace, asked.undo_id)


def withheld(clinic: Clinic, sink: str = "ehr") -> dict[str, str]:
    return {item["atom"]: item["code"] for item in clinic.lane(sink)["withheld"]}


def test_looking_shows_what_would_come_back_and_sends_nothing(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    others_edit(ehr, "email", "theirs@example.org")
    before = len(ehr.writes())
    [found] = survey(clinic, mapping=PATIENT_MAPPING)
    assert (found.action, found.sink_ref, len(found.writes)) == ("restore", "Patient/p1", 1)
    assert [(piece["field"], piece["to"]["value"]) for piece in found.restored] == [("telecom[phone|home]", OLD)]
    assert found.skipped == ({"field": "telecom[email|home]", "code": "edited_since"},)
    assert found.request is not None
    assert found.request["if_match"]
    assert len(ehr.writes()) == before
    assert survey(clinic, mapping="fhir_r4/pat") == survey(clinic, mapping=f"{PATIENT_MAPPING}@9") == []
    assert survey(clinic, until=utc_now(), sink="other") == []


def test_asked_while_another_write_is_planned_the_undo_goes_first(
    clinic: Clinic, ehr: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else that write, ours as well, would pass for another's edit, and nothing would come back."""
    told(clinic, ehr)
    heard(clinic, "617-555-0333")
    clinic.release()
    asked: list[Asked] = []
    once_planned(monkeypatch, lambda: asked.append(ask(clinic, mapping=PATIENT_MAPPING)))
    assert clinic.flow("ehr").outcomes["outdated"] == 1
    [request] = requests(clinic, asked[0])
    assert (request["status"], request["skipped"]) == ("undone", [])
    assert telecom(ehr) == {"phone": "617-555-0333"}, "what nobody took back goes then"


def test_undone_the_sink_is_as_before_but_for_others_edits_and_stays_so(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    others_edit(ehr, "email", "theirs@example.org")
    before = len(ehr.writes())
    asked = ask(clinic, mapping=PATIENT_MAPPING)
    assert (asked.lanes, asked.writes, asked.created, asked.already) == (1, 1, (), 0)
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": OLD, "email": "theirs@example.org"}
    assert len(ehr.writes()) == before + 2, "the first was stopped by If-Match, the second knew of the edit"
    [request] = requests(clinic, asked)
    assert (request["status"], request["pieces"]) == ("undone", 1)
    assert request["skipped"] == [{"piece": "telecom[email|home]", "code": "edited_since"}]
    assert withheld(clinic)["telecom[phone|home]"] == "undone"

    for _ in range(2):
        clinic.poll("ehr", "Patient")
        clinic.flow("ehr")
    assert len(ehr.writes()) == before + 2
    assert survey(clinic, mapping=PATIENT_MAPPING) == [], "what was undone is not undone twice"
    assert clinic.count("open_intent") == 0


def test_undoing_does_not_make_the_sink_say_its_old_value_anew(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    clinic.poll("ehr", "Patient")
    ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    clinic.poll("ehr", "Patient")
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, "ehr:Patient:p1")
    assert view is not None
    phone = view.folded.atoms["telecom[phone|home]"]
    assert (phone.winner.value["value"], phone.winner.source) == (NEW, "voice_agent")


def test_a_retry_of_the_lane_sends_again_what_was_undone(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    clinic.poll("ehr", "Patient")
    ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    clinic.poll("ehr", "Patient")
    lane = clinic.lane("ehr")
    status.retry(clinic.outbound, clinic.workspace, lane_ids=None, sink="ehr", actor="op")
    clinic.flow("ehr")
    assert telecom(ehr)["phone"] == OLD, "a retry of all that stands still lets nothing go that was undone"
    done = status.retry(clinic.outbound, clinic.workspace, lane_ids=[lane["lane_id"]], sink=None, actor="op")
    assert done.let_go == 1
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": NEW, "email": "ada@example.org"}


def test_another_value_or_another_version_of_the_mapping_goes(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    told(clinic, ehr)
    ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    heard(clinic, "617-555-0177")
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": "617-555-0177"}, "the e-mail is as it was, and stays back"

    clinic.outbound = replace(clinic.outbound, mappings=mended(tmp_path))
    heard(clinic, "617-555-0188")
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": "617-555-0188", "email": "ada@example.org"}


def mended(folder: Path) -> MappingSet:
    """The mappings with another release of the patient's."""
    shutil.copytree(PROJECT_ROOT / "mappings", folder / "mappings")
    place = folder / "mappings" / "outbound" / "fhir_r4" / "patient.yaml"
    place.write_text(re.sub(r"(?m)^version: \d+", "version: 99", place.read_text()))
    return load_mappings(folder / "mappings")


def test_several_writes_go_back_to_before_the_first(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    heard(clinic, "617-555-0177", marital_status={"text": "Married"})
    clinic.flow("ehr")
    assert ehr.get("Patient/p1")["maritalStatus"]["text"] == "Married"
    asked = ask(clinic, mapping=PATIENT_MAPPING)
    assert (asked.lanes, asked.writes) == (1, 2)
    clinic.flow("ehr")
    restored = ehr.get("Patient/p1")
    assert {key: value for key, value in restored.items() if key != "meta"} == a_patient()


def test_only_the_last_write_of_two_goes_back_to_ours(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    middle = utc_now()
    heard(clinic, "617-555-0177")
    clinic.flow("ehr")
    ask(clinic, since=middle)
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": NEW, "email": "ada@example.org"}
    clinic.poll("ehr", "Patient")
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, "ehr:Patient:p1")
    assert view is not None
    claims = view.folded.atoms["telecom[phone|home]"]
    copy = next(c for c in (claims.winner, *claims.losers) if c.data_source_id == clinic.ids["ehr"])
    assert (copy.source, copy.echo) == ("voice_agent", True), "what came back is ours, from the write before"


def test_a_lost_answer_to_an_undo_is_read_back(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    before = len(ehr.writes())
    ehr.faults({"on": "PUT Patient", "kind": "drop_answer", "next": 1})
    asked = ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    assert clinic.lane("ehr")["state"] == "unknown"
    clinic.execute("UPDATE open_intent SET resolve_after = now()")
    clinic.execute("UPDATE sync_lane SET due_at = now()")
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": OLD}
    assert len(ehr.writes()) == before + 1
    assert [row["status"] for row in requests(clinic, asked)] == ["undone"]


def test_where_everything_was_edited_since_nothing_is_sent(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    for name in ("phone", "email"):
        others_edit(ehr, name, "theirs")
    before = len(ehr.writes())
    [found] = survey(clinic, mapping=PATIENT_MAPPING)
    assert (found.action, found.reason) == ("nothing", "nothing_to_undo")
    asked = ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": "theirs", "email": "theirs"}
    assert [entry["status"] for entry in ehr.writes()[before:]] in ([], [412])
    assert [row["status"] for row in requests(clinic, asked)] == ["nothing"]
    assert clinic.lane("ehr")["state"] == "idle"


def test_what_a_write_made_is_for_a_person(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    [found] = survey(clinic, sink="store", mapping=PATIENT_MAPPING)
    assert (found.action, found.reason) == ("created", "the record was made by this write")
    asked = ask(clinic, sink="store", mapping=PATIENT_MAPPING)
    assert (asked.lanes, len(asked.created)) == (0, 1)
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    assert clinic.count("held_back") == 0


def test_asked_twice_it_is_done_once_and_all_of_it_is_audited(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    before = len(ehr.writes())
    first, second = ask(clinic, mapping=PATIENT_MAPPING), ask(clinic, mapping=PATIENT_MAPPING)
    assert (first.lanes, second.lanes) == (1, 0)
    clinic.flow("ehr")
    assert len(ehr.writes()) == before + 1
    with clinic.database.begin(clinic.workspace) as tx:
        entries = rows(tx, "SELECT object, detail FROM audit_log WHERE action = 'outbound.undo'")
    assert [(entry["object"], entry["detail"]["asked"]) for entry in entries] == [(first.undo_id, 1)]


def test_a_change_that_was_waiting_still_goes_after_the_undo(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    heard(clinic, "617-555-0177")
    clinic.release()
    asked = ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    assert telecom(ehr) == {"phone": "617-555-0177"}
    assert [row["status"] for row in requests(clinic, asked)] == ["undone"]


def test_the_log_shows_who_undid_what(clinic: Clinic, ehr: System) -> None:
    told(clinic, ehr)
    asked = ask(clinic, mapping=PATIENT_MAPPING)
    clinic.flow("ehr")
    with clinic.database.begin(clinic.workspace) as tx:
        inverse, write = logbook.entries(tx, clinic.workspace, Selection(sink="ehr"))
        [shown] = logbook.with_bodies(tx, clinic.outbound.sealer, clinic.workspace, [write])
        assert logbook.entries(tx, clinic.workspace, Selection(mapping=PATIENT_MAPPING)) == [write]
        assert logbook.entries(tx, clinic.workspace, Selection(sink="ehr"), outcome="unknown") == []
        lane = one(tx, "SELECT last_sent FROM sync_lane")
    assert (inverse["undo_id"], write["undone_by"]) == (asked.undo_id, asked.undo_id)
    assert [item["value"] for item in shown["before"]["telecom"]] == [OLD]
    assert [item["value"] for item in shown["sent"]["telecom"]] == [NEW, "ada@example.org"]
    assert shown["answer"]["id"] == "p1"
    assert lane is not None


def test_everything_is_not_a_choice(clinic: Clinic) -> None:
    with pytest.raises(Misconfigured) as refused:
        ask(clinic)
    assert refused.value.code == "undo_what"


def test_an_edit_that_an_undo_left_alone_is_not_overwritten_by_the_next_write(
    clinic: Clinic, ehr: System, store: System
) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    ehr.put(a_patient(maritalStatus={"text": "Married"}))
    clinic.poll("ehr", "Patient")
    clinic.flow("store")
    start = utc_now()
    heard(clinic)
    clinic.flow("store")
    ref = clinic.lane("store")["sink_ref"]
    store.put(store.get(ref) | {"maritalStatus": {"text": "Widowed"}})
    ask(clinic, sink="store", since=start)
    clinic.flow("store")
    heard(clinic, "617-555-0177")
    clinic.flow("store")
    assert store.get(ref)["maritalStatus"] == {"text": "Widowed"}
    assert telecom(store, ref) == {"phone": "617-555-0177"}
