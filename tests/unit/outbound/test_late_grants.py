"""A grant that was too long on its way is not used: by then it may stand beside the next one."""

from __future__ import annotations

from typing import Any, cast

from connector_runner.outbound.pacing import Pacer
from connector_runner.resilience.limiter import Grant, Limit, Limiter

LIMIT = Limit(per_second=10, burst=1, concurrency=1, slot_s=5)


class Far:
    """A limiter whose answers take ``delays``, one after the other."""

    def __init__(self, *delays: float) -> None:
        self.now, self.delays, self.refunds = 0.0, list(delays), 0

    def acquire(self, *_: Any, **__: Any) -> Grant:
        asked = self.now
        self.now += self.delays.pop(0)
        return Grant(1, 0.0, "ok", asked + LIMIT.jitter_s)

    def refund(self, *_: Any, **__: Any) -> bool:
        self.refunds += 1
        return True

    def pacer(self) -> Pacer:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Pacer(
            cast(Limiter, self), "s", "store", LIMIT, "me", 100.0, in_flight=tuple, sleep=sleep, clock=lambda: self.now
        )


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
