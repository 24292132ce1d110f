"""The limiter's script on real Redis, on a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import redis

from connector_runner.kernel.ids import new_id
from connector_runner.resilience import limiter as module
from connector_runner.resilience.limiter import Grant, Limit, Limiter
from connector_runner.resilience.pace_memory import Period, Recalled

START_S = 1_800_000_000.0


@dataclass
class Ledger:
    """A memory that outlasts Redis, on the same clock."""

    clock: Any
    pauses: dict[str, float] = field(default_factory=dict)
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    booked: Counter[tuple[str, str]] = field(default_factory=Counter)
    rests: list[float] = field(default_factory=list)

    def recall(self, workspace_id: str, sink: str) -> Recalled:
        now = self.clock()
        rate, since = self.rates.get(sink, (None, now))
        return Recalled(max(self.pauses.get(sink, now) - now, 0.0), rate, now - since)

    def keep(self, workspace_id: str, sink: str, *, pause_s: float, rate: float | None) -> None:
        self.pauses[sink] = max(self.pauses.get(sink, 0.0), self.clock() + pause_s)
        if rate is not None:
            self.rates[sink] = (rate, self.clock())

    def book(
        self, workspace_id: str, sink: str, period: Period, known: int | None, *, block: int, quota: int
    ) -> tuple[int, int]:
        before = self.booked[sink, period.name]
        after = self.booked[sink, period.name] = max(before, min(before + block, quota))
        return before, after

    def rest(self, workspace_id: str, sink: str, wait_s: float) -> None:
        self.rests.append(wait_s)


class Timed:
    """One sink with a limit, whose time is ``now``."""

    def __init__(self, redis_url: str, limit: Limit, ledger: Ledger | None = None) -> None:
        self.now, self.limit, self.sink = START_S, limit, new_id()
        self.client = redis.Redis.from_url(redis_url)
        self.ledger = ledger or Ledger(lambda: self.now)
        self.limiter = Limiter(redis_url, self.ledger)
        self._key = f"clock:{self.sink}"
        text = module._SCRIPT.read_text("ascii")
        moved = text.replace("redis.call('TIME')", f"redis.call('HMGET', '{self._key}', 's', 'us')")
        assert moved != text
        self.limiter._script = self.limiter._redis.register_script(moved)
        self.at(self.now)

    def at(self, now: float) -> None:
        self.now = now
        self.client.hset(self._key, mapping={"s": int(now), "us": int((now - int(now)) * 1_000_000)})

    def ask(self, holder: str = "me", want: int = 1) -> Grant:
        self.at(self.now)
        return self.limiter.acquire(self.sink, self.limit, holder, want)

    def flush(self) -> None:
        self.client.delete(*[f"cr:{{{self.sink}}}:{part}" for part in ("limit", "slots", "count")])
        self.limiter._seen.clear()

    def next_grant(self) -> float:
        """Wait as told until there is one; when that was."""
        while not (grant := self.ask()).granted:
            self.now += max(grant.wait_s, 1e-6)
        return self.now
