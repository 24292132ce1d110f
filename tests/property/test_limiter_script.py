"""The limiter's script against what it promises, on real Redis and a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector_runner.resilience import limiter as module
from connector_runner.resilience.calendar import Calendar
from connector_runner.resilience.limiter import Limit
from tests.limiter_clock import START_S, Timed

SHARED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=120
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "ask", "give back", "cut", "cut now", "flush", "learn", "none left"]),
        st.floats(0, 3),
        st.floats(0, 1),
    ),
    min_size=5,
    max_size=60,
)


class _Now:
    """``datetime`` as the limiter's module sees it."""

    def __init__(self, timed: Timed) -> None:
        self._timed = timed

    def now(self, zone: object) -> datetime:
        return datetime.fromtimestamp(self._timed.now, UTC)


def run(timed: Timed, plan: list[tuple[str, float, float]], pace: float) -> list[float]:
    """Carry out a plan; the instants at which requests arrived."""
    arrivals: list[float] = []
    for what, pause, late in plan:
        timed.at(timed.now + pause * pace)
        if what == "flush":
            timed.flush()
        elif what.startswith("cut"):
            timed.limiter.cut(timed.sink, 0.0 if what == "cut now" else 2 * pace, timed.limit)
        elif what == "learn":
            timed.limiter.learn(timed.sink, timed.limit, remaining=3, reset_s=20 * pace)
        elif what == "none left":
            timed.limiter.learn(timed.sink, timed.limit, remaining=0, reset_s=3 * pace)
        else:
            grant = timed.ask(want=1 if late < 0.5 else 3)
            age = late * timed.limit.jitter_s
            if what == "give back" and grant.granted:
                timed.at(timed.now + age)
                timed.limiter.refund(timed.sink, timed.limit, grant.granted, age_s=age)
            else:
                arrivals += [timed.now + age] * grant.granted
    return sorted(arrivals)


def over(arrivals: list[float], limit: Limit) -> float:
    """The most by which a sliding window is over the promise."""
    worst, lowest = float("-inf"), float("inf")
    for number, moment in enumerate(arrivals):
        lowest = min(lowest, number - limit.per_second * moment)
        worst = max(worst, number + 1 - limit.per_second * moment - lowest - limit.burst)
    return worst


@SHARED
@given(plan=steps, per_second=st.floats(0.5, 100), burst=st.integers(1, 12))
def test_no_window_is_over_whatever_happens(
    redis_url: str, plan: list[tuple[str, float, float]], per_second: float, burst: int
) -> None:
    limit = Limit(per_second, burst, 2, 5.0, workspace_id="w")
    assert over(run(Timed(redis_url, limit), plan, 1 / per_second), limit) <= 1e-4


@SHARED
@given(plan=steps, quota=st.integers(1, 8), skew=st.floats(-0.49, 0.49), start=st.floats(0, 60))
def test_no_minute_on_the_sinks_clock_has_more_than_its_quota(
    redis_url: str, plan: list[tuple[str, float, float]], quota: int, skew: float, start: float
) -> None:
    timed = Timed(redis_url, Limit(5, 5, 2, 5.0, per_minute_fixed=quota, workspace_id="w"))
    timed.at(START_S + start)
    minutes = Counter(int((moment + skew) // 60) for moment in run(timed, plan, 4.0))
    assert max(minutes.values(), default=0) <= quota


@SHARED
@given(plan=steps, quota=st.integers(1, 6), skew=st.floats(-0.49, 0.49))
def test_no_day_in_the_sinks_zone_has_more_than_its_quota(
    redis_url: str, plan: list[tuple[str, float, float]], quota: int, skew: float
) -> None:
    calendar = Calendar("America/New_York")
    timed = Timed(redis_url, Limit(5, 5, 2, 5.0, per_day=quota, calendar=calendar, workspace_id="w"))
    with patch.object(module, "datetime", _Now(timed)):
        arrivals = run(timed, plan, 6 * 3600.0)
    days = Counter(datetime.fromtimestamp(moment + skew, calendar.zone).date() for moment in arrivals)
    assert max(days.values(), default=0) <= quota


@pytest.mark.parametrize("ahead", [0.4, -0.4])
def test_near_the_end_of_a_minute_both_are_counted(redis_url: str, ahead: float) -> None:
    """The sink's clock may be before ours or behind it, so what it counts in which minute is not known for sure."""
    timed = Timed(redis_url, Limit(50, 5, 2, 5.0, per_minute_fixed=5, workspace_id="w"))
    timed.at(START_S + 30)
    timed.next_grant()
    timed.at(START_S + 59.8)
    moments = [timed.next_grant() for _ in range(3)]
    timed.at(START_S + 60.2)
    while (moment := timed.next_grant()) < START_S + 119:
        moments.append(moment)
    minutes = Counter(int((moment + ahead) // 60) for moment in moments)
    assert max(minutes.values()) <= 5
    assert len(moments) >= 5


@pytest.mark.parametrize("loses", [False, True])
def test_a_whole_quota_is_used_and_no_more(redis_url: str, loses: bool) -> None:
    limit = Limit(50, 5, 2, 5.0, per_day=400, calendar=Calendar("Asia/Kolkata"), workspace_id="w")
    timed = Timed(redis_url, limit)
    with patch.object(module, "datetime", _Now(timed)):
        granted: Counter[object] = Counter()
        end = timed.now + timedelta(days=2).total_seconds()
        while (moment := timed.next_grant()) < end:
            granted[datetime.fromtimestamp(moment, limit.calendar.zone).date()] += 1
            if loses and sum(granted.values()) % 150 == 149:
                timed.flush()
    whole = [granted[day] for day in sorted(granted, key=str)][1:-1]  # type: ignore[type-var]
    assert whole, "no day was whole"
    # A flush loses at most a block of what is booked: half a percent.
    assert all(400 - 3 * 2 * loses <= used <= 400 for used in whole), granted


def test_without_the_count_the_minute_is_over(redis_url: str) -> None:
    """What would happen if a lost count were taken for nothing."""
    timed = Timed(redis_url, Limit(50, 5, 2, 5.0, per_minute_fixed=10, workspace_id="w"))
    first = [timed.next_grant() for _ in range(10)]
    timed.flush()
    timed.ledger.booked.clear()
    second = timed.next_grant()
    assert int(second // 60) == int(first[-1] // 60), "the naive way grants an eleventh in the same minute"


def test_with_the_count_it_is_not(redis_url: str) -> None:
    timed = Timed(redis_url, Limit(50, 5, 2, 5.0, per_minute_fixed=10, workspace_id="w"))
    first = [timed.next_grant() for _ in range(10)]
    timed.flush()
    assert int(timed.next_grant() // 60) == int(first[-1] // 60) + 1
    assert timed.ledger.rests[-1] > 2


def drive(timed: Timed, seconds: float, then: Callable[[float], None] | None = None) -> int:
    """How many grants there are in so many seconds."""
    end, count = timed.now + seconds, 0
    while timed.next_grant() < end:
        count += 1
    return count


def test_a_learned_rate_and_a_pause_outlast_a_flush(redis_url: str) -> None:
    timed = Timed(redis_url, Limit(10, 5, 2, 5.0, workspace_id="w"))
    timed.next_grant()
    timed.limiter.cut(timed.sink, 30.0, timed.limit)
    timed.flush()
    assert timed.ask().reason in ("paused", "rate")
    resumed = timed.next_grant()
    assert resumed >= START_S + 30
    assert timed.client.hget(f"cr:{{{timed.sink}}}:limit", "factor") == b"650", "half, and 5 % for each of 3 times 10 s"
    assert 9 * 6.5 <= drive(timed, 9.9) <= 5 + 10 * 7


def test_what_remains_is_spread_until_it_is_renewed(redis_url: str) -> None:
    timed = Timed(redis_url, Limit(10, 5, 1, 5.0, workspace_id="w"))
    timed.next_grant()
    begun = timed.now
    timed.limiter.learn(timed.sink, timed.limit, remaining=20, reset_s=40.0)
    moments = [timed.next_grant() for _ in range(20)]
    assert moments[-1] - begun > 30, "two seconds apart, but for what the bucket holds"
    assert moments[-1] < begun + 40
    assert timed.next_grant() >= begun + 40, "the twenty-first waits"
    assert drive(timed, 10) > 80, "and then the rate is what it was"


def test_none_left_is_a_pause_until_it_is_renewed(redis_url: str) -> None:
    timed = Timed(redis_url, Limit(10, 5, 2, 5.0, workspace_id="w"))
    timed.next_grant()
    timed.limiter.learn(timed.sink, timed.limit, remaining=0, reset_s=7.0)
    assert timed.ask().reason == "paused"
    assert timed.next_grant() == pytest.approx(START_S + 7, abs=1)


@pytest.mark.parametrize(("stated", "paused"), [(5.0, 5.0), (7200.0, 3600.0), (-3.0, 0.0), (float("nan"), 1.0)])
def test_a_pause_is_an_hour_at_most(redis_url: str, stated: float, paused: float) -> None:
    timed = Timed(redis_url, Limit(10, 5, 2, 5.0, workspace_id="w"))
    timed.next_grant()
    begun = timed.now
    timed.limiter.cut(timed.sink, stated, timed.limit)
    assert timed.next_grant() - begun == pytest.approx(paused, abs=0.21)


def test_a_cut_without_a_pause_adds_nothing_to_the_burst(redis_url: str) -> None:
    limit = Limit(10, 5, 2, 5.0, workspace_id="w")
    timed = Timed(redis_url, limit)
    timed.next_grant()
    timed.at(timed.now + 60)
    granted = timed.ask(want=99).granted
    timed.limiter.cut(timed.sink, 0.0, limit)
    assert granted + timed.ask(want=99).granted == limit.bucket
