"""The gate of reads: each request waits for its turn in the source's limit, which all workers share.

Reads never hold up a worker: a turn that is not near is answered with when it comes, and the poll goes and comes back.
Of the reads some go behind others, and where reads and writes share one quota all reads go behind the writes. Who has
waited for a whole cadence waits behind nobody, so that none is put off for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from connector_runner.connectors.base import DataSource
from connector_runner.connectors.gate import PACED, Gate
from connector_runner.connectors.rate_headers import pace_of, retry_after_s
from connector_runner.infra.metrics import READ_LIMITER
from connector_runner.intake.read_memory import read_key
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import RateLimited
from connector_runner.kernel.ids import new_id
from connector_runner.resilience.limiter import Limit, Limiter

LONGEST_WAIT_S: Final = 0.5
"""A longer wait for a turn is not sat out."""
LONGEST_PATIENCE_S: Final = 10.0
"""The same of requests that belong together, for what the first ones showed would be lost without the others."""
_SLOT_LOOK_S: Final = 0.05
_SLOT_AGAIN_S: Final = 1.0
"""A slot is given back with the answer, as a rule long before it ends by itself."""
_MARGIN_S: Final = 0.001
_LATE_GRANTS: Final = 5
_SLOT_MARGIN_S: Final = 2.0

InFlight = Callable[[str, str], Sequence[tuple[str, float]]]
"""From workspace and sink to who has a write under way and for how many seconds at most."""


class Turn(Enum):
    """What a request is for: the part of limit and quota that it leaves to those before it."""

    INTERACTIVE = 0.0
    """Somebody waits for it."""
    FRESH = 0.1
    """What changed lately."""
    RECONCILE = 0.25
    """Whether what is known is still true."""
    BACKFILL = 0.5
    """All there is."""


@dataclass(slots=True)
class Patience:
    """How long a request waits for its turn; a run may change it for those that follow."""

    longest_s: float = LONGEST_WAIT_S


@dataclass(frozen=True, slots=True)
class Gates:
    """Makes the gates of sources. ``writes`` is the limiter of sinks, for quotas that reads and writes share."""

    reads: Limiter
    writes: Limiter
    in_flight: InFlight
    clock: Clock = utc_now

    def of(
        self,
        source: DataSource,
        turn: Turn = Turn.INTERACTIVE,
        *,
        waited: float = 0.0,
        patience: Patience | None = None,
    ) -> Gate:
        """The gate of one source for requests of one kind; ``waited``: for how many cadences this one is late."""
        sits = patience or Patience()
        base = limit_of(source)
        behind = turn.value * (1 - min(max(waited, 0.0), 1.0))

        def limit() -> Limit:
            return replace(limit_in_force(base, source, self.clock()), behind=behind)

        if not source.settings.rate.shared:
            key = read_key(source.data_source_id)
            return ReadGate(self.reads, key, source.name, limit, clock=self.clock, patience=sits)
        workspace_id, sink_id = source.workspace_id, source.data_source_id

        def holders() -> Sequence[tuple[str, float]]:
            return self.in_flight(workspace_id, sink_id)

        return ReadGate(self.writes, sink_id, source.name, limit, in_flight=holders, clock=self.clock, patience=sits)


class ReadGate:
    """The gate of one opened source; may be shared between threads, each of which has a request under way."""

    def __init__(
        self,
        limiter: Limiter,
        key: str,
        name: str,
        limit: Callable[[], Limit],
        *,
        in_flight: Callable[[], Sequence[tuple[str, float]]] = tuple,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        patience: Patience | None = None,
    ) -> None:
        """``limit`` is asked before each request, for it may depend on the hour; so is ``patience``."""
        self._limiter, self._key, self._name, self._limit = limiter, key, name, limit
        self._in_flight, self._clock, self._sleep = in_flight, clock, sleep
        self._patience = patience or Patience()
        self._holder = new_id()

    def __call__(self, cost: int = 1) -> None:
        """Wait a short time for the turn of ``cost`` requests; raises RateLimited (``read_paced``) where it is long."""
        for _ in range(cost):
            self._turn()

    def _turn(self) -> None:
        waited_s, late = 0.0, 0
        while True:
            limit = self._limit()
            grant = self._limiter.acquire(self._key, limit, self._mine(), in_flight=self._in_flight)
            READ_LIMITER.labels(source=self._name, reason=grant.reason).inc()
            if grant.granted:
                if time.monotonic() <= grant.use_by:
                    return
                # Too long on its way: to send on it now would be to send beside the next one.
                self._limiter.refund(self._key, limit, age_s=time.monotonic() - grant.use_by + limit.jitter_s)
                late += 1
                if late >= _LATE_GRANTS:
                    self._refuse("late", _SLOT_AGAIN_S)
                continue
            full = grant.reason == "slots"
            pause_s = min(grant.wait_s, _SLOT_LOOK_S) if full else grant.wait_s + _MARGIN_S
            if grant.reason == "closed" or waited_s + pause_s > self._patience.longest_s:
                self._refuse(grant.reason, min(grant.wait_s, _SLOT_AGAIN_S) if full else grant.wait_s)
            self._sleep(pause_s)
            waited_s += pause_s

    def _refuse(self, reason: str, wait_s: float) -> None:
        self._limiter.release(self._key, self._mine())
        raise RateLimited(
            f"it is not yet the turn of a request to this source ({reason})",
            code=PACED,
            where=self._name,
            retry_after_s=max(wait_s, _MARGIN_S),
        )

    def heard(self, status: int | None, headers: Mapping[str, str] | None = None) -> None:
        """Give the slot back, and learn from what the answer says of the source's own allowance."""
        self._limiter.release(self._key, self._mine())
        if status is None or headers is None:
            return
        now = self._clock()
        stated = retry_after_s(headers, now)
        if status == 429:
            self._limiter.cut(self._key, stated, self._limit())
            return
        pace = pace_of(headers, now)
        if pace is None and (status != 503 or stated is None):
            return
        remaining, reset_s = (None, None) if pace is None else (pace.remaining, pace.reset_s)
        pause_s = stated if status == 503 else None
        self._limiter.learn(self._key, self._limit(), remaining=remaining, reset_s=reset_s, retry_after_s=pause_s)

    def _mine(self) -> str:
        return f"{self._holder}.{threading.get_ident()}"


def limit_of(source: DataSource) -> Limit:
    """What a source takes in the hours of which nothing is said; of a shared quota what the sink's rate says."""
    settings = source.settings
    timeout_s = float(getattr(settings, "request_timeout_s", 15.0)) + _SLOT_MARGIN_S
    rate = settings.rate
    if not rate.shared or settings.sink is None:
        return Limit(
            rate.per_second,
            rate.burst,
            rate.concurrency,
            timeout_s,
            rate.per_day,
            rate.per_minute_fixed,
            rate.calendar(),
            source.workspace_id,
        )
    both = settings.sink.rate
    return Limit(
        both.per_second,
        both.burst,
        both.concurrency,
        timeout_s,
        both.per_day,
        both.per_minute_fixed,
        settings.sink.windows.calendar(),
        source.workspace_id,
    )


def limit_in_force(base: Limit, source: DataSource, now: datetime) -> Limit:
    """``base`` as the hours of ``now`` have it; never more than a quota that others use too."""
    hours = source.settings.rate.at(now)
    if hours is None:
        return base
    return replace(
        base,
        per_second=min(hours.per_second, base.per_second) if source.settings.rate.shared else hours.per_second,
        concurrency=min(hours.concurrency or base.concurrency, base.concurrency),
    )
