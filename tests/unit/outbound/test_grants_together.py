"""Grants that are taken together for requests that follow one another: each holds no longer than if taken alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from connector_runner.connectors.sinks import Pace
from connector_runner.outbound.sinks.pacing import Pacer
from connector_runner.resilience.limiter import Grant, Limit, Limiter

QUICK = Limit(per_second=1000, burst=200, concurrency=2, slot_s=5)
REQUEST_S = 0.002


class Near:
    """A limiter that grants what is asked for, at once; ``waits`` are first."""

    def __init__(self, *waits: float) -> None:
        self.now, self.waits = 0.0, list(waits)
        self.wanted: list[int] = []
        self.refunded: list[tuple[int, float]] = []

    def acquire(self, _sink: str, limit: Limit, _holder: str, want: int = 1, **_: Any) -> Grant:
        self.wanted.append(want)
        if self.waits:
            return Grant(0, self.waits.pop(0), "rate")
        return Grant(want, 0.0, "ok", self.now + limit.jitter_s)

    def refund(self, _sink: str, _limit: Limit, count: int = 1, *, age_s: float = 0.0) -> bool:
        self.refunded.append((count, round(age_s, 3)))
        return True

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: True

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pacer(self, limit: Limit = QUICK) -> Pacer:
        clock = lambda: self.now  # noqa: E731 - one line
        return Pacer(
            cast(Limiter, self), "s", "store", limit, "me", 100.0, in_flight=tuple, sleep=self.sleep, clock=clock
        )

    def send(self, pacer: Pacer, count: int, each_s: float = REQUEST_S) -> None:
        for _ in range(count):
            assert pacer.take()
            assert pacer.fresh()
            pacer.use()
            self.now += each_s


def test_requests_that_follow_one_another_are_granted_at_once_when_it_is_known_how_long_they_take() -> None:
    near = Near()
    pacer = near.pacer()
    for _ in range(3):
        pacer.expect(8)
        near.send(pacer, 8)
        near.now += 0.5
    assert near.wanted == [1, 1, 6, 8, 8]
    assert near.refunded == []


def test_what_nobody_announced_is_granted_one_by_one() -> None:
    near = Near()
    pacer = near.pacer()
    near.send(pacer, 5)
    assert near.wanted == [1] * 5


def test_no_more_are_taken_than_are_used_in_half_of_the_time_that_they_hold() -> None:
    near = Near()
    pacer = near.pacer()
    pacer.expect(8)
    near.send(pacer, 8, each_s=QUICK.jitter_s / 2 / 3)
    assert max(near.wanted) == 3


def test_what_grew_old_in_hand_is_given_back_and_not_used() -> None:
    near = Near()
    pacer = near.pacer()
    pacer.expect(8)
    near.send(pacer, 3)
    near.now += 1.0
    assert not pacer.fresh()
    near.send(pacer, 1)
    assert near.refunded == [(5, 1.002)]
    assert near.wanted == [1, 1, 6, 5]


@pytest.mark.parametrize("said", ["cut", "allowance", "later"])
def test_nothing_granted_before_is_used_after_the_sink_spoke_of_its_pace(said: str) -> None:
    near = Near()
    pacer = near.pacer()
    pacer.expect(8)
    near.send(pacer, 3)
    if said == "cut":
        pacer.cut(None)
    else:
        pacer.learn(Pace(100, 50, 10.0) if said == "allowance" else None, 1.0 if said == "later" else None)
    assert not pacer.fresh()
    assert near.refunded == [(5, REQUEST_S)]
    near.send(pacer, 3)
    assert near.wanted[3:] == [1, 1, 1]


def test_where_everybody_waits_for_a_turn_nobody_takes_several() -> None:
    near = Near()
    pacer = near.pacer()
    pacer.expect(8)
    near.send(pacer, 2)
    near.waits = [0.01]
    near.send(pacer, 3)
    assert near.wanted == [1, 1, 6, 1, 1, 1]


@pytest.mark.parametrize("limit", [replace(QUICK, per_day=10_000), Limit(1, 5, 4, 5)])
def test_where_periods_are_counted_and_where_a_sink_is_slow_each_is_asked_for(limit: Limit) -> None:
    near = Near()
    pacer = near.pacer(limit)
    pacer.expect(8)
    near.send(pacer, 8)
    assert near.wanted == [1] * 8


def test_what_is_in_hand_at_the_end_is_given_back() -> None:
    near = Near()
    pacer = near.pacer()
    pacer.expect(8)
    near.send(pacer, 4)
    pacer.close()
    assert near.refunded == [(4, 0.004)]
