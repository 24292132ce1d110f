"""What an export must not lose: the ways in which a mark or a list of members could claim too much."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from connector_runner.connectors.fhir.bulk.feed import ExportFeed
from connector_runner.infra.database import Database
from connector_runner.intake import polling
from connector_runner.intake import slice as slice_
from connector_runner.intake.bulk import fetching, requesting, running, steps
from connector_runner.intake.imports import store as imports_store
from connector_runner.kernel.clock import utc_now
from tests.integration.bulk.stack import Clinic, Server


def _begun_by_another(server: Server) -> str:
    request = urllib.request.Request(f"{server.base}/$export?_type=Location", headers={"Prefer": "respond-async"})  # noqa: S310 - our own server
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
        return str(answer.headers["Content-Location"])


def test_an_export_that_looks_long_survives_one_failure(clinic: Clinic, server: Server) -> None:
    """Looks that found it running are no failures: the first failure after many of them is one."""
    server.behave(export_looks=running.MOST_ATTEMPTS + 5)
    server.patients(1)
    export_id = clinic.ask()
    for _ in range(running.MOST_ATTEMPTS + 3):
        clinic.look(export_id)
    server.faults({"on": "GET $export-status/*", "kind": "drop_answer", "next": 1})
    for _ in range(8):
        clinic.look(export_id)
    assert running.run_to_end(clinic.deps, clinic.workspace, export_id)["restarts"] == 0
    standing = running.standing(clinic.deps, clinic.workspace, export_id)
    assert (standing["state"], standing["fetched"]) == ("completed", 1)


def test_another_clients_export_is_never_taken_for_ours(clinic: Clinic, server: Server) -> None:
    """Told of twice, it still is not ours: it may hold other types, or less."""
    server.behave(export_looks=1, export_tells_running=True)
    server.patients(1)
    theirs = _begun_by_another(server)
    export_id = clinic.ask()
    for _ in range(3):
        standing = clinic.look(export_id)
        assert (standing["state"], standing["error"]) == ("starting", "already_running")
    server.call("GET", theirs)
    clinic.hurry(export_id)
    assert running.run_to_end(clinic.deps, clinic.workspace, export_id)["state"] == "completed"
    assert clinic.names() == {"Patient:p1"}


def test_a_since_of_somebodys_own_moves_the_mark_over_no_gap(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    time.sleep(0.01)
    late = utc_now()
    time.sleep(0.01)
    server.patients(2)
    assert clinic.export(since=late)["since"] == late
    assert clinic.names() == {"Patient:p2"}
    assert clinic.export()["since"] is None
    assert clinic.names() == {"Patient:p1", "Patient:p2"}
    before = clinic.export()["next_since"]
    server.patients(3)
    time.sleep(0.01)
    clinic.export(since=utc_now())
    assert clinic.export()["since"] == before
    assert "Patient:p3" in clinic.names()


def test_a_newcomer_is_exported_in_full_of_every_type(clinic: Clinic, server: Server) -> None:
    """Types that are exported apart: what was had of one type of a newcomer says nothing of the other."""
    server.patients(1, 2)
    server.weights(1, 2)
    server.group(1)
    clinic.apply(scope="group", group="panel")
    clinic.export()
    time.sleep(0.01)
    server.group(1, 2)
    assert clinic.export(types=("Patient",))["step"] == "newcomers"
    assert "Observation:o2" not in clinic.names()
    assert clinic.export(types=("Observation",))["step"] == "newcomers"
    assert "Observation:o2" in clinic.names()
    assert clinic.export()["step"] == "main"


def test_pieces_of_a_file_are_stored_in_their_order(
    clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is slow to store what it took must not come behind the end of the same file."""
    monkeypatch.setattr(fetching, "PIECE_BYTES", 500)
    server.behave(export_file_lines=20)
    server.patients(*range(200))
    retrying, first = Database.retrying, threading.Event()

    def late(self: Database, workspace_id: str, step: Any) -> Any:
        if threading.current_thread().name.startswith("export") and not first.is_set():
            first.set()
            time.sleep(0.5)
        return retrying(self, workspace_id, step)

    monkeypatch.setattr(Database, "retrying", late)
    kept = fetching.Fetcher.keep

    def taken(self: fetching.Fetcher, stored: Any) -> None:
        """Another thread takes what this one is about to store: the moment between adding and storing."""
        if first.is_set() or stored.done:
            kept(self, stored)
            return
        with self._lock:
            self._batch.append(stored)
            self._size += len(stored.piece)
        other = threading.Thread(target=self._flush, name="export-other")
        other.start()
        first.wait(5)
        self._flush()

    monkeypatch.setattr(fetching.Fetcher, "keep", taken)
    outcome = clinic.export()
    assert (outcome["lines"], outcome["problems"], len(clinic.names())) == (200, [], 200)


def test_what_did_not_land_keeps_the_mark_where_it_was(
    clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.patients(1)
    monkeypatch.setattr(imports_store, "ATTEMPTS", -1)
    outcome = clinic.export()
    assert (outcome["state"], outcome["complete"]) == ("completed", False)
    assert "not_landed" in {problem["code"] for problem in outcome["problems"]}
    monkeypatch.undo()
    assert clinic.export()["since"] is None
    assert clinic.names() == {"Patient:p1"}


def test_another_server_is_asked_for_everything(clinic: Clinic, server: Server) -> None:
    """What was had of one address says nothing of another; an export of the old one under way is over."""
    server.patients(1)
    clinic.export()
    under_way = clinic.ask()
    clinic.base_url = clinic.base_url.replace("127.0.0.1", "localhost")
    clinic.apply()
    assert clinic.query("SELECT state FROM export_job WHERE export_id = :id", id=under_way) == [{"state": "failed"}]
    with clinic.deps.database.begin(clinic.workspace) as tx:
        fresh = requesting.ask(tx, clinic.source, now=utc_now())[0]
    assert clinic.query("SELECT since FROM export_job WHERE export_id = :id", id=fresh) == [{"since": None}]


def test_a_delete_that_may_not_be_looked_at_is_none_and_stops_nothing(clinic: Clinic, server: Server) -> None:
    server.behave(export_dates_deletes=False)
    server.patients(1, 2, 3)
    clinic.export()
    for n in (1, 2):
        server.delete("Patient", f"p{n}")
    server.faults({"on": "GET Patient/p1", "kind": "status", "status": 403})
    outcome = clinic.export()
    assert (outcome["state"], outcome["error"]) == ("completed", None)
    assert clinic.names() == {"Patient:p1", "Patient:p3"}
    assert {"code": "delete_not_proved", "records": 1} in outcome["problems"]


def test_a_full_cycle_that_no_export_could_take_is_due_still(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of another scope is under way: nothing was asked for, so nothing is done."""

    def opened(deps: Any, source: Any, **_: Any) -> Any:
        return SimpleNamespace(pages=lambda kind, cursor, full: ExportFeed().changed(kind, cursor))

    monkeypatch.setattr(slice_, "open_source", opened)
    clinic.ask(scope="patient")
    at = utc_now() + timedelta(seconds=400)
    ids = (clinic.workspace, clinic.source.data_source_id, "Patient")
    assert polling.poll(clinic.deps, *ids, owner="one", now=at).status == "done"
    due = clinic.query("SELECT full_sync_due_at FROM source_resource WHERE resource_type = 'Patient'")
    assert due[0]["full_sync_due_at"] is None or due[0]["full_sync_due_at"] <= at


def test_an_instant_far_ahead_is_no_mark(clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.patients(1)
    whole = steps.Work._manifests

    def ahead(self: steps.Work, ready: Any) -> Any:
        return [replace(one, transaction_time=utc_now().replace(year=2999)) for one in whole(self, ready)]

    monkeypatch.setattr(steps.Work, "_manifests", ahead)
    assert clinic.export()["next_since"] is None
    monkeypatch.undo()
    assert clinic.export()["since"] is None


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_ended_early_is_fetched_again(clinic: Clinic, server: Server, ranges: bool) -> None:
    server.behave(export_cuts=1, export_ranges=ranges)
    server.patients(*range(6))
    outcome = clinic.export()
    assert (outcome["complete"], outcome["problems"], outcome["quarantined"]) == (True, [], 0)
    assert len(clinic.names()) == 6


def test_what_a_file_promised_and_did_not_bring_is_asked_for_again(clinic: Clinic, server: Server) -> None:
    server.behave(export_cuts=2)
    server.patients(*range(6))
    outcome = clinic.export()
    assert (outcome["state"], outcome["complete"]) == ("completed", False)
    assert 0 < len(clinic.names()) < 6
    again = clinic.export()
    assert (again["since"], again["complete"], len(clinic.names())) == (None, True, 6)


def test_what_changes_after_the_servers_clock_was_set_back_is_exported(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    clinic.export()
    clinic.run(
        "UPDATE export_mark SET since = since + interval '30 minutes'"
    )  # as it would have said half an hour ahead
    server.patients(2)
    outcome = clinic.export()
    assert (outcome["complete"], [problem["code"] for problem in outcome["problems"]]) == (False, ["clock_set_back"])
    again = clinic.export()
    assert (again["since"], again["complete"]) == (None, True)
    assert clinic.names() == {"Patient:p1", "Patient:p2"}


@pytest.mark.parametrize(
    ("expected", "rest", "early"),
    [
        (3, b'{"a": 1}\n', True),
        (2, b'{"a": 1}\n', False),
        (1, b'{"a": 1}\n', False),
        (2, b'{"a": 1}\n{"b": ', True),
        (None, b'{"a": 1}\n{"b": 1}', False),
        (None, b'{"a": 1}\n{"b": "x', True),
        (None, b'{"a": 1}\n  \n', False),
        (None, b"", False),
    ],
)
def test_a_file_ends_early_that_lacks_lines_or_the_end_of_one(expected: int | None, rest: bytes, early: bool) -> None:
    lease = SimpleNamespace(kind="output", expected=expected, lines=2)
    assert fetching.ends_early(lease, rest) is early  # type: ignore[arg-type]
    lease.kind = "outcome"
    assert fetching.ends_early(lease, rest) is False  # type: ignore[arg-type]
