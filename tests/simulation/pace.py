"""The limiter's logic (resilience/limiter.lua) over virtual time: one step at a time, so each is atomic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from connector_runner.resilience.limiter import Grant, InFlight, Limit

_RAISE, _RAISE_EVERY_S, _FLOOR = 0.05, 10.0, 0.01


@dataclass
class Bucket:
    """One sink's."""

    tat: float
    slots: dict[str, float] = field(default_factory=dict)
    factor: float = 1.0
    raised_at: float = 0.0
    cut_at: float = -10.0
    pause: float = 0.0
    low: float = 0.0


class VirtualLimiter:
    """As ``Limiter``. ``effect`` is called before and after each call, as over a network."""

    def __init__(self, clock: Callable[[], float], effect: Callable[[str], None]) -> None:
        self._clock, self._effect = clock, effect
        self.buckets: dict[str, Bucket] = {}

    def forget(self) -> None:
        """As when Redis is flushed."""
        self.buckets.clear()

    def acquire(self, sink: str, limit: Limit, holder: str, want: int = 1, *, in_flight: InFlight = tuple) -> Grant:
        """A grant, or when to ask again."""
        asked = self._clock()
        self._effect("limiter")
        bucket = self.buckets.get(sink)
        if bucket is None:
            holders = dict(in_flight())
            now = self._clock()
            bucket = Bucket(now + limit.bucket * limit.interval_s)
            bucket.slots = {name: now + min(left_s, limit.slot_s) for name, left_s in holders.items()}
            self.buckets[sink] = bucket
            asked = now
        grant = self._granted(bucket, limit, holder, asked, want)
        self._effect("limited")
        return grant

    def _granted(self, bucket: Bucket, limit: Limit, holder: str, asked: float, want: int) -> Grant:
        now = self._clock()
        bucket.slots = {name: end for name, end in bucket.slots.items() if end > now}
        if holder not in bucket.slots and len(bucket.slots) >= limit.concurrency:
            return Grant(0, min(bucket.slots.values()) - now, "slots")
        bucket.slots[holder] = now + limit.slot_s
        steps = int((now - bucket.raised_at) / _RAISE_EVERY_S)
        if bucket.factor < 1.0 and steps > 0:
            bucket.factor = min(1.0, bucket.factor + steps * _RAISE)
            bucket.raised_at += steps * _RAISE_EVERY_S
        interval = limit.interval_s / bucket.factor
        tolerance = (limit.bucket - 1) * limit.interval_s
        if bucket.pause > now:
            return Grant(0, bucket.pause - now, "paused")
        if bucket.tat > now + tolerance:
            return Grant(0, bucket.tat - tolerance - now, "rate")
        if not want:
            return Grant(0, 0.0, "ok")
        if bucket.tat < now + limit.concurrency * limit.interval_s:
            bucket.low = now
        granted = min(want, int((now + tolerance - max(bucket.tat, now)) / interval) + 1)
        bucket.tat = max(bucket.tat, now) + granted * interval
        return Grant(granted, 0.0, "ok", asked + limit.jitter_s)

    def refund(self, sink: str, limit: Limit, count: int = 1, *, age_s: float = 0.0) -> bool:
        """Not used."""
        bucket, now = self.buckets.get(sink), self._clock()
        if bucket is not None:
            whole = limit.interval_s * count
            if bucket.low > now - age_s or bucket.tat - whole < now:
                whole = max(0.0, whole - age_s)
            bucket.tat -= whole
        self._effect("refund")
        return True

    def release(self, sink: str, holder: str) -> bool:
        """The slot is free."""
        if sink in self.buckets:
            self.buckets[sink].slots.pop(holder, None)
        self._effect("release")
        return True

    def cut(self, sink: str, retry_after_s: float | None, limit: Limit | None = None) -> bool:
        """Too fast."""
        bucket, now = self.buckets.get(sink), self._clock()
        if bucket is not None:
            bucket.pause = max(bucket.pause, now + (1.0 if retry_after_s is None else retry_after_s))
            if now - bucket.cut_at >= 1.0:
                bucket.factor = max(_FLOOR, bucket.factor / 2)
                bucket.cut_at = bucket.raised_at = now
        self._effect("cut")
        return True

    def learn(
        self, sink: str, limit: Limit, *, remaining: int | None, reset_s: float | None,
        retry_after_s: float | None = None,
    ) -> bool:  # fmt: skip
        """Pause where the sink asks for it. This server says nothing of an allowance."""
        bucket = self.buckets.get(sink)
        if bucket is not None and retry_after_s:
            bucket.pause = max(bucket.pause, self._clock() + retry_after_s)
        self._effect("learn")
        return True
