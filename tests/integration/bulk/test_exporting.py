"""Bulk exports from a simulated server into a real Postgres, through what goes wrong on the way."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.fhir.bulk.feed import ExportFeed
from connector_runner.infra.queue import EXPORT
from connector_runner.intake import polling
from connector_runner.intake import slice as slice_
from connector_runner.intake.bulk import requesting, running, store
from connector_runner.intake.imports import running as imports
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Conflict, Misconfigured
from connector_runner.observability import overdue
from tests.integration.bulk.stack import Clinic, Server, import_of


def test_everything_then_what_changed_since(clinic: Clinic, server: Server) -> None:
    server.behave(export_file_lines=3, export_looks=2)
    server.patients(*range(10))
    server.weights(*range(7))
    first = clinic.export()
    assert (first["state"], first["complete"], first["problems"], first["error"]) == ("completed", True, [], None)
    assert (first["events_created"], first["quarantined"], first["files"], first["lines"]) == (17, 0, 7, 17)
    assert len(server.asked("DELETE", "$export-status")) == 1
    assert server.asked("GET", "/$export?")[0]["path"].endswith("_type=Observation%2CPatient")
    written = clinic.query("SELECT DISTINCT source, source_system FROM event")
    assert written == [{"source": "connector_runner", "source_system": "ehr"}]
    server.patients(3)  # as it was
    server.put("Patient", "p4", name=[{"family": "Quincy", "given": ["Ida"]}])
    second = clinic.export()
    assert second["since"] == first["next_since"]
    assert (second["events_created"], second["events_updated"], second["lines"]) == (0, 1, 2)
    third = clinic.export()
    assert (third["files"], third["events_updated"], third["state"]) == (0, 0, "completed")
    assert clinic.query("SELECT health_status FROM data_source")[0]["health_status"] == "healthy"
    assert clinic.query("SELECT count(*) AS n FROM import_part") == [{"n": 0}]


def test_progress_is_a_number_and_nothing_of_the_server_is_kept(clinic: Clinic, server: Server) -> None:
    server.behave(export_looks=3)
    server.patients(1)
    export_id = clinic.ask()
    clinic.slice(export_id, s=0.01)
    clinic.hurry(export_id)
    clinic.slice(export_id, s=0.01)
    standing = running.standing(clinic.deps, clinic.workspace, export_id)
    assert standing["state"] == "polling", standing
    assert 0 < (standing["progress"] or 0) < 100, (standing, server.asked("export"))
    assert "patients" not in json.dumps(standing, default=str)


def test_deletes_are_explicit_and_dated_or_proved(clinic: Clinic, server: Server) -> None:
    server.patients(*range(8))
    clinic.export()
    server.delete("Patient", "p1")
    clinic.export()
    assert "Patient:p1" not in clinic.names()
    asked = len(server.asked("GET", "Patient/p"))
    server.behave(export_dates_deletes=False)
    server.delete("Patient", "p2")
    clinic.export()
    assert "Patient:p2" not in clinic.names()
    assert len(server.asked("GET", "Patient/p2")) == 1
    assert asked == 0
    assert clinic.events("deleted") == 2


def test_an_undated_delete_of_a_record_that_is_there_is_none(clinic: Clinic, server: Server) -> None:
    server.patients(1, 2)
    clinic.export()
    server.behave(export_dates_deletes=False)
    server.delete("Patient", "p1")
    export_id = clinic.ask()
    clinic.slice(export_id, s=0.01)  # the manifest of the export says that it is gone
    server.patients(1)
    outcome = running.run_to_end(clinic.deps, clinic.workspace, export_id)
    assert outcome["state"] == "completed"
    assert "Patient:p1" in clinic.names()
    assert clinic.events("deleted") == 0


def test_many_deletes_at_once_wait_for_a_person(clinic: Clinic, server: Server) -> None:
    server.patients(*range(12))
    clinic.export()
    for n in range(6):
        server.delete("Patient", f"p{n}")
    outcome = clinic.export()
    assert [problem["code"] for problem in outcome["problems"]] == ["too_many_deletes"]
    assert clinic.events("deleted") == 0
    parked = clinic.query("SELECT code, stage FROM quarantine WHERE status = 'open'")
    assert parked == [{"code": "too_many_deletes", "stage": "tombstones"}]


def test_errors_of_the_manifest_are_quarantined_and_told(clinic: Clinic, server: Server) -> None:
    server.behave(export_issues=2, export_miscounts=1)
    server.patients(1)
    outcome = clinic.export()
    codes = sorted(problem["code"] for problem in outcome["problems"])
    assert codes == ["count_mismatch", "count_mismatch", "export_issue"]
    issue = next(problem for problem in outcome["problems"] if problem["code"] == "export_issue")
    assert issue["issues"] == 2
    kept = clinic.query("SELECT code, stage, context FROM quarantine ORDER BY quarantine_id")
    assert [(row["stage"], row["code"], row["context"]["codes"]) for row in kept] == [
        ("bulk", "export_issue", ["exception"])
    ] * 2
    assert not outcome["complete"], "a record that was promised did not come"


def test_more_lines_than_were_promised_lack_nothing(clinic: Clinic, server: Server) -> None:
    server.behave(export_miscounts=-1)
    server.patients(1, 2)
    outcome = clinic.export()
    assert [problem["code"] for problem in outcome["problems"]] == ["count_mismatch"]
    assert (outcome["complete"], clinic.names()) == (True, {"Patient:p1", "Patient:p2"})


def test_another_export_of_the_client_is_waited_for(clinic: Clinic, server: Server) -> None:
    server.behave(export_looks=1)
    server.patients(1)
    request = urllib.request.Request(f"{server.base}/$export", headers={"Prefer": "respond-async"})  # noqa: S310 - our own server
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
        theirs = answer.headers["Content-Location"]
    export_id = clinic.ask()
    clinic.slice(export_id)
    standing = running.standing(clinic.deps, clinic.workspace, export_id)
    assert (standing["state"], standing["error"]) == ("starting", "already_running")
    assert clinic.query("SELECT health_status FROM data_source")[0]["health_status"] != "unhealthy"
    server.call("GET", theirs)
    assert running.run_to_end(clinic.deps, clinic.workspace, export_id)["state"] == "completed"


def test_the_export_whose_answer_was_lost_is_taken_on(clinic: Clinic, server: Server) -> None:
    server.behave(export_looks=1, export_tells_running=True)
    server.patients(1)
    server.faults({"on": "GET $export", "kind": "drop_answer", "next": 1})
    export_id = clinic.ask()
    assert clinic.look(export_id)["error"] == "answer_lost"
    standing = clinic.look(export_id)
    assert (standing["state"], standing["error"]) == ("polling", None)
    assert running.run_to_end(clinic.deps, clinic.workspace, export_id)["events_created"] == 1


def test_a_server_that_takes_posts_only(clinic: Clinic, server: Server) -> None:
    server.behave(export_post_only=True)
    server.patients(1, 2)
    assert clinic.export(full=True)["events_created"] == 2
    assert len(server.asked("POST", "$export")) == 1


def test_an_export_that_expires_is_begun_anew_since_the_same_instant(clinic: Clinic, server: Server) -> None:
    server.behave(export_file_lines=1)
    server.patients(*range(6))
    first = clinic.export()
    server.patients(*range(20, 30))
    server.faults({"on": "GET $export-file/*", "kind": "status", "status": 404, "next": 1})
    second = clinic.export()
    assert (second["state"], second["restarts"], second["since"]) == ("completed", 1, first["next_since"])
    assert [problem["code"] for problem in second["problems"]] == ["file_expired"]
    assert len(clinic.names()) == 16
    server.patients(40)
    server.faults({"on": "GET $export-status/*", "kind": "status", "status": 404, "next": 1})
    third = clinic.export()
    assert (third["state"], third["restarts"], third["since"]) == ("completed", 1, second["next_since"])
    assert "Patient:p40" in clinic.names()


def test_a_file_that_cannot_be_had_keeps_the_mark_where_it_was(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    first = clinic.export()
    server.patients(2)
    server.faults({"on": "GET $export-file/*", "kind": "status", "status": 500})
    export_id = clinic.ask()
    for _ in range(20):
        clinic.hurry(export_id)
        clinic.slice(export_id, s=0.3)
        imports.run(clinic.deps, clinic.workspace, import_of(clinic, export_id), owner="w")
    outcome = running.outcome_of(clinic.deps, clinic.workspace, export_id)
    assert (outcome["state"], outcome["complete"], outcome["failed"]) == ("completed", False, 1)
    assert clinic.query("SELECT health_code FROM data_source")[0]["health_code"] == "export_incomplete"
    server.faults()
    again = clinic.export()
    assert again["since"] == first["next_since"]
    assert "Patient:p2" in clinic.names()


@pytest.mark.parametrize("named", [True, False])
def test_who_joined_a_group_late_is_exported_in_full(clinic: Clinic, server: Server, named: bool) -> None:
    server.behave(export_patient_parameter=named)
    server.patients(1, 2, 3)
    server.weights(1, 2, 3)
    server.group(1, 2)
    clinic.apply(scope="group", group="panel")
    first = clinic.export()
    assert clinic.names() == {"Patient:p1", "Patient:p2", "Observation:o1", "Observation:o2"}
    time.sleep(0.01)
    server.group(1, 2, 3)
    second = clinic.export()
    assert (second["step"], second["next_since"] > first["next_since"]) == ("newcomers", True)
    assert {"Patient:p3", "Observation:o3"} <= clinic.names()
    assert (clinic.export()["step"], len(server.asked("$export"))) == ("main", len(server.asked("$export")))


def test_a_group_that_cannot_be_read_is_learned_from_its_patients(clinic: Clinic, server: Server) -> None:
    server.patients(1, 2)
    server.weights(1, 2)
    server.group(1)
    unreadable = {"on": "GET Group/panel", "kind": "status", "status": 403, "next": 1}
    clinic.apply(scope="group", group="panel")
    server.faults(unreadable)
    assert clinic.export()["state"] == "completed"
    server.group(1, 2)
    server.faults(unreadable)
    outcome = clinic.export()
    assert outcome["step"] == "newcomers"
    assert "Observation:o2" in clinic.names()


def test_slices_and_workers_share_a_job(clinic: Clinic, server: Server) -> None:
    server.behave(export_file_lines=1)
    server.patients(*range(40))
    export_id = clinic.ask()
    for turn in range(400):
        clinic.hurry(export_id)
        outcome = clinic.slice(export_id, s=0.02, owner=f"worker-{turn % 3}")
        if outcome.state in ("completed", "failed"):
            break
        imports.run(clinic.deps, clinic.workspace, str(outcome.import_id), owner=f"lander-{turn % 2}", slice_s=0.02)
    assert outcome.state == "completed"
    assert len(clinic.names()) == 40
    assert len(server.asked("GET", "$export-file")) == 40


def test_a_lease_that_was_lost_writes_nothing(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    export_id = clinic.ask()
    with clinic.deps.database.begin(clinic.workspace) as tx:
        mine = store.claim(tx, export_id, "one", utc_now())
    assert mine is not None
    with clinic.deps.database.begin(clinic.workspace) as tx:
        assert store.claim(tx, export_id, "two", utc_now()) is None
        theirs = store.claim(tx, export_id, "two", utc_now() + timedelta(seconds=store.LEASE_S + 1))
        assert theirs is not None
        assert not store.save(tx, mine, state="failed")
        assert store.save(tx, theirs, due_at=utc_now())


def test_one_export_at_a_time_and_the_same_is_taken_on(clinic: Clinic, server: Server) -> None:
    export_id = clinic.ask()
    assert clinic.ask() == export_id
    with pytest.raises(Conflict) as caught:
        clinic.ask(scope="patient")
    assert caught.value.code == "export_running"


def test_polling_gathers_types_into_one_export(clinic: Clinic, server: Server) -> None:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        first = requesting.want(tx, clinic.source, "Patient", full=False, now=utc_now())
        assert requesting.want(tx, clinic.source, "Observation", full=False, now=utc_now()) == first
        assert requesting.want(tx, clinic.source, "Patient", full=False, now=utc_now()) == first
    server.patients(1)
    server.weights(1)
    clinic.hurry(str(first))
    assert running.run_to_end(clinic.deps, clinic.workspace, str(first))["events_created"] == 2


def test_settings_and_credentials_that_cannot_work(clinic: Clinic, server: Server) -> None:
    with pytest.raises(Misconfigured):
        clinic.apply(scope="group")
    server.behave(token="secret-token")
    outcome = clinic.ask()
    for _ in range(6):
        clinic.hurry(outcome)
        clinic.slice(outcome, s=0.05)
    assert running.standing(clinic.deps, clinic.workspace, outcome)["state"] == "failed"
    assert clinic.query("SELECT health_code FROM data_source")[0]["health_code"] == "unauthorized"


def test_a_type_that_is_read_by_exports_asks_for_one_when_it_is_polled(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polled twice: the export is asked for in full first, and once only; the poll itself is over at once."""

    def opened(deps: Any, source: DataSource, **_: Any) -> Any:
        return SimpleNamespace(pages=lambda kind, cursor, full: ExportFeed().changed(kind, cursor))

    monkeypatch.setattr(slice_, "open_source", opened)
    at = utc_now()
    for kind in ("Patient", "Observation", "Patient"):
        at += timedelta(seconds=400)
        ids = (clinic.workspace, clinic.source.data_source_id, kind)
        assert polling.poll(clinic.deps, *ids, owner="one", now=at).status == "done"
    asked = clinic.query("SELECT types, since, state FROM export_job")
    assert asked == [{"types": ["Observation", "Patient"], "since": None, "state": "starting"}]
    due = clinic.query("SELECT consecutive_errors, full_sync_due_at FROM source_resource")
    assert [(row["consecutive_errors"], row["full_sync_due_at"] > at) for row in due] == [(0, True)] * 2


def test_a_type_counts_as_read_once_an_export_of_all_of_it_was_complete(clinic: Clinic, server: Server) -> None:
    """To have asked for an export is not to have read it, nor is to have had all of its files but one."""

    def read() -> dict[str, bool]:
        found = clinic.query("SELECT resource_type, read_whole_at IS NOT NULL AS whole FROM source_resource")
        return {row["resource_type"]: row["whole"] for row in found}

    server.patients(1)
    server.faults({"on": "GET $export-file/*", "kind": "status", "status": 500})
    export_id = clinic.ask(types=["Patient"])
    for _ in range(20):
        clinic.hurry(export_id)
        clinic.slice(export_id, s=0.3)
        imports.run(clinic.deps, clinic.workspace, import_of(clinic, export_id), owner="w")
    assert running.outcome_of(clinic.deps, clinic.workspace, export_id)["complete"] is False
    assert read() == {"Observation": False, "Patient": False}
    server.faults()
    assert clinic.export(types=["Patient"], since=utc_now())["complete"] is True
    server.group(1)
    assert clinic.export(types=["Patient"], scope="group", group="panel")["complete"] is True
    assert read() == {"Observation": False, "Patient": False}, "what changed lately, and a part of all"
    clinic.run("DELETE FROM export_mark")
    assert clinic.export(types=["Patient"])["complete"] is True
    assert read() == {"Observation": False, "Patient": False}, "what came meanwhile is in the next"
    assert clinic.export(types=["Patient"])["complete"] is True
    assert read() == {"Observation": False, "Patient": True}


def test_of_a_type_of_which_all_is_never_asked_for_any_complete_export_is_all(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    clinic.run("DELETE FROM source_resource")
    clinic.export(types=["Patient"])
    settings = {
        "base_url": clinic.base_url,
        "resources": {"Patient": {"full_sync_every_s": None}},
        "bulk": {"poll_s": 0.05},
    }
    document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
    with clinic.deps.database.begin(clinic.workspace) as tx:
        clinic.source = directory.apply(tx, clinic.workspace, document, actor="test", now=utc_now())[0].source
    for _ in range(2):
        assert clinic.export(types=["Patient"])["since"] is not None
    assert clinic.query("SELECT read_whole_at IS NOT NULL AS whole FROM source_resource") == [{"whole": True}]


def test_the_sweep_finds_what_is_due_and_a_worker_does_it(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    export_id = clinic.ask()
    hinted = [dict(hint.arguments) for hint in overdue.find(clinic.deps.database, now=utc_now()) if hint.task == EXPORT]
    assert {"workspace_id": clinic.workspace, "export_id": export_id} in hinted
