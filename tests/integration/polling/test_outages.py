"""A source that fails: left alone by all workers, one alert, one who finds out whether it works again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.infra.database import execute
from connector_runner.intake import polling
from connector_runner.kernel.errors import Conflict
from connector_runner.resilience import alerts
from tests.contract.scripted import Query, ScriptedServer, bundle
from tests.integration.polled import Clinic, Deps
from tests.integration.polling.scripts import clinic_of


def test_a_source_that_fails_is_left_alone_by_all_and_recovers_at_the_first_success(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    names = ["Patient", "Observation", "Encounter"]
    resources = {name: {"cadence_s": 30, "full_sync_every_s": None} for name in names}
    breaker = {"failures": 4, "first_open_s": 60, "most_open_s": 600}
    clinic = clinic_of(deps, workspace, scripted, resources=resources, breaker=breaker)
    scripted.script = lambda path, query: (503, {})

    def poll_all(after_s: float) -> list[tuple[str, str | None]]:
        clinic.at += timedelta(seconds=after_s)
        with deps.database.begin(workspace) as tx:
            execute(tx, "UPDATE source_resource SET due_at = :at WHERE NOT put_off", at=clinic.at)
        found = []
        for name in names:
            outcome = polling.poll(
                deps, workspace, clinic.source.data_source_id, name, owner="one", now=clinic.at, slice_s=5
            )
            found.append((outcome.status, outcome.code))
        return found

    assert poll_all(1) == [("failed", "http_503")] * 3
    assert poll_all(20) == [("failed", "http_503"), ("put_off", "breaker"), ("put_off", "breaker")]
    asked = len(scripted.asked)
    assert {status for status, _ in poll_all(20)} <= {"put_off", "not_due"}
    assert len(scripted.asked) == asked
    assert clinic.health == ("unhealthy", "http_503")
    assert open_alerts(clinic) == [("health", "http_503")]
    # Half open: of all that come one request goes out, and fails: twice as long.
    assert [status for status, _ in poll_all(45)].count("failed") == 1
    assert len(scripted.asked) == asked + 1
    scripted.script = lambda path, query: (200, bundle())
    clinic.at += timedelta(seconds=70)
    assert {status for status, _ in poll_all(1)} <= {"put_off", "not_due"}
    clinic.at += timedelta(seconds=60)
    outcomes = [status for status, _ in poll_all(1)]
    assert "done" in outcomes
    due = clinic.query("SELECT due_at FROM source_resource ORDER BY due_at DESC")[0]["due_at"]
    assert due <= clinic.at + timedelta(seconds=60)
    poll_all(40)
    assert clinic.health == ("healthy", None)
    assert open_alerts(clinic) == []
    (row,) = clinic.query("SELECT read_breaker_opens, read_breaker_failures FROM data_source")
    assert tuple(row.values()) == (0, 0)
    with deps.database.begin(workspace) as tx:
        assert len(alerts.listing(tx, workspace, ended=True)) == 1


def open_alerts(clinic: Clinic) -> list[tuple[str, str]]:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        return [(row["kind"], row["code"]) for row in alerts.listing(tx, clinic.workspace)]


def test_of_many_workers_one_finds_out_whether_a_source_works_again(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    names = [f"Type{n}" for n in range(8)]
    resources = {name: {"cadence_s": 30, "full_sync_every_s": None} for name in names}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    until = clinic.at + timedelta(seconds=5)
    with deps.database.begin(workspace) as tx:
        execute(tx, "UPDATE data_source SET read_breaker_failures = 5, read_breaker_opens = 1,"
                    " read_breaker_until = :until", until=until)  # fmt: skip

    over = threading.Semaphore(0)

    def slow(path: str, query: Query) -> tuple[int, Any]:
        """Until the others have come and gone."""
        for _ in names[1:]:
            over.acquire(timeout=3)
        return 200, bundle()

    scripted.script = slow
    now = until + timedelta(seconds=1)

    def work(name: str) -> str:
        status = polling.poll(deps, workspace, clinic.source.data_source_id, name, owner=name, now=now).status
        over.release()
        return status

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(work, names))
    assert outcomes == ["done"] + ["put_off"] * 7
    assert len(scripted.asked) == 1
    waiting = clinic.query("SELECT due_at FROM source_resource WHERE put_off")
    assert len(waiting) == 7
    assert all(row["due_at"] <= now + timedelta(seconds=30) for row in waiting), "half as long as a probe has"


def test_a_refusal_is_an_answer_that_shuts_the_breaker(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted, breaker={"failures": 1, "first_open_s": 1})
    scripted.script = lambda path, query: (503, {})
    assert clinic.poll().code == "http_503"
    scripted.script = lambda path, query: (403, {})
    assert clinic.poll().code == "forbidden"
    (row,) = clinic.query("SELECT read_breaker_opens, read_breaker_until FROM data_source")
    assert tuple(row.values()) == (0, None)


def test_a_refusal_does_not_open_the_breaker(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted, breaker={"failures": 1}, unhealthy_after=2)
    scripted.script = lambda path, query: (403, {})
    assert clinic.poll().code == "forbidden"
    assert open_alerts(clinic) == []
    assert clinic.poll().code == "forbidden"
    assert open_alerts(clinic) == [("health", "forbidden")]
    (row,) = clinic.query("SELECT read_breaker_opens FROM data_source")
    assert row["read_breaker_opens"] == 0


def test_two_workers_that_meet_the_same_outage_make_one_alert(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    names = [f"Type{n}" for n in range(8)]
    resources = {name: {"cadence_s": 30, "full_sync_every_s": None} for name in names}
    clinic = clinic_of(deps, workspace, scripted, resources=resources, breaker={"failures": 100})
    scripted.script = lambda path, query: (500, {})
    clinic.at += timedelta(seconds=1)

    def work(name: str) -> str:
        return polling.poll(deps, workspace, clinic.source.data_source_id, name, owner=name, now=clinic.at).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, names)) == {"failed"}
    assert open_alerts(clinic) == [("health", "http_500")]
    with deps.database.begin(workspace) as tx:
        assert len(alerts.listing(tx, workspace, ended=True)) == 1


def test_a_type_that_always_fails_beside_others_makes_one_alert(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    names = ["Bad1", "Bad2", "Bad3", "Patient"]
    resources = {name: {"cadence_s": 30, "full_sync_every_s": None} for name in names}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    scripted.script = lambda path, query: (403, {}) if path.startswith("Bad") else (200, bundle())
    for _ in range(5):
        clinic.at += timedelta(seconds=400)
        for name in names:
            polling.poll(deps, workspace, clinic.source.data_source_id, name, owner="one", now=clinic.at)
    assert clinic.health[0] == "degraded"
    with deps.database.begin(workspace) as tx:
        assert len(alerts.listing(tx, workspace, ended=True)) == 1


def test_that_workers_are_in_each_others_way_is_no_fault_of_the_source(
    deps: Deps, workspace: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = clinic_of(deps, workspace, scripted, unhealthy_after=1)

    def conflict(*_: object, **__: object) -> None:
        raise Conflict("two transactions waited for each other", code="concurrent_write")

    with monkeypatch.context() as patched:
        patched.setattr(deps.intake, "land", conflict)
        assert clinic.poll().code == "concurrent_write"
    assert clinic.health == ("unknown", None)
    assert open_alerts(clinic) == []
    assert clinic.resource["last_error_code"] == "concurrent_write"
    assert clinic.poll().status == "done"
