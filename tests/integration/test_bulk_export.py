"""Bulk exports from a simulated server into a real Postgres, through what goes wrong on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from connector_runner.auth.settings import Auth
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.cli.main import app
from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.fhir.bulk import client
from connector_runner.connectors.fhir.bulk.feed import ExportFeed
from connector_runner.connectors.fhir.bulk.settings import BulkSettings
from connector_runner.infra.database import execute, rows
from connector_runner.infra.http import Answer
from connector_runner.infra.queue import EXPORT
from connector_runner.intake import polling
from connector_runner.intake import slice as slice_
from connector_runner.intake.bulk import fetching, requesting, running, store
from connector_runner.intake.imports import running as imports
from connector_runner.intake.opening import opening_of
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Conflict, Misconfigured, Unavailable
from connector_runner.observability import overdue
from connector_runner.sandbox import launch
from connector_runner.settings import PROJECT_ROOT, Settings


@pytest.fixture(scope="module")
def simulated() -> Iterator[launch.Running]:
    with launch.start("store", patients=0) as system:
        yield system


@pytest.fixture
def deps(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(database_url, redis_url))
    yield runner
    runner.http.close()
    runner.database.dispose()


class Server:
    """The simulated server as a test talks to it."""

    def __init__(self, system: launch.Running) -> None:
        self.system = system
        self.base = system.base_url
        self.call("POST", f"{system.switchboard}/reset", {"empty": True})

    def call(self, method: str, url: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/fhir+json"}, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            content = answer.read()
        return json.loads(content) if content else None

    def put(self, kind: str, record_id: str, **content: Any) -> None:
        body = {"resourceType": kind, "id": record_id, **content}
        self.call("PUT", f"{self.base}/{kind}/{record_id}", body)

    def patients(self, *numbers: int) -> None:
        for n in numbers:
            self.put("Patient", f"p{n}", name=[{"family": f"Ames{n}", "given": ["Ida"]}])

    def weights(self, *numbers: int) -> None:
        for n in numbers:
            code = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
            self.put("Observation", f"o{n}", status="final", code=code, subject={"reference": f"Patient/p{n}"},
                     effectiveDateTime="2026-01-02", valueQuantity={"value": 70 + n, "unit": "kg"})  # fmt: skip

    def group(self, *numbers: int) -> None:
        members = [{"entity": {"reference": f"Patient/p{n}"}} for n in numbers]
        self.put("Group", "panel", type="person", actual=True, member=members)

    def delete(self, kind: str, record_id: str) -> None:
        self.call("DELETE", f"{self.base}/{kind}/{record_id}")

    def behave(self, **how: Any) -> None:
        self.call("PUT", f"{self.system.switchboard}/behaviour", how)

    def faults(self, *orders: dict[str, Any]) -> None:
        self.call("PUT", f"{self.system.switchboard}/faults", list(orders))

    def asked(self, *words: str) -> list[dict[str, Any]]:
        journal = self.call("GET", f"{self.system.switchboard}/journal")
        return [entry for entry in journal if all(word in f"{entry['method']} {entry['path']}" for word in words)]


@pytest.fixture
def server(simulated: launch.Running) -> Server:
    return Server(simulated)


class Clinic:
    """One workspace with one source."""

    def __init__(self, deps: Runner, workspace: str, base_url: str) -> None:
        self.deps, self.workspace, self.base_url = deps, workspace, base_url
        self.source = self.apply()

    def apply(self, **bulk: Any) -> DataSource:
        bulk = {"poll_s": 0.05, **bulk}
        settings = {"base_url": self.base_url, "resources": ["Patient", "Observation"], "bulk": bulk}
        settings["rate"] = {"per_second": 1000, "burst": 1000}
        document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
        with self.deps.database.begin(self.workspace) as tx:
            self.source = directory.apply(tx, self.workspace, document, actor="test", now=utc_now())[0].source
        return self.source

    def ask(self, **what: Any) -> str:
        with self.deps.database.begin(self.workspace) as tx:
            return requesting.ask(tx, self.source, now=utc_now(), **what)[0]

    def export(self, **what: Any) -> dict[str, Any]:
        return running.run_to_end(self.deps, self.workspace, self.ask(**what))

    def slice(self, export_id: str, *, s: float = 1.0, owner: str = "worker") -> running.ExportOutcome:
        return running.run(self.deps, self.workspace, export_id, owner=owner, slice_s=s)

    def hurry(self, export_id: str) -> None:
        """Let no pause pass."""
        self.run("UPDATE export_job SET due_at = now() WHERE export_id = :id", id=export_id)
        self.run("UPDATE export_file SET due_at = now() WHERE export_id = :id", id=export_id)

    def run(self, statement: str, **bound: Any) -> None:
        with self.deps.database.begin(self.workspace) as tx:
            execute(tx, statement, **bound)

    def query(self, statement: str, **bound: Any) -> list[dict[str, Any]]:
        with self.deps.database.begin(self.workspace) as tx:
            return rows(tx, statement, **bound)

    def names(self) -> set[str]:
        """The records that are known and not deleted."""
        found = self.query("SELECT canonical_id FROM entity WHERE status = 'active'")
        return {row["canonical_id"].removeprefix("ehr:") for row in found}

    def events(self, verb: str) -> int:
        found = self.query("SELECT count(*) AS n FROM event WHERE event_type LIKE '%.' || :verb", verb=verb)
        return int(found[0]["n"])


@pytest.fixture
def clinic(deps: Runner, workspace: str, server: Server) -> Clinic:
    return Clinic(deps, workspace, server.base)


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
    assert outcome["complete"]


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
    clinic.slice(export_id, s=0.01)
    assert running.standing(clinic.deps, clinic.workspace, export_id)["error"] == "answer_lost"
    clinic.hurry(export_id)
    clinic.slice(export_id, s=0.01)
    assert running.standing(clinic.deps, clinic.workspace, export_id)["state"] == "polling"
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
        imports.run(clinic.deps, clinic.workspace, _import_of(clinic, export_id), owner="w")
    outcome = running.outcome_of(clinic.deps, clinic.workspace, export_id)
    assert (outcome["state"], outcome["complete"], outcome["failed"]) == ("completed", False, 1)
    assert clinic.query("SELECT health_code FROM data_source")[0]["health_code"] == "export_incomplete"
    server.faults()
    again = clinic.export()
    assert again["since"] == first["next_since"]
    assert "Patient:p2" in clinic.names()


def _import_of(clinic: Clinic, export_id: str) -> str:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        job = store.job(tx, export_id)
    assert job is not None
    return job.import_id


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


def test_the_sweep_finds_what_is_due_and_a_worker_does_it(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    export_id = clinic.ask()
    hinted = [dict(hint.arguments) for hint in overdue.find(clinic.deps.database, now=utc_now()) if hint.task == EXPORT]
    assert {"workspace_id": clinic.workspace, "export_id": export_id} in hinted


_KILLED = """
import sys
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.intake.bulk import running
from connector_runner.settings import Settings
runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(sys.argv[1], sys.argv[2]))
running.run_to_end(runner, sys.argv[3], sys.argv[4])
"""


def test_killed_midway_it_is_gone_on_with_file_by_file(
    clinic: Clinic, server: Server, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it fetches; what it stored is neither fetched nor landed again."""
    monkeypatch.setattr(store, "LEASE_S", 1.0)
    server.behave(export_file_lines=1)
    server.patients(*range(60))
    server.faults({"on": "GET $export-file/*", "kind": "slow", "seconds": 0.05})
    clinic.apply(connections=1)
    export_id = clinic.ask(types=("Patient",))
    words = [sys.executable, "-c", _KILLED, database_url, redis_url, clinic.workspace, export_id]
    process = subprocess.Popen(words, cwd=PROJECT_ROOT)
    try:
        deadline = time.monotonic() + 60
        while clinic.query("SELECT count(*) AS n FROM import_file")[0]["n"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    before = running.standing(clinic.deps, clinic.workspace, export_id)
    assert (before["state"], before["fetched"] < 60) == ("fetching", True)
    clinic.run("UPDATE export_job SET lease_until = now()")
    clinic.run("UPDATE export_file SET lease_until = now() WHERE state = 'running'")
    clinic.run("UPDATE import_file SET lease_until = now()")
    server.faults()
    outcome = running.run_to_end(clinic.deps, clinic.workspace, export_id)
    assert (outcome["state"], outcome["fetched"], outcome["lines"], outcome["restarts"]) == ("completed", 60, 60, 0)
    assert len(clinic.names()) == 60
    assert clinic.events("created") == 60
    fetched = [entry["path"] for entry in server.asked("GET", "$export-file")]
    assert len(fetched) - len(set(fetched)) <= 32  # those that were leased and not stored yet


@pytest.mark.parametrize("ranges", [True, False])
def test_a_large_file_goes_on_where_it_was_cut(
    clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    """The connection breaks in the middle: behind the last stored line with ranges, from the begin without."""
    monkeypatch.setattr(fetching, "PIECE_BYTES", 2000)
    server.behave(export_ranges=ranges)
    server.patients(*range(200))
    given: list[int] = []
    whole = client.BulkClient.fetch

    def cut(self: client.BulkClient, url: str, **how: Any) -> None:
        given.append(how["position"])
        begin = how["begin"]

        def begins(arriving: client.Arriving) -> Any:
            take = begin(arriving)
            taken = 0

            def some(data: bytes) -> None:
                nonlocal taken
                for at in range(0, len(data), 1000):
                    taken += 1000
                    if len(given) == 1 and taken > 9000:
                        raise Unavailable("cut", code="cut")
                    take(data[at : at + 1000])

            return some

        whole(self, url, **{**how, "begin": begins})

    monkeypatch.setattr(client.BulkClient, "fetch", cut)
    export_id = clinic.ask(types=("Patient",))
    clinic.slice(export_id)
    clinic.hurry(export_id)
    outcome = running.run_to_end(clinic.deps, clinic.workspace, export_id)
    assert given[0] == 0
    assert 6000 < given[1] < 9000
    assert (outcome["lines"], outcome["problems"], outcome["events_created"]) == (200, [], 200)
    assert bool(outcome["events_skipped"]) is not ranges


def test_the_token_goes_where_the_manifest_asks_for_it_and_to_no_other_origin(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for: to the server's own origin; elsewhere the export stops. Not asked for: nowhere."""
    sent: list[tuple[str, str | None]] = []
    token = {"kind": "bearer", "token": "env:EHR_TOKEN"}
    monkeypatch.setenv("EHR_TOKEN", "t0ken")

    def answered(method: str, url: str, *, headers: Any, into: Any, **_: Any) -> Answer:
        sent.append((url, headers.get("Authorization")))
        into(200, {})(b"")
        return Answer(200, {}, b"", url)

    typed = clinic.source.settings.model_copy(update={"auth": TypeAdapter(Auth).validate_python(token)})
    opening = replace(opening_of(clinic.deps, clinic.source), http=SimpleNamespace(request=answered), gate=None)
    bulk = client.BulkClient(opening, typed)
    here, elsewhere = f"{clinic.base_url}/file/1", "https://files.example/1"
    how: dict[str, Any] = {"position": 0, "etag": None, "begin": lambda arriving: lambda data: None}
    bulk.fetch(here, authorized=True, **how)
    bulk.fetch(elsewhere, authorized=False, **how)
    assert sent == [(here, "Bearer t0ken"), (elsewhere, None)]
    with pytest.raises(Misconfigured) as caught:
        bulk.fetch(elsewhere, authorized=True, **how)
    assert (caught.value.code, len(sent)) == ("foreign_link", 2)
    trusting = typed.model_copy(update={"bulk": BulkSettings(token_origins=("https://files.example",))})
    client.BulkClient(opening, trusting).fetch(elsewhere, authorized=True, **how)
    assert sent[-1] == (elsewhere, "Bearer t0ken")


def test_the_command(
    clinic: Clinic, server: Server, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DATABASE_URL": database_url, "REDIS_URL": redis_url,
                        "CONNECTOR_RUNNER_HTTP_ALLOW": "127.0.0.1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server.patients(1, 2)
    server.weights(1)
    words = ["source", "export", "ehr", "--patient", "--type", "Patient,Observation", "--workspace", clinic.workspace]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert (outcome["state"], outcome["events_created"], outcome["adopted"], outcome["failed"]) == (
        "completed",
        3,
        False,
        0,
    )
    told = CliRunner().invoke(app, words)
    assert "completed" in told.stdout
    listed = CliRunner().invoke(app, ["source", "exports", "ehr", "--workspace", clinic.workspace, "--json"])
    assert [one["state"] for one in json.loads(listed.stdout)["exports"]] == ["completed", "completed"]
    both = CliRunner().invoke(app, ["source", "export", "ehr", "--patient", "--system"])
    assert both.exit_code == 2


_WORK = """
import sys
import time
from tasks.bulk import export
from tasks.imports import import_bundle
ids = {"workspace_id": sys.argv[1]}
for _ in range(30):
    export(**ids, export_id=sys.argv[2])
    import_bundle(**ids, import_id=sys.argv[3])
    time.sleep(0.2)
"""


def test_the_tasks_bring_it_to_its_end(clinic: Clinic, server: Server, database_url: str, redis_url: str) -> None:
    server.patients(1, 2)
    export_id = clinic.ask()
    environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url,
                   "CONNECTOR_RUNNER_HTTP_ALLOW": "127.0.0.1"}  # fmt: skip
    words = [sys.executable, "-c", _WORK, clinic.workspace, export_id, _import_of(clinic, export_id)]
    done = subprocess.run(words, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    outcome = running.outcome_of(clinic.deps, clinic.workspace, export_id)
    assert (outcome["state"], outcome["events_created"]) == ("completed", 2)
