"""When and how fast a source is read: its turn, its hours, its cadences, its cycles, and what is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
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
from connector_runner.kernel.errors import Conflict, RateLimited
from connector_runner.resilience import alerts
from connector_runner.resilience.limiter import Limiter
from tests.contract.scripted import Query, ScriptedServer, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, deps_of


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.script = lambda path, query: (200, bundle(patient("p1")))
        yield server


def clinic_of(deps: Deps, workspace: str, scripted: ScriptedServer, **settings: Any) -> Clinic:
    resources = {"Patient": {"cadence_s": 30, "full_sync_every_s": None}}
    return Clinic(deps, workspace, scripted.base_url, **{"history": False, "resources": resources, **settings})


def pages(scripted: ScriptedServer, count: int) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        page = int(query.get("page", ["1"])[0])
        link = f"{scripted.base_url}/Patient?page={page + 1}" if page < count else None
        return 200, bundle(patient(f"p{page}"), next_link=link)

    scripted.script = script


# -- the gate


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
    scripted.script = lambda path, query: (time.sleep(0.6), inner(path, query))[1]
    clinic.at = datetime(2026, 3, 9, 19, 59, 59, tzinfo=UTC)
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


# -- what fails


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

    def slow(path: str, query: Query) -> tuple[int, Any]:
        time.sleep(0.5)
        return 200, bundle()

    scripted.script = slow
    now = until + timedelta(seconds=1)

    def work(name: str) -> str:
        return polling.poll(deps, workspace, clinic.source.data_source_id, name, owner=name, now=now).status

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(work, names))
    assert outcomes == ["done"] + ["put_off"] * 7
    assert len(scripted.asked) == 1
    waiting = clinic.query("SELECT due_at FROM source_resource WHERE put_off")
    assert len(waiting) == 7
    assert all(row["due_at"] <= now + timedelta(seconds=6) for row in waiting)


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


# -- poison


POISON = """
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF new.facts->>'gender' = 'other' THEN RAISE EXCEPTION 'poison'; END IF;
    RETURN new;
END $$;
CREATE TRIGGER poison BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse_poison();
"""


@pytest.fixture
def poisoned(database: Database) -> Iterator[None]:
    """A database that refuses events of one kind of record, for a reason that nobody foresaw."""
    with database.sweep() as tx:
        execute(tx, POISON)
    yield
    with database.sweep() as tx:
        execute(tx, "DROP TRIGGER poison ON event; DROP FUNCTION refuse_poison()")


@pytest.mark.usefixtures("poisoned")
def test_a_record_that_makes_landing_fail_is_set_apart_and_the_rest_of_its_page_lands(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    page = [patient(f"p{n}", gender="other" if n in (3, 7) else "female") for n in range(9)]
    scripted.script = lambda path, query: (200, bundle(*page))
    resources = {"Patient": {"cadence_s": 30}}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    outcome = clinic.poll()
    assert outcome.status == "done"
    assert clinic.alive == {f"p{n}" for n in range(9)} - {"p3", "p7"}
    assert outcome.landed.quarantined == 2
    assert clinic.resource["cursor"]["since"]
    found = clinic.query("SELECT stage, code, place, data_source_id::text AS source, context, times FROM quarantine"
                         " WHERE status = 'open' ORDER BY place")  # fmt: skip
    assert [(row["stage"], row["code"], row["place"]) for row in found] == [
        ("poll", "internal_error", "Patient/p3"),
        ("poll", "internal_error", "Patient/p7"),
    ]
    assert {row["source"] for row in found} == {clinic.source.data_source_id}
    assert clinic.health == ("healthy", None)
    clinic.poll()
    again = clinic.query("SELECT times FROM quarantine WHERE status = 'open'")
    assert len(again) == 2
