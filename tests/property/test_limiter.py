"""Whatever a sink allows: grants used within their time never add up to more arrivals than it allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector_runner.kernel.ids import new_id
from connector_runner.resilience import limiter as module
from connector_runner.resilience.limiter import Limit, Limiter

limits = st.builds(
    Limit,
    per_second=st.floats(0.1, 200),
    burst=st.integers(1, 100),
    concurrency=st.just(2),
    slot_s=st.just(5.0),
)


@given(limits)
def test_the_bucket_and_the_jitter_fit_into_the_burst(limit: Limit) -> None:
    assert 1 <= limit.bucket <= limit.burst
    assert limit.interval_s >= 1 / limit.per_second - 1e-9
    assert 0 < limit.jitter_s <= 0.1


@given(limits, st.integers(1, 500))
def test_no_window_of_arrivals_is_over(limit: Limit, arrivals: int) -> None:
    """The worst case: a full bucket is granted at once, the rest as it comes, the first late and the last early."""
    span = max(0, arrivals - limit.bucket) * limit.interval_s
    window = max(0.0, span - limit.jitter_s)
    assert arrivals <= limit.burst + limit.per_second * window + 1e-6


CLOCK = "limiter:clock"
HANDS = 4


@pytest.fixture
def limiter(redis_url: str) -> Limiter:
    """The script itself, on a clock of the test's."""
    found = Limiter(redis_url)
    text = Path(module.__file__).with_name("limiter.lua").read_text("ascii")
    asked = "redis.call('TIME')"
    assert text.count(asked) == 1
    moved = text.replace(asked, f"{{0, tonumber(redis.call('GET', '{CLOCK}'))}}")
    found._script = found._redis.register_script(moved)
    return found


@dataclass
class Sink:
    """A sink under a limit, hands that hold a grant each at most, and what arrives there."""

    limiter: Limiter
    limit: Limit
    now: float = 1_000_000.0
    name: str = field(default_factory=new_id)
    held: dict[int, float] = field(default_factory=dict)
    arrivals: list[float] = field(default_factory=list)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.limiter._redis.set(CLOCK, round(self.now * 1e6))

    def ask(self, hand: int) -> None:
        if hand not in self.held and self.limiter.acquire(self.name, self.limit, str(hand)).granted:
            self.held[hand] = self.now

    def use(self, hand: int) -> None:
        """Send on a grant that is fresh; one that is not is given back."""
        if hand in self.held:
            if self.now - self.held[hand] > self.limit.jitter_s:
                self.give_back(hand)
            else:
                del self.held[hand]
                self.arrivals.append(self.now)

    def give_back(self, hand: int) -> None:
        if hand in self.held:
            self.limiter.refund(self.name, self.limit, age_s=self.now - self.held.pop(hand))

    def forget(self) -> None:
        """Redis loses the sink, and the next to ask is a process that never asked before."""
        self.limiter._seen.clear()
        client: Any = self.limiter._redis
        client.delete(*(f"cr:{{{self.name}}}:{part}" for part in ("limit", "slots", "count")))

    def cut(self) -> None:
        self.limiter.cut(self.name, 0)

    def told(self, remaining: int) -> None:
        reset_s = 20 / self.limit.per_second
        self.limiter.learn(self.name, self.limit, remaining=remaining, reset_s=reset_s)

    def over(self) -> float:
        """The most by which any window of arrivals is over what is promised."""
        rate, burst = self.limit.per_second, self.limit.burst
        return max(
            (
                (last - first + 1) - burst - rate * (self.arrivals[last] - self.arrivals[first])
                for first in range(len(self.arrivals))
                for last in range(first, len(self.arrivals))
            ),
            default=-1.0,
        )


HAND = st.integers(0, HANDS - 1)
PAUSE = st.one_of(st.just(0.0), st.sampled_from([0.0, 1.01]), st.floats(0, 3), st.floats(0, 40))
RATE = st.one_of(st.floats(0.5, 5), st.floats(0.5, 100))
"""At a low rate the time that a grant may be held leaves little of the burst aside, so faults show."""
STEP = st.one_of(
    st.tuples(st.just("spend"), st.sampled_from([1, 5, 20])),
    st.tuples(st.just("spend"), st.sampled_from([1, 5, 20])),
    st.tuples(st.sampled_from(["ask", "use", "give_back"]), HAND),
    st.tuples(st.just("told"), st.integers(0, 60)),
    st.tuples(st.sampled_from(["cut", "cut", "forget"]), st.none()),
)


def run(sink: Sink, steps: list[tuple[float, tuple[str, Any]]]) -> None:
    """``spend`` sends as much as there is, up to so many; pauses are in intervals of the limit."""
    sink.later(0)
    for pause, (what, which) in steps:
        sink.later(pause * sink.limit.interval_s)
        if what == "spend":
            for turn in range(which):
                sink.ask(turn % HANDS)
                sink.use(turn % HANDS)
        elif which is None:
            getattr(sink, what)()
        else:
            getattr(sink, what)(which)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PAUSE, STEP), min_size=12, max_size=40), RATE, st.integers(1, 20))
def test_whatever_happens_no_window_of_arrivals_is_over(
    limiter: Limiter, steps: list[tuple[float, tuple[str, Any]]], per_second: float, burst: int
) -> None:
    """Grants used late or given back, rates that are cut and recover, allowances of the sink's own, a lost Redis."""
    sink = Sink(limiter, Limit(per_second, burst, HANDS, slot_s=1e6))
    run(sink, steps)
    assert sink.over() <= 1e-3


def full(limiter: Limiter) -> Sink:
    """A sink whose bucket is full."""
    sink = Sink(limiter, Limit(10, 10, HANDS, slot_s=1e6))
    run(sink, [(0, ("ask", 0)), (40, ("cut", None)), (1000, ("ask", 0)), (1000, ("give_back", 0))])
    return sink


def test_a_rate_that_is_cut_gives_no_second_burst(limiter: Limiter) -> None:
    sink = full(limiter)
    run(sink, [(0, ("spend", 20)), (0, ("cut", None)), (0, ("spend", 20))])
    assert len(sink.arrivals) >= sink.limit.bucket - 1
    assert sink.over() <= 1e-3


def test_what_is_given_back_late_was_regained_already(limiter: Limiter) -> None:
    sink = full(limiter)
    one_more: list[tuple[float, tuple[str, Any]]] = [(0, ("ask", 1)), (0, ("use", 1))]
    run(sink, [(0, ("spend", 20)), (1.01, ("ask", 0)), (1.01, ("ask", 2)), (20, ("ask", 1)), *one_more * 10])
    assert len(sink.arrivals) >= 2 * sink.limit.bucket - 1
    run(sink, [(0, ("give_back", 0)), (0, ("give_back", 2)), *one_more * 4])
    assert sink.over() <= 1e-3


def test_a_lost_redis_is_an_empty_bucket(limiter: Limiter) -> None:
    sink = full(limiter)
    run(sink, [(0, ("spend", 20)), (0, ("forget", None)), (0, ("spend", 20))])
    assert sink.over() <= 1e-3
