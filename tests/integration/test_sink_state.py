"""Whether a sink may be written to: its windows, its pauses, its breaker, and what the sweep makes of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import redis

from connector_runner.connectors import directory
from connector_runner.connectors.sinks import Outcome, Pace, Reply
from connector_runner.infra.database import one
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.outbound.lanes.sweeping import sweep
from connector_runner.outbound.sinks import sink_state
from connector_runner.outbound.sinks.pace_memory import SqlMemory
from connector_runner.outbound.sinks.pacing import Pacer, limit_of
from connector_runner.outbound.sinks.sink_state import SinkState, Watch
from connector_runner.resilience.pace_memory import Period
from tests.integration.outbound_stack import Clinic, System, a_patient


def an_open_clinic(clinic: Clinic, ehr: System, store: System, **sink: Any) -> None:
    """One patient that is ready for the store."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient"], **sink)
    clinic.land("ehr", a_patient())
    clinic.release()


def state_of(clinic: Clinic) -> SinkState:
    with clinic.database.begin(clinic.workspace) as tx:
        return sink_state.state(tx, clinic.workspace, clinic.ids["store"])


def wake_in_s(clinic: Clinic) -> float | None:
    with clinic.database.begin(clinic.workspace) as tx:
        row = one(
            tx,
            "SELECT extract(epoch FROM sink_next_wake_at - clock_timestamp())::float8 AS s FROM data_source"
            " WHERE name = 'store'",
        )
    assert row is not None
    return None if row["s"] is None else float(row["s"])


def hinted(clinic: Clinic) -> bool:
    """Whether the sweep would hint the store."""
    return clinic.ids["store"] in [sink.sink_id for sink in sweep(clinic.database, hint_every_s=0).sinks]


def fail(clinic: Clinic, times: int = 1) -> float:
    with clinic.database.begin(clinic.workspace) as tx:
        return [sink_state.fail(tx, clinic.workspace, clinic.ids["store"]) for _ in range(times)][-1]


def works(clinic: Clinic) -> bool:
    with clinic.database.begin(clinic.workspace) as tx:
        return sink_state.works(tx, clinic.workspace, clinic.ids["store"])


def shut_for(hours: int) -> dict[str, Any]:
    """Windows that open in so many whole hours, UTC."""
    opens = (utc_now() + timedelta(hours=hours)).replace(minute=0)
    return {"open": [{"from": f"{opens:%H:%M}", "to": f"{opens:%H}:30"}]}


def test_a_closed_window_sends_nothing_and_is_left_in_peace(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store, windows=shut_for(2))
    done = clinic.drain("store")
    assert (done.closed, store.journal()) == ("window", [])
    assert 3600 - 5 < done.wait_s <= 7200
    assert wake_in_s(clinic) == pytest.approx(done.wait_s, abs=2)
    assert not hinted(clinic)
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient"])
    assert hinted(clinic), "new hours count at once"
    assert clinic.flow("store").outcomes["landed"] == 1


def test_maintenance_says_so(clinic: Clinic, ehr: System, store: System) -> None:
    now = utc_now().replace(tzinfo=None)
    dated = [{"from": (now - timedelta(hours=1)).isoformat(), "to": (now + timedelta(hours=1)).isoformat()}]
    an_open_clinic(clinic, ehr, store, windows={"maintenance": dated})
    done = clinic.drain("store")
    assert done.closed == "maintenance"
    assert done.wait_s == pytest.approx(3600, abs=30)


def test_hands_know_when_a_window_closes() -> None:
    asked = []

    class Tx:
        def sink_state(self, sink_id: str) -> SinkState:
            asked.append(sink_id)
            return SinkState("window", 60.0, 0, False)

    now = 100.0
    watch = Watch("sink", SinkState(None, 0.0, 0, False, open_s=0.4), lambda: now)
    assert not watch.closed(Tx())
    now += 0.3
    assert not watch.closed(Tx())
    assert asked == []
    now += 0.2
    assert watch.closed(Tx())
    assert watch.state.wait_s == 60


@pytest.mark.parametrize(
    ("sink", "key"),
    [
        ({"windows": {"zone": "Mars/Olympus"}}, "settings.sink.windows.zone"),
        ({"windows": {"open": [{"from": "08:00", "to": "08:00"}]}}, "settings.sink.windows.open.0.to"),
        ({"windows": {"open": [{"from": "25:00", "to": "08:00"}]}}, "settings.sink.windows.open.0.from"),
        ({"windows": {"open": []}}, "settings.sink.windows.open"),
        ({"windows": {"open": [{"days": [], "from": 480, "to": 540}]}}, "settings.sink.windows.open.0.days"),
        ({"windows": {"open": [{"days": ["someday"], "from": 480, "to": 540}]}}, "settings.sink.windows.open.0.days.0"),
        ({"windows": {"maintenance": [{"from": "2026-03-08T02:00", "to": "2026-03-08T02:00"}]}},
         "settings.sink.windows.maintenance.0.to"),
        ({"windows": {"maintenance": [{"from": "2026-03-08T02:00Z", "to": "2026-03-08T03:00"}]}},
         "settings.sink.windows.maintenance.0.from"),
        ({"windows": {"zone": "America/New_York", "maintenance": [{"from": "2026-03-08T02:00",
                                                                   "to": "2026-03-08T03:00"}]}},
         "settings.sink.windows.maintenance"),
        ({"rate": {"per_second": -1}}, "settings.sink.rate.per_second"),
        ({"rate": {"per_second": float("inf")}}, "settings.sink.rate.per_second"),
        ({"rate": {"per_second": 1e-300}}, "settings.sink.rate.per_second"),
        ({"rate": {"per_second": 1e300}}, "settings.sink.rate.per_second"),
        ({"rate": {"burst": 10**30}}, "settings.sink.rate.burst"),
        ({"rate": {"concurrency": 10**30}}, "settings.sink.rate.concurrency"),
        ({"quiet_period_s": 1e300}, "settings.sink.quiet_period_s"),
        ({"rate": {"per_day": 0}}, "settings.sink.rate.per_day"),
        ({"rate": {"per_minute_fixed": -5}}, "settings.sink.rate.per_minute_fixed"),
        ({"breaker": {"first_open_s": 9, "most_open_s": 3}}, "settings.sink.breaker"),
        ({"human_review": ["patien"]}, "settings.sink.human_review"),
        ({"consent": "maybe"}, "settings.sink.consent"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_with_their_key(clinic: Clinic, sink: dict[str, Any], key: str) -> None:
    document = {
        "name": "store",
        "source_type": "fhir_store",
        "settings": {"base_url": "http://127.0.0.1/fhir", "sink": {"entity_types": ["patient"], **sink}},
    }
    with pytest.raises(Misconfigured) as refused, clinic.database.begin(clinic.workspace) as tx:
        directory.apply(tx, clinic.workspace, document, actor="test", now=utc_now(), file="store.yaml")
    assert refused.value.where == f"store.yaml: {key}"


def test_windows_survive_being_kept(clinic: Clinic, ehr: System, store: System) -> None:
    windows = {
        "zone": "America/New_York",
        "open": [{"days": ["mon", "fri"], "from": "22:00", "to": "06:00"}, {"from": 480, "to": 1440}],
        "maintenance": [{"from": datetime(2026, 12, 24, 18), "to": "2026-12-25T06:00"}],
    }
    an_open_clinic(clinic, ehr, store, windows=windows)
    with clinic.database.begin(clinic.workspace) as tx:
        terms, _ = clinic.outbound.sinks.open(tx, clinic.workspace, clinic.ids["store"])
    assert terms.calendar.next_close(datetime.fromisoformat("2026-12-24T15:00Z")) == datetime.fromisoformat(
        "2026-12-24T23:00Z"
    )
    assert terms.workspace_id == clinic.workspace


def test_the_breaker_opens_at_the_fifth_fault_and_one_request_shuts_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    an_open_clinic(clinic, ehr, store, breaker={"first_open_s": 0.3, "most_open_s": 1})
    fail(clinic, 4)
    assert state_of(clinic).closed is None
    fail(clinic)
    found = state_of(clinic)
    assert found.closed == "breaker"
    assert 0 < found.wait_s <= 0.3
    assert clinic.drain("store").closed == "breaker"
    assert not hinted(clinic)
    clinic.execute("UPDATE data_source SET sink_breaker_until = clock_timestamp() WHERE name = 'store'")
    assert state_of(clinic).half_open
    assert state_of(clinic).mending
    assert clinic.flow("store").outcomes["landed"] == 1
    assert state_of(clinic) == SinkState(None, 0.0, 0, False)


def test_a_half_open_breaker_lets_one_request_through(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store, breaker={"first_open_s": 60, "most_open_s": 600}, rate={"concurrency": 4})
    clinic.land("ehr", *(a_patient(f"more{n}") for n in range(6)))
    clinic.release()
    fail(clinic, 5)
    clinic.execute("UPDATE data_source SET sink_breaker_until = clock_timestamp() WHERE name = 'store'")
    store.faults({"on": "* *", "kind": "status", "status": 500, "rate": 1})
    before = len(store.journal())
    clinic.drain("store")
    assert len(store.journal()) - before == 1
    found = state_of(clinic)
    assert found.closed == "breaker"
    assert found.wait_s > 60, "twice as long as the first time"


def test_poison_never_opens_it(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store, breaker={"failures": 1})
    store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "rate": 1})
    clinic.drain("store")
    assert clinic.lane("store")["state"] == "quarantined"
    assert state_of(clinic) == SinkState(None, 0.0, 0, False)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(Outcome.NOT_SENT, "not_sent"), True),
        (Reply(Outcome.UNKNOWN, "answer_lost"), True),
        (Reply(Outcome.UNKNOWN, "http_500", 500), True),
        (Reply(Outcome.UNKNOWN, "http_408", 408), True),
        (Reply(Outcome.UNKNOWN, "no_json", 200), False),
        (Reply(Outcome.REFUSED, "http_429", 429), False),
        (Reply(Outcome.POISON, "http_422", 422), False),
        (Reply(Outcome.CONFLICT, "http_412", 412), False),
        (Reply(Outcome.AUTH, "http_401", 401), False),
        (Reply(Outcome.LANDED, "", 200), False),
    ],
)
def test_what_counts_against_a_sink(reply: Reply, fault: bool) -> None:
    assert sink_state.sink_fault(reply) is fault


def test_successes_are_counted_until_they_are_no_news(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store)
    fail(clinic)
    assert [works(clinic) for _ in range(20)] == [False] * 19 + [True]


def test_a_pause_for_a_quota_has_its_own_name(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store)
    with clinic.database.begin(clinic.workspace) as tx:
        sink_state.pause(tx, clinic.workspace, clinic.ids["store"], sink_state.QUOTA, 60)
    assert (state_of(clinic).closed, round(state_of(clinic).wait_s, -1)) == ("quota", 60)


def test_a_pause_without_an_end_needs_an_operator(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store)
    with clinic.database.begin(clinic.workspace) as tx:
        sink_state.pause(tx, clinic.workspace, clinic.ids["store"], "by_hand", None)
    assert clinic.drain("store").closed == "paused"
    assert not hinted(clinic)
    with clinic.database.begin(clinic.workspace) as tx:
        sink_state.resume(tx, clinic.workspace, clinic.ids["store"])
    assert hinted(clinic)
    assert clinic.flow("store").outcomes["landed"] == 1


def pacer_of(clinic: Clinic, holder: str = "h") -> Pacer:
    with clinic.database.begin(clinic.workspace) as tx:
        terms, _ = clinic.outbound.sinks.open(tx, clinic.workspace, clinic.ids["store"])
    limiter = clinic.outbound.limiter
    return Pacer(limiter, terms.sink_id, "store", limit_of(terms), holder, float("inf"), in_flight=tuple)


def test_redis_may_forget_a_pause_and_a_rate_but_we_do_not(
    clinic: Clinic, ehr: System, store: System, redis_url: str
) -> None:
    an_open_clinic(clinic, ehr, store)
    pacer = pacer_of(clinic)
    assert pacer.take()
    pacer.cut(30)
    redis.Redis.from_url(redis_url).flushdb()
    pacer.use()
    assert not pacer.take()
    assert pacer.stopped == "paused"
    assert 25 < pacer.wait_s <= 30
    assert wake_in_s(clinic) == pytest.approx(pacer.wait_s, abs=2)
    assert redis.Redis.from_url(redis_url).hget(f"cr:{{{clinic.ids['store']}}}:limit", "factor") == b"500"


def test_what_a_sink_says_of_its_allowance_is_heeded(clinic: Clinic, ehr: System, store: System) -> None:
    an_open_clinic(clinic, ehr, store)
    pacer = pacer_of(clinic)
    assert pacer.take()
    pacer.learn(Pace(limit=100, remaining=0, reset_s=20))
    pacer.use()
    assert not pacer.take()
    assert 15 < pacer.wait_s <= 20


def test_a_days_quota_is_counted_from_the_write_log_when_it_was_lost(
    clinic: Clinic, ehr: System, store: System, redis_url: str
) -> None:
    an_open_clinic(clinic, ehr, store)
    clinic.flow("store")
    written = len(store.writes())
    assert written == 1
    now = int(utc_now().timestamp())
    memory = SqlMemory(clinic.database)
    today = Period(f"d{now - 3600}", now - 3600, now + 3600)
    assert memory.book(clinic.workspace, clinic.ids["store"], today, None, block=5, quota=8) == (1, 6)
    assert memory.book(clinic.workspace, clinic.ids["store"], today, 6, block=5, quota=8) == (6, 8)
    assert memory.book(clinic.workspace, clinic.ids["store"], today, 6, block=5, quota=8) == (6, 8), "another was first"
    assert memory.book(clinic.workspace, clinic.ids["store"], today, None, block=5, quota=8) == (8, 8), "lost"


def test_a_used_up_day_sends_nothing_more_even_after_a_flush(
    clinic: Clinic, ehr: System, store: System, redis_url: str
) -> None:
    an_open_clinic(clinic, ehr, store, rate={"per_second": 200, "burst": 50, "per_day": 6})
    clinic.land("ehr", *(a_patient(f"more{n}") for n in range(9)))
    for _ in range(4):
        clinic.flow("store")
        redis.Redis.from_url(redis_url).flushdb()
    assert len(store.journal()) <= 6
    assert len(store.journal()) >= 5, "all of it but what a flush may lose"
    assert wake_in_s(clinic) is not None
