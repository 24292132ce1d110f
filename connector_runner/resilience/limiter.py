"""How fast a sink may be driven: rate, requests in flight and pauses, decided in Redis in one atomic step.

The limit promised to a sink is one of *arrivals*: in any window of w seconds at most ``burst + rate * w``. What
is decided here is a *grant*, and between the two lies the time to send. So a grant holds for ``jitter_s`` only
(later it is given back, not used) and the bucket is smaller than the burst by as much as may arrive in that
time. Redis down means closed: no grant.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

Reason = Literal["ok", "rate", "slots", "paused", "closed"]
InFlight = Callable[[], Sequence[tuple[str, float]]]
"""Who has a request under way and for how many seconds at most, from where it is written down for good."""

_SCRIPT: Final = Path(__file__).with_name("limiter.lua")
_MAX_JITTER_S: Final = 0.1
_MIN_JITTER_S: Final = 0.01
_CLOSED_WAIT_S: Final = 1.0
_DEFAULT_PAUSE_S: Final = 1.0
_MAX_PAUSE_S: Final = 3600.0
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What a sink allows. ``slot_s`` is how long a request may be in flight: a slot not given back ends then."""

    per_second: float
    burst: int
    concurrency: int
    slot_s: float

    @property
    def jitter_s(self) -> float:
        """How old a grant may be when it is used: half of what the burst can absorb, the rest is for catching up."""
        return min(max((self.burst - 1) / (2 * self.per_second), _MIN_JITTER_S), _MAX_JITTER_S)

    @property
    def bucket(self) -> int:
        """The burst less what may arrive bunched because of ``jitter_s``."""
        return max(1, self.burst - math.ceil(self.per_second * self.jitter_s - 1e-9))

    @property
    def interval_s(self) -> float:
        """Seconds between grants; longer than 1/rate only where the burst has no room for any jitter."""
        interval = 1 / self.per_second
        if self.bucket > 1:
            return interval
        return interval + max(0.0, self.jitter_s - (self.burst - 1) * interval)


@dataclass(frozen=True, slots=True)
class Grant:
    """The limiter's answer. ``use_by`` is on the monotonic clock; ``wait_s`` says when to ask again."""

    granted: int
    wait_s: float
    reason: Reason
    use_by: float = 0.0


class Limiter:
    """Asks Redis. One a process; safe to share between threads and across a fork."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1))
        self._script = self._redis.register_script(_SCRIPT.read_text("ascii"))
        self._seen: dict[str, int] = {}

    def acquire(self, sink: str, limit: Limit, holder: str, want: int = 1, *, in_flight: InFlight = tuple) -> Grant:
        """Ask for ``want`` requests to ``sink``; may grant fewer. ``holder`` keeps its slot until ``release``.

        Where Redis has lost the sink, nothing is granted before its slots are those of ``in_flight`` again.
        """
        asked = time.monotonic()
        try:
            granted, wait_us, reason, tat = self._ask(sink, limit, holder, want)
            if reason == b"lost":
                self._restore(sink, limit, in_flight())
                asked = time.monotonic()
                granted, wait_us, reason, tat = self._ask(sink, limit, holder, want)
        except (RedisError, OSError):
            return Grant(0, _CLOSED_WAIT_S, "closed")
        if reason == b"lost":
            return Grant(0, _CLOSED_WAIT_S, "closed")
        if granted:
            self._seen[sink] = max(self._seen.get(sink, 0), int(tat))
        return Grant(int(granted), int(wait_us) / _US, cast(Reason, reason.decode()), asked + limit.jitter_s)

    def _ask(self, sink: str, limit: Limit, holder: str, want: int) -> Any:
        interval, slot, seen = _us(limit.interval_s), _us(limit.slot_s), self._seen.get(sink, 0)
        return self._run(sink, "acquire", interval, limit.bucket, limit.concurrency, slot, holder, want, seen)

    def _restore(self, sink: str, limit: Limit, holders: Sequence[tuple[str, float]]) -> None:
        ends = [part for holder, left_s in holders for part in (holder, _us(min(left_s, limit.slot_s)))]
        self._run(sink, "restore", _us(limit.interval_s), limit.bucket, _us(limit.slot_s), *ends)

    def refund(self, sink: str, limit: Limit, count: int = 1, *, age_s: float = 0.0) -> bool:
        """Give back grants that were not used; False when Redis could not be told (the grant is lost, not doubled).

        ``age_s``: how long they were held. What the bucket may have regained meanwhile is not given back again.
        """
        try:
            self._seen.pop(sink, None)
            self._run(sink, "refund", _us(limit.interval_s) * count, _us(age_s))
        except (RedisError, OSError):
            return False
        return True

    def release(self, sink: str, holder: str) -> bool:
        """Give back the slot of ``holder``; False when Redis could not be told (the slot ends by itself)."""
        try:
            self._run(sink, "release", holder)
        except (RedisError, OSError):
            return False
        return True

    def cut(self, sink: str, retry_after_s: float | None) -> bool:
        """The sink refused for rate: pause as it says (a second if it says nothing) and halve the rate for a while."""
        pause = min(_DEFAULT_PAUSE_S if retry_after_s is None else max(retry_after_s, 0.0), _MAX_PAUSE_S)
        try:
            self._run(sink, "cut", _us(pause))
        except (RedisError, OSError):
            return False
        return True

    def _run(self, sink: str, *arguments: object) -> Any:
        # The braces put both keys into one slot of a Redis cluster.
        keys = [f"cr:{{{sink}}}:limit", f"cr:{{{sink}}}:slots"]
        return self._script(keys=keys, args=cast(Any, list(arguments)))


def _us(seconds: float) -> int:
    return math.ceil(seconds * _US)
