"""One worker's pace towards one sink: it sends only on a grant that is still fresh."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from connector_runner.connectors.sinks import Pace
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.metrics import LIMITER
from connector_runner.resilience.limiter import Grant, InFlight, Limit, Limiter

LONGEST_WAIT_S: Final = 2.0
"""A longer wait for a grant is not sat out: the worker goes and comes back."""
_MARGIN_S: Final = 0.001
_LATE_GRANTS: Final = 5
"""So many grants in a row that came too late to be used mean that the limiter is too far away just now."""
_BRISK_S: Final = 0.25
"""Where everybody's turn comes within so short a time, a grant is waited for when all else is ready."""
_JUST_NOW_S: Final = 0.1
_MOST_AT_ONCE: Final = 8
_SLOT_MARGIN_S: Final = 2.0


def limit_of(terms: SinkTerms, *, one_at_a_time: bool = False) -> Limit:
    """What a sink's terms allow; with ``one_at_a_time`` a single request in flight, of whichever process."""
    return Limit(
        terms.per_second,
        terms.burst,
        1 if one_at_a_time else terms.concurrency,
        terms.request_timeout_s + _SLOT_MARGIN_S,
        terms.per_day,
        terms.per_minute_fixed,
        terms.calendar,
        terms.workspace_id,
    )


class Pacer:
    """Asks the limiter, waits for short times, and gives back what it does not use.

    ``wait_s`` says when to come back after ``take`` answered False, ``stopped`` why.
    """

    def __init__(
        self,
        limiter: Limiter,
        sink_id: str,
        sink_name: str,
        limit: Limit,
        holder: str,
        until: float,
        *,
        in_flight: InFlight,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``until``: on the monotonic clock, after which nothing more is begun. ``in_flight``: as for ``acquire``."""
        self._limiter, self._sink_id, self._name, self._limit = limiter, sink_id, sink_name, limit
        self._holder, self._until, self._sleep, self._clock = holder, until, sleep, clock
        self._in_flight = in_flight
        self._grant: Grant | None = None
        self._brisk = limit.interval_s * limit.concurrency <= _BRISK_S and not limit.limits_periods
        self._let_in_at = float("-inf")
        self._left = 0
        self._expected = 0
        self._used_at = float("-inf")
        self._each_s = math.inf
        self._in_doubt = False
        self.wait_s = 0.0
        self.stopped = ""

    def expect(self, requests: int) -> None:
        """So many requests are about to be sent, one after another: their grants may be taken together.

        Each is one of the limiter's and holds no longer than any other. Only where the sink keeps up with us.
        """
        self._expected, self._used_at = requests, float("-inf")

    def stand_by(self) -> bool:
        """Hold a slot, and know that a grant is to be had in time; False where not.

        What must be done before the request takes longer than a grant of a brisk sink holds: taken before, it would
        be lost. Of a slow sink it is taken now, lest something be prepared whose turn does not come in time.
        """
        if not self._brisk:
            return self.take()
        if self._clock() - self._let_in_at <= _JUST_NOW_S or self.fresh():
            return True
        return self._turn(0)

    def take(self) -> bool:
        """Get a grant for one request, waiting for it if that is short; False when there is none in time."""
        if self.fresh():
            return True
        self.put_back()
        return self._turn(self._at_once())

    def _at_once(self) -> int:
        """How many grants to ask for: no more than will be used in half of the time that they hold."""
        if not self._brisk or self._in_doubt:
            return 1
        in_time = int(self._limit.jitter_s / 2 / self._each_s) if self._each_s > 0 else _MOST_AT_ONCE
        return max(1, min(self._expected, in_time, _MOST_AT_ONCE))

    def _turn(self, want: int) -> bool:
        late = 0
        while True:
            grant = self._limiter.acquire(self._sink_id, self._limit, self._holder, want, in_flight=self._in_flight)
            LIMITER.labels(sink=self._name, reason=grant.reason).inc()
            if grant.reason == "ok":
                self._let_in_at = self._clock()
                if not want:
                    return True
                self._grant, self._left = grant, grant.granted
                if self.fresh():
                    return True
                # Too long on its way: to send on it now would be to send beside the next one.
                self.put_back()
                late += 1
                if late < _LATE_GRANTS and self._clock() < self._until:
                    continue
                self.wait_s, self.stopped = _MARGIN_S, "late"
                return False
            too_long = grant.wait_s > LONGEST_WAIT_S or self._clock() + grant.wait_s > self._until
            if too_long or grant.reason in ("slots", "closed"):
                self.wait_s, self.stopped = grant.wait_s, grant.reason
                return False
            # The sink is driven at its pace: what one holds ahead, another would wait for.
            self._expected, want = 0, min(want, 1)
            self._sleep(grant.wait_s + _MARGIN_S)

    def fresh(self) -> bool:
        """Whether the grant in hand may still be used."""
        return self._grant is not None and self._clock() <= self._grant.use_by

    def use(self) -> None:
        """The request is sent."""
        now = self._clock()
        if math.isfinite(self._used_at):
            self._each_s = now - self._used_at
        self._used_at = now
        self._left, self._expected = self._left - 1, max(self._expected - 1, 0)
        if self._left < 1:
            self._grant, self._left = None, 0

    def put_back(self) -> None:
        """Give back the grants in hand, if there are any: what they were for is not sent, or not yet."""
        grant, left, self._grant, self._left = self._grant, self._left, None, 0
        if grant is not None:
            age_s = self._clock() - (grant.use_by - self._limit.jitter_s)
            self._limiter.refund(self._sink_id, self._limit, left, age_s=age_s)

    def cut(self, retry_after_s: float | None) -> None:
        """The sink said: too fast."""
        self._doubt()
        self._limiter.cut(self._sink_id, retry_after_s, self._limit)

    def learn(self, pace: Pace | None, retry_after_s: float | None = None) -> None:
        """What an answer said of the sink's own allowance, and of when to come back."""
        if pace is None and retry_after_s is None:
            return
        self._doubt()
        remaining, reset_s = (None, None) if pace is None else (pace.remaining, pace.reset_s)
        self._limiter.learn(
            self._sink_id, self._limit, remaining=remaining, reset_s=reset_s, retry_after_s=retry_after_s
        )

    def _doubt(self) -> None:
        """What was granted before the sink spoke of its pace is not used after, and nothing more taken ahead."""
        self._let_in_at, self._in_doubt = float("-inf"), True
        self.put_back()

    def close(self) -> None:
        """Give back what is in hand and the slot."""
        self.put_back()
        self._limiter.release(self._sink_id, self._holder)
