"""Deletes with proof: from a history, from a complete full sync, and when there is none."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.intake import polling
from tests.contract.scripted import Query, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, Server


def test_explicit_deletes_are_taken_from_history_and_a_record_may_come_back(clinic: Clinic, server: Server) -> None:
    for n in range(12):
        server.put(f"p{n}", gender="female")
    clinic.poll()
    server.delete("p1")
    server.delete("p2")
    outcome = clinic.poll()
    assert outcome.deleted == 2
    assert len(clinic.alive) == 10
    assert clinic.poll().deleted == 0
    server.put("p1", gender="female")
    clinic.poll()
    assert "p1" in clinic.alive
    clinic.poll()
    assert "p1" in clinic.alive


@pytest.fixture
def without_history(deps: Deps, workspace: str, server: Server) -> Clinic:
    return Clinic(deps, workspace, server.system.base_url, history=False)


def test_a_complete_full_sync_finds_what_is_gone(without_history: Clinic, server: Server) -> None:
    clinic = without_history
    for n in range(25):
        server.put(f"p{n}")
    clinic.poll()
    server.delete("p7")
    assert clinic.poll().deleted == 0
    outcome = clinic.full_sync()
    assert (outcome.status, outcome.deleted) == ("done", 1)
    assert clinic.alive == {f"p{n}" for n in range(25)} - {"p7"}
    assert clinic.query("SELECT count(*) AS n FROM full_sync_seen") == [{"n": 0}]
    assert clinic.resource["full_sync_due_at"] > clinic.at


def test_a_full_sync_over_many_slices_deletes_as_one_run(without_history: Clinic, server: Server) -> None:
    clinic = without_history
    for n in range(25):
        server.put(f"p{n}")
    clinic.poll()
    server.delete("p0")
    with clinic.deps.database.begin(clinic.workspace) as tx:
        directory.request_sync(tx, clinic.workspace, clinic.source.data_source_id, now=clinic.at, full=True)
    outcomes = clinic.poll_on(slice_s=0)
    assert len(outcomes) == 3
    assert sum(outcome.deleted for outcome in outcomes) == 1
    assert "p0" not in clinic.alive


def test_too_many_deletes_at_once_wait_for_a_person(without_history: Clinic, server: Server) -> None:
    clinic = without_history
    for n in range(20):
        server.put(f"p{n}")
    clinic.poll()
    for n in range(6):
        server.delete(f"p{n}")
    outcome = clinic.full_sync()
    assert (outcome.status, outcome.deleted, outcome.parked) == ("done", 0, 6)
    clinic.full_sync()
    (row,) = clinic.quarantine
    assert (row["stage"], row["code"], row["times"]) == ("tombstones", "too_many_deletes", 2)
    assert row["context"]["ids"] == [f"p{n}" for n in range(6)]
    assert len(clinic.alive) == 20
    server.put("p5")
    polling.bury_parked(
        clinic.deps, clinic.workspace, clinic.source.data_source_id, "Patient", row["context"]["ids"], now=clinic.at
    )
    assert clinic.alive == {f"p{n}" for n in range(5, 20)}


def test_too_many_deletes_in_the_history_wait_too(clinic: Clinic, server: Server) -> None:
    for n in range(20):
        server.put(f"p{n}")
    clinic.poll()
    for n in range(6):
        server.delete(f"p{n}")
    assert clinic.poll().parked == 6
    assert len(clinic.alive) == 20
    assert [row["code"] for row in clinic.quarantine] == ["too_many_deletes"]


@pytest.mark.parametrize("missing_as", [403, 401, 500])
def test_what_may_not_be_read_is_not_deleted(deps: Deps, workspace: str, missing_as: int) -> None:
    with scripted_server() as scripted:
        stored = [patient(f"p{n}") for n in range(10)]

        def script(path: str, query: Query) -> tuple[int, Any]:
            return (missing_as, {}) if path == "Patient/p0" else (200, bundle(*stored))

        scripted.script = script
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        del stored[0]
        assert clinic.full_sync().status == "failed"
        assert "p0" in clinic.alive


def test_a_lost_scope_that_answers_404_is_caught_by_the_canary(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        stored = [patient(f"p{n}") for n in range(10)]
        scripted.script = lambda path, query: (200, bundle(*stored)) if path == "Patient" else (404, {})
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        del stored[0]
        outcome = clinic.full_sync()
        assert (outcome.status, outcome.code) == ("failed", "canary_failed")
        del stored[:]
        assert clinic.full_sync().parked == 10
        assert [row["code"] for row in clinic.quarantine] == ["nothing_listed"]
        assert len(clinic.alive) == 10


def test_what_the_listing_leaves_out_but_a_direct_read_finds_stays(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        stored = [patient(f"p{n}") for n in range(10)]
        newer = patient("p0", "2026-02-01T00:00:00Z", gender="male")
        scripted.script = lambda path, query: (200, newer if path == "Patient/p0" else bundle(*stored))
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        del stored[0]
        outcome = clinic.full_sync()
        assert (outcome.status, outcome.deleted) == ("done", 0)
        assert clinic.query("SELECT state->>'gender' AS g FROM projection WHERE canonical_id = 'ehr:Patient:p0'") == [
            {"g": "male"}
        ]
