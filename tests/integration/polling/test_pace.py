"""How fast and when a source is read: its turn, its quota, its hours, its cadences and cycles."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.infra.database import Database, execute
from connector_runner.intake import polling
from connector_runner.intake.read_gate import Gates, ReadGate, Turn
from connector_runner.intake.read_memory import ReadMemory, read_key
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import RateLimited
from connector_runner.resilience.limiter import Limiter
from tests.contract.scripted import ScriptedServer, bundle, patient
from tests.integration.polled import Clinic, Deps
from tests.integration.polling.scripts import clinic_of, pages


def test_a_poll_whose_turn_is_far_gives_the_worker_back_and_goes_on_later(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    pages(scripted, 5)
    clinic = clinic_of(deps, workspace, scripted, rate={"per_second": 0.7, "burst": 2, "concurrency": 1})
    arrived: list[float] = []
    inner = scripted.script
    scripted.script = lambda path, query: (arrived.append(time.monotonic()), inner(path, query))[1]
    outcomes = []
    deadline = time.monotonic() + 40
    while len(clinic.alive) < 5 and time.monotonic() < deadline:
        started = time.monotonic()
        outcomes.append(clinic.poll(after_s=20))
        assert time.monotonic() - started < 3
        time.sleep(0.3)
    put_off = [outcome for outcome in outcomes if outcome.status == "put_off"]
    assert len(clinic.alive) == 5
    assert put_off
    assert {outcome.code for outcome in put_off} == {"read_paced"}
    assert clinic.health == ("healthy", None)
    assert clinic.resource["consecutive_errors"] == 0
    for first in range(len(arrived)):
        for last in range(first, len(arrived)):
            assert last - first + 1 <= 2 + 0.7 * (arrived[last] - arrived[first]) + 0.05


def test_who_waits_for_a_turn_is_due_when_it_comes(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted, rate={"per_second": 0.01, "burst": 1, "concurrency": 1})
    assert clinic.poll().code == "read_paced"
    wait_s = (clinic.resource["due_at"] - clinic.at).total_seconds()
    assert 50 < wait_s < 160
    assert clinic.resource["lease_until"] is None


def test_without_redis_nothing_is_asked(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    nowhere = Limiter("redis://127.0.0.1:1", ReadMemory(deps.database))
    deps.gates = Gates(nowhere, nowhere, lambda workspace, sink: [])
    clinic = clinic_of(deps, workspace, scripted)
    started = time.monotonic()
    outcome = clinic.poll()
    assert (outcome.status, outcome.code) == ("put_off", "read_paced")
    assert time.monotonic() - started < 3
    assert scripted.asked == []
    assert clinic.health[0] == "unknown"


def test_many_workers_keep_one_rate(deps: Deps, workspace: str, scripted: ScriptedServer, redis_url: str) -> None:
    clinic = clinic_of(deps, workspace, scripted, rate={"per_second": 20, "burst": 5, "concurrency": 3})
    gates = [Gates(Limiter(redis_url, ReadMemory(deps.database)), Limiter(redis_url), lambda w, s: []) for _ in "1234"]
    sent: list[float] = []
    under_way, most = 0, 0
    lock = threading.Lock()
    until = time.monotonic() + 3

    def work(n: int) -> None:
        nonlocal under_way, most
        gate = gates[n % 4].of(clinic.source)
        while time.monotonic() < until:
            try:
                gate(1)
            except RateLimited as refused:
                time.sleep(min(refused.retry_after_s or 0, 0.2))
                continue
            with lock:
                sent.append(time.monotonic())
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.02)
            with lock:
                under_way -= 1
            gate.heard(200, {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most <= 3
    assert 30 <= len(sent) <= 5 + 20 * (max(sent) - min(sent)) + 1
    sent.sort()
    for first in range(0, len(sent), 3):
        for last in range(first, len(sent), 3):
            assert last - first + 1 <= 5 + 20 * (sent[last] - sent[first]) + 1


def test_a_429_slows_all_workers_and_outlasts_redis(
    deps: Deps, workspace: str, scripted: ScriptedServer, redis_url: str, database: Database
) -> None:
    clinic = clinic_of(deps, workspace, scripted)
    gate = deps.gates.of(clinic.source)
    gate(1)
    gate.heard(429, {"Retry-After": "30"})
    other = Gates(Limiter(redis_url, ReadMemory(database)), Limiter(redis_url), lambda w, s: []).of(clinic.source)
    with pytest.raises(RateLimited) as refused:
        other(1)
    assert 25 < (refused.value.retry_after_s or 0) <= 30
    deps.gates.reads._redis.flushdb()
    with pytest.raises(RateLimited):
        other(1)
    (row,) = clinic.query("SELECT read_rate_now, read_pause_until FROM data_source")
    assert row["read_rate_now"] == pytest.approx(10)
    assert row["read_pause_until"] is not None


def test_what_an_answer_says_of_its_allowance_is_kept_to(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted)
    gate = deps.gates.of(clinic.source)
    gate(1)
    gate.heard(200, {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "40"})
    with pytest.raises(RateLimited) as refused:
        gate(1)
    assert 30 < (refused.value.retry_after_s or 0) <= 40


def test_a_shared_quota_is_one_with_the_writes_and_leaves_them_a_part(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    sink = {"entity_types": ["patient"], "rate": {"per_second": 1, "burst": 9, "concurrency": 2}}
    clinic = clinic_of(deps, workspace, scripted, rate={"shared": True}, sink=sink)
    backfill = deps.gates.of(clinic.source, Turn.BACKFILL)
    waited = deps.gates.of(clinic.source, Turn.BACKFILL, waited=1)
    assert isinstance(backfill, ReadGate)
    assert backfill._key == clinic.source.data_source_id != read_key(clinic.source.data_source_id)
    limits = [backfill._limit(), waited._limit()]  # type: ignore[attr-defined]
    assert [limit.behind for limit in limits] == [0.5, 0]
    assert limits[0].own_bucket < limits[0].bucket == limits[1].own_bucket
    assert limits[0].spare_slots == 1


def test_another_rate_is_in_force_in_peak_hours(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    peak = {"from": "07:00", "to": "19:00", "per_second": 0.5, "concurrency": 1}
    rate = {"per_second": 8, "zone": "America/New_York", "hours": [peak]}
    clinic = clinic_of(deps, workspace, scripted, rate=rate)
    limits = []
    for hour in (15, 3):
        deps.gates = Gates(deps.gates.reads, deps.gates.writes, deps.gates.in_flight,
                           lambda hour=hour: datetime(2026, 1, 14, hour, tzinfo=UTC))  # fmt: skip
        limits.append(deps.gates.of(clinic.source)._limit())  # type: ignore[attr-defined]
    assert [(limit.per_second, limit.concurrency) for limit in limits] == [(0.5, 1), (8, 8)]


# -- hours


def test_a_source_is_read_in_its_hours_alone(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    hours = [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}]
    clinic = clinic_of(deps, workspace, scripted, windows={"zone": "America/New_York", "open": hours})
    clinic.at = datetime(2026, 3, 6, 22, 30, tzinfo=UTC)  # Friday evening, before the clocks go forward
    with deps.database.begin(workspace) as tx:
        execute(tx, "UPDATE source_resource SET due_at = :at", at=clinic.at - timedelta(days=1))
    outcome = clinic.poll(after_s=1)
    assert (outcome.status, outcome.code) == ("put_off", "window")
    assert scripted.asked == []
    opens = datetime(2026, 3, 9, 13, tzinfo=UTC)
    assert opens <= clinic.resource["due_at"] <= opens + timedelta(seconds=2)
    clinic.at = opens + timedelta(seconds=2)
    assert clinic.poll(after_s=0).status == "done"
    clinic.at = datetime(2026, 3, 9, 20, 59, 50, tzinfo=UTC)
    assert clinic.poll(after_s=0).status == "done"
    assert clinic.resource["due_at"] == datetime(2026, 3, 10, 13, tzinfo=UTC)


def test_a_window_that_closes_ends_a_poll_between_pages(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    pages(scripted, 3)
    clinic = clinic_of(deps, workspace, scripted, windows={"open": [{"from": "00:00", "to": "20:00"}]})
    inner = scripted.script
    scripted.script = lambda path, query: (time.sleep(3), inner(path, query))[1]
    clinic.at = datetime(2026, 3, 9, 19, 59, 55, tzinfo=UTC)
    with deps.database.begin(workspace) as tx:
        execute(tx, "UPDATE source_resource SET due_at = :at", at=clinic.at - timedelta(days=1))
    outcome = clinic.poll(after_s=0)
    assert (outcome.status, outcome.pages) == ("more", 2)
    assert clinic.resource["due_at"] == datetime(2026, 3, 10, tzinfo=UTC)


# -- cadences and cycles


def test_a_cadence_follows_how_often_something_changes(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    resources = {"Patient": {"cadence": {"min_s": 10, "max_s": 80}, "full_sync_every_s": None}}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    seen = []
    for n in (1, 1, 1, 1, 1, 2, 3):
        scripted.script = lambda path, query, n=n: (200, bundle(patient(f"p{n}")))
        assert clinic.poll(after_s=90).status == "done"
        seen.append(clinic.resource["cadence_s"])
    assert seen == [10, 20, 40, 80, 80, 40, 20]
    resources = {"Patient": {"cadence": {"min_s": 30, "max_s": 60}}}
    document = {"source_type": "fhir_store", "settings": {"base_url": scripted.base_url, "resources": resources}}
    clinic.apply({"name": "ehr", **document})
    assert clinic.resource["cadence_s"] == 30


def test_full_cycles_alternate_with_those_of_changes(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    resources = {"Patient": {"cadence_s": 30, "full_sync_every_s": None, "full_every": 3}}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    whole = []
    for _ in range(7):
        scripted.asked.clear()
        assert clinic.poll().status == "done"
        whole.append("_lastUpdated" not in scripted.asked[0][1])
    assert whole == [True, False, False, True, False, False, True]


def others(clinic: Clinic, **how: Any) -> list[tuple[str, str]]:
    done = polling.poll_others(
        clinic.deps,
        clinic.workspace,
        clinic.source.data_source_id,
        owner="one",
        clock=lambda: clinic.at,
        for_s=how.get("for_s", 5),
        slice_s=5,
    )
    return [(polled.resource_type, polled.outcome.status) for polled in done]


def test_what_is_due_of_one_source_is_polled_in_one_go(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    scripted.script = lambda path, query: (200, bundle())
    types = {"Patient": 30, "Observation": 30, "Condition": 600, "Encounter": 30}
    resources = {name: {"cadence_s": cadence_s, "full_sync_every_s": None} for name, cadence_s in types.items()}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    assert others(clinic, for_s=0) == []
    assert sorted(others(clinic)) == sorted((name, "done") for name in types)
    assert others(clinic) == []
    clinic.at += timedelta(seconds=28.5)
    assert sorted(others(clinic)) == [("Encounter", "done"), ("Observation", "done"), ("Patient", "done")]
    clinic.at += timedelta(seconds=60)
    scripted.script = lambda path, query: (503, {"resourceType": "OperationOutcome"})
    assert [status for _, status in others(clinic)] == ["failed"], "the others would meet the same"


def test_how_a_source_is_doing_waits_for_nobody_who_lands(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    """Landing holds a share of the source's row and asks for more of it: who waits for all of it waits in a circle."""
    clinic = clinic_of(deps, workspace, scripted)
    with deps.database.begin(workspace) as landing:
        execute(landing, "SELECT 1 FROM data_source WHERE workspace_id = :ws FOR KEY SHARE", ws=workspace)
        with deps.database.begin(workspace) as tx:
            execute(tx, "SET LOCAL lock_timeout = '300ms'")
            directory.record_ok(tx, clinic.source, utc_now())
    assert clinic.health == ("healthy", None)
