"""A grant that was too long on its way is not used: by then it may stand beside the next one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from connector_runner.connectors.sinks import Outcome, Reply, Sink
from connector_runner.outbound.lanes.searching import Unhurried
from connector_runner.outbound.sinks.pacing import Pacer
from connector_runner.resilience.limiter import Grant, Limit, Limiter

LIMIT = Limit(per_second=10, burst=1, concurrency=1, slot_s=5)


class Far:
    """A limiter whose answers take ``delays``, one after the other."""

    def __init__(self, *delays: float) -> None:
        self.now, self.delays, self.refunds = 0.0, list(delays), 0
        self.wanted: list[int] = []
        self.asked_at: list[float] = []

    def acquire(self, _sink: str, limit: Limit, _holder: str, want: int = 1, **_: Any) -> Grant:
        asked = self.now
        self.asked_at.append(asked)
        self.now += self.delays.pop(0)
        self.wanted.append(want)
        return Grant(want, 0.0, "ok", asked + limit.jitter_s if want else 0.0)

    def refund(self, *_: Any, **__: Any) -> bool:
        self.refunds += 1
        return True

    def pacer(self, limit: Limit = LIMIT) -> Pacer:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Pacer(
            cast(Limiter, self), "s", "store", limit, "me", 100.0, in_flight=tuple, sleep=sleep, clock=lambda: self.now
        )


class Absent:
    """A sink that has nothing."""

    def read(self, _: str) -> Reply:
        return Reply(Outcome.ABSENT)


def test_a_late_grant_is_given_back_and_another_asked_for() -> None:
    far = Far(1.0, 1.0, 0.0)
    assert far.pacer().take()
    assert far.refunds == 2
    assert far.delays == []


def test_a_limiter_that_is_too_far_away_is_no_reason_to_ask_for_ever() -> None:
    far = Far(*[1.0] * 50)
    pacer = far.pacer()
    assert not pacer.take()
    assert pacer.stopped == "late"
    assert 50 - len(far.delays) == far.refunds < 10


@pytest.mark.parametrize(("per_second", "wanted"), [(100.0, [0, 1]), (1.0, [1])])
def test_of_a_brisk_sink_a_grant_is_taken_when_all_else_is_ready(per_second: float, wanted: list[int]) -> None:
    far = Far(0.0, 0.0, 0.0)
    pacer = far.pacer(Limit(per_second=per_second, burst=5, concurrency=4, slot_s=5))
    assert pacer.stand_by()
    far.now += 0.05
    assert pacer.stand_by()
    assert pacer.take()
    assert far.wanted == wanted
    assert far.refunds == 0


def test_what_takes_time_before_a_question_does_not_age_its_grant() -> None:
    far = Far(0.0)
    pacer = far.pacer()

    def hold() -> bool:
        far.now += 1.0
        return True

    Unhurried(cast(Sink, Absent()), pacer, hold).read("Patient/1")
    assert far.asked_at == [1.0]
