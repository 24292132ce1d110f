"""How fast a sink may be driven: rate, requests in flight, quotas and pauses, decided in Redis in one atomic step.

The limit promised to a sink is one of *arrivals*: in any window of w seconds at most ``burst + rate * w``. What
is decided here is a *grant*, and between the two lies the time to send. So a grant holds for ``jitter_s`` only
(later it is given back, not used) and the bucket is smaller than the burst by as much as may arrive in that
time. A quota is of periods on the clock; a grant near the end of one counts in both. Redis down means closed: no
grant. What must outlast Redis is in a ``Memory``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from connector_runner.resilience.calendar import Calendar
from connector_runner.resilience.pace_memory import NO_MEMORY, Memory, Period

Reason = Literal["ok", "rate", "slots", "paused", "quota", "closed"]
InFlight = Callable[[], Sequence[tuple[str, float]]]
"""Who has a request under way and for how many seconds at most, from where it is written down for good."""

MAX_PAUSE_S: Final = 3600.0
MAX_RESET_S: Final = 86400.0
"""So far at most a sink's word on when its allowance is renewed is believed."""
_SCRIPT: Final = Path(__file__).with_name("limiter.lua")
_MAX_JITTER_S: Final = 0.1
_MIN_JITTER_S: Final = 0.01
_CLOSED_WAIT_S: Final = 1.0
_DEFAULT_PAUSE_S: Final = 1.0
_CLOCKS_DIFFER_S: Final = 0.5
_LONG_WAIT_S: Final = 2.0
_ROUNDS: Final = 6
_FULL: Final = 1000
_RAISE: Final = 50
_RAISE_EVERY_S: Final = 10.0
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What a sink allows. ``slot_s`` is how long a request may be in flight: a slot not given back ends then.

    ``per_day`` is of the day that ``calendar`` has, ``per_minute_fixed`` of the minute on the clock, to within half a
    second between the sink's clock and ours. ``workspace_id`` is under which the sink is remembered. ``behind``: the
    part of burst and quotas, 0 to 1, that a caller leaves to those whose requests go first, and a slot.
    """

    per_second: float
    burst: int
    concurrency: int
    slot_s: float
    per_day: int | None = None
    per_minute_fixed: int | None = None
    calendar: Calendar = field(default_factory=Calendar)
    workspace_id: str = ""
    behind: float = 0.0

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

    @property
    def guard_s(self) -> float:
        """So near to the end of a period a grant counts in the next one too, and so soon after in the one before."""
        return self.jitter_s + _CLOCKS_DIFFER_S

    @property
    def own_bucket(self) -> float:
        """So much of the bucket is there for this caller; below one it must be full for a while first."""
        return self.bucket * (1 - self.behind)

    @property
    def spare_slots(self) -> int:
        """Slots that this caller leaves free, where there is more than one."""
        return int(self.behind > 0 and self.concurrency > 1)

    def share(self, quota: int | None) -> int:
        """Of a quota what is there for this caller, at least one request; 0 where there is none."""
        return 0 if quota is None else max(1, int(quota * (1 - self.behind)))

    @property
    def limits_periods(self) -> bool:
        """Whether there is a quota."""
        return self.per_day is not None or self.per_minute_fixed is not None

    def block(self, period: Period) -> int:
        """So many requests of a period are booked at a time, and may be lost to it with Redis."""
        return self.quota(period) if period.is_minute else max(1, self.quota(period) // 200)

    def quota(self, period: Period) -> int:
        """How many requests a period has."""
        return (self.per_minute_fixed if period.is_minute else self.per_day) or 0


@dataclass(frozen=True, slots=True)
class Grant:
    """The limiter's answer. ``use_by`` is on the monotonic clock; ``wait_s`` says when to ask again."""

    granted: int
    wait_s: float
    reason: Reason
    use_by: float = 0.0


_CLOSED: Final = Grant(0, _CLOSED_WAIT_S, "closed")


class Limiter:
    """Asks Redis. One a process; safe to share between threads and across a fork."""

    def __init__(self, redis_url: str, memory: Memory = NO_MEMORY) -> None:
        self._redis = Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1))
        self._script = self._redis.register_script(_SCRIPT.read_text("ascii"))
        self._memory = memory
        self._seen: dict[str, int] = {}

    def acquire(self, sink: str, limit: Limit, holder: str, want: int = 1, *, in_flight: InFlight = tuple) -> Grant:
        """Ask for ``want`` requests to ``sink``; may grant fewer. ``holder`` keeps its slot until ``release``.

        Asked for none, it holds the slot and tells by ``ok`` that there would be one now.

        Where Redis has lost the sink, nothing is granted before its slots are those of ``in_flight`` again, its
        pause and its learned rate those of the memory, and its counts no less than what is booked there.
        """
        for _ in range(_ROUNDS):
            asked = time.monotonic()
            try:
                granted, wait_us, reason, tat, *period = self._ask(sink, limit, holder, want)
                if reason == b"lost":
                    self._restore(sink, limit, in_flight())
                    continue
                if reason == b"book":
                    self._book(sink, limit, period)
                    continue
            except (RedisError, OSError):
                return _CLOSED
            if granted:
                self._seen[sink] = max(self._seen.get(sink, 0), int(tat))
            grant = Grant(int(granted), int(wait_us) / _US, cast(Reason, reason.decode()), asked + limit.jitter_s)
            if grant.wait_s > _LONG_WAIT_S and grant.reason in ("rate", "paused", "quota"):
                self._memory.rest(limit.workspace_id, sink, grant.wait_s)
            return grant
        return _CLOSED

    def _ask(self, sink: str, limit: Limit, holder: str, want: int) -> Any:
        interval, slot, seen = _us(limit.interval_s), _us(limit.slot_s), self._seen.get(sink, 0)
        arguments = (interval, limit.own_bucket, limit.concurrency, slot, holder, want, seen, limit.spare_slots)
        return self._run(sink, "acquire", *arguments, *_periods(limit))

    def _restore(self, sink: str, limit: Limit, holders: Sequence[tuple[str, float]]) -> None:
        known = self._memory.recall(limit.workspace_id, sink)
        ends = [part for holder, left_s in holders for part in (holder, _us(min(left_s, limit.slot_s)))]
        factor, raised_s = _FULL, 0.0
        if known.rate is not None:
            steps, raised_s = divmod(max(known.rate_age_s, 0.0), _RAISE_EVERY_S)
            factor = round(min(known.rate / limit.per_second, 1.0) * _FULL) + int(steps) * _RAISE
        bucket = (_us(limit.interval_s), limit.bucket, _us(limit.slot_s))
        self._run(sink, "restore", *bucket, _us(known.pause_s), min(factor, _FULL), _us(raised_s), *ends)

    def _book(self, sink: str, limit: Limit, answer: Sequence[Any]) -> None:
        name, booked, starts, ends = answer
        period = Period(name.decode(), int(starts), int(ends))
        known = int(booked)
        before, after = self._memory.book(
            limit.workspace_id,
            sink,
            period,
            None if known < 0 else known,
            block=limit.block(period),
            quota=limit.quota(period),
        )
        self._run(sink, "booked", period.name, before, after)

    def refund(self, sink: str, limit: Limit, count: int = 1, *, age_s: float = 0.0) -> bool:
        """Give back grants that were not used; False when Redis could not be told (the grant is lost, not doubled).

        ``age_s``: how long they were held. What the bucket may have regained meanwhile is not given back again.
        """
        try:
            self._seen.pop(sink, None)
            sure = int(limit.limits_periods and age_s < limit.guard_s)
            grant = (_us(limit.interval_s) * count, _us(age_s), count, sure)
            self._run(sink, "refund", *grant, "", "", "", "", *_periods(limit))
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

    def cut(self, sink: str, retry_after_s: float | None, limit: Limit | None = None) -> bool:
        """The sink refused for rate: pause as it says (a second if it says nothing) and halve the rate for a while.

        With ``limit`` both are remembered. False when Redis could not be told.
        """
        pause = _bounded(retry_after_s, _DEFAULT_PAUSE_S, MAX_PAUSE_S)
        try:
            factor = int(self._run(sink, "cut", _us(pause)))
        except (RedisError, OSError):
            factor = None
        if limit is not None:
            rate = None if factor is None else limit.per_second * factor / _FULL
            self._memory.keep(limit.workspace_id, sink, pause_s=pause, rate=rate)
        return factor is not None

    def learn(
        self,
        sink: str,
        limit: Limit,
        *,
        remaining: int | None,
        reset_s: float | None,
        retry_after_s: float | None = None,
    ) -> bool:
        """What an answer said of the sink's own allowance: ``remaining`` requests, renewed in ``reset_s``.

        They are spread over that time where it is slower than the limit; none left is a pause until then. False when
        Redis could not be told.
        """
        pause = _bounded(retry_after_s, 0.0, MAX_PAUSE_S)
        reset = _bounded(reset_s, 0.0, MAX_RESET_S)
        if remaining is not None and remaining <= 0:
            pause = max(pause, reset if reset_s is not None else _DEFAULT_PAUSE_S)
        ample = remaining is None or (remaining >= 2 * limit.concurrency and remaining >= reset * limit.per_second)
        if pause <= 0 and (ample or reset <= 0):
            return True
        try:
            told = -1 if remaining is None else max(remaining, 0)
            paused_us = int(self._run(sink, "learn", told, _us(reset), _us(pause)))
        except (RedisError, OSError):
            return False
        finally:
            if pause > _LONG_WAIT_S:
                self._memory.keep(limit.workspace_id, sink, pause_s=pause, rate=None)
        return paused_us >= 0

    def _run(self, sink: str, *arguments: object) -> Any:
        # The braces put all keys into one slot of a Redis cluster.
        keys = [f"cr:{{{sink}}}:limit", f"cr:{{{sink}}}:slots", f"cr:{{{sink}}}:count"]
        return self._script(keys=keys, args=cast(Any, list(arguments)))


def _periods(limit: Limit) -> tuple[int, ...]:
    """Quotas as the script takes them, with the days of now."""
    quotas = (limit.share(limit.per_minute_fixed), limit.share(limit.per_day), _us(limit.guard_s))
    if limit.per_day is None:
        return quotas
    return *quotas, *(int(day.timestamp()) for day in limit.calendar.midnights(datetime.now(UTC)))


def _bounded(seconds: float | None, default: float, most: float) -> float:
    if seconds is None or math.isnan(seconds):
        return default
    return min(max(seconds, 0.0), most)


def _us(seconds: float) -> int:
    return math.ceil(seconds * _US)
