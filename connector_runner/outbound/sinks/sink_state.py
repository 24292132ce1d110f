"""Whether a sink may be written to now: switched on, paused, its breaker, its windows; and what changes that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Final, Protocol

from connector_runner.connectors.settings import BreakerSettings
from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.connectors.terms import SinkTerms
from connector_runner.connectors.windows import WindowSettings
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel import exact_json
from connector_runner.outbound.sinks import sink_state_store as store
from connector_runner.resilience.breaker import Breaker, BreakerLimits
from connector_runner.resilience.calendar import Calendar

QUOTA: Final = "quota"
"""The pause of a sink whose allowance is used up, which is no fault of anybody's."""
_SERVER_FAULTS: Final = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class SinkState:
    """Whether a sink may be written to. ``closed`` is the reason why not; ``wait_s`` when to look again.

    Reasons are ``disabled``, ``paused``, ``quota``, ``breaker``, ``window`` and ``maintenance``. ``failures`` are
    faults in a row. ``half_open``: the breaker waits for one request. ``clean``: a success would be no news.
    ``open_s`` is how long the windows are open yet.
    """

    closed: str | None
    wait_s: float
    failures: int
    paused: bool
    half_open: bool = False
    clean: bool = True
    open_s: float = math.inf

    @property
    def mending(self) -> bool:
        """Whether only one request at a time may find out if the sink works again."""
        return self.half_open or self.paused


def state(tx: Tx, workspace_id: str, sink_id: str, terms: SinkTerms | None = None) -> SinkState:
    """The state of a sink now. One that is paused for a time is tried again when that is over.

    ``terms`` only save reading them from the sink's settings. A sink that is closed is left in peace by the sweep
    until it may be open again.
    """
    row = store.pace_row(tx, workspace_id, sink_id)
    if row is None or not row["open"]:
        return SinkState("disabled", 0.0, 0, False)
    breaker, now = _breaker(row), row["now"]
    found = SinkState(
        None,
        0.0,
        breaker.in_a_row,
        row["paused"] is not None,
        breaker.phase(now.timestamp()) == "half_open",
        breaker.clean and row["paused"] is None,
    )
    if row["paused"] and (row["wake_at"] is None or row["wake_at"] > now):
        wait_s = 0.0 if row["wake_at"] is None else (row["wake_at"] - now).total_seconds()
        return replace(found, closed=QUOTA if row["paused"] == QUOTA else "paused", wait_s=wait_s)
    if breaker.phase(now.timestamp()) == "open":
        return replace(found, closed="breaker", wait_s=breaker.wait_s(now.timestamp()))
    calendar = _calendar_of(row, terms)
    if calendar.always_open:
        return found
    if not calendar.is_open(now):
        until = calendar.next_open(now)
        _sleep_until(tx, workspace_id, sink_id, row, until)
        reason = "maintenance" if calendar.in_maintenance(now) else "window"
        return replace(found, closed=reason, wait_s=(until - now).total_seconds())
    closes = calendar.next_close(now)
    return found if closes is None else replace(found, open_s=(closes - now).total_seconds())


def pause(tx: Tx, workspace_id: str, sink_id: str, reason: str, retry_in_s: float | None) -> None:
    """Stop writing to a sink; after ``retry_in_s`` one drain may try again, with None only an operator resumes."""
    store.set_pause(tx, workspace_id, sink_id, reason, retry_in_s)


def fail(tx: Tx, workspace_id: str, sink_id: str, limits: BreakerLimits | None = None) -> float:
    """A request met a fault of the sink. Seconds until the next try; more than a moment when its breaker opened.

    ``limits`` only save reading them from the sink's settings.
    """
    row = store.pace_row(tx, workspace_id, sink_id, lock=True)
    if row is None:
        return BreakerLimits().most_open_s
    limits = limits or _limits_of(row)
    now = row["now"].timestamp()
    after = _breaker(row).failed(now, limits)
    _keep(tx, workspace_id, sink_id, after)
    return max(after.wait_s(now), limits.first_open_s)


def works(tx: Tx, workspace_id: str, sink_id: str) -> bool:
    """The sink answered: a pause is over, lanes refused with it try again, and the breaker learns.

    Whether the next success would be no news.
    """
    row = store.pace_row(tx, workspace_id, sink_id, lock=True)
    if row is None:
        return True
    before = _breaker(row)
    after = before.succeeded(row["now"].timestamp())
    if after != before:
        _keep(tx, workspace_id, sink_id, after)
    if row["paused"] is not None:
        store.end_pause(tx, workspace_id, sink_id)
        store.wake_refused(tx, workspace_id, sink_id)
    return after.clean


def resume(tx: Tx, workspace_id: str, sink_id: str) -> None:
    """An operator says that the sink works: forget faults and pauses, also one that the sink had asked for."""
    _keep(tx, workspace_id, sink_id, Breaker())
    store.end_pause(tx, workspace_id, sink_id)
    store.wake_refused(tx, workspace_id, sink_id)


def sink_fault(reply: Reply) -> bool:
    """Whether a reply speaks against the sink, not against what was sent: not reached, no answer in time, or 5xx."""
    if reply.outcome is Outcome.NOT_SENT:
        return True
    if reply.outcome is not Outcome.UNKNOWN:
        return False
    return server_fault(reply.status)


def server_fault(status: int | None) -> bool:
    """The same of the status of an answer that left open what became of a request; None: no answer came."""
    return status is None or status >= 500 or status in _SERVER_FAULTS


class StateTx(Protocol):
    """The part of a transaction that tells of sinks."""

    def sink_state(self, sink_id: str) -> SinkState:
        """As ``state``."""


class Watch:
    """One worker's knowledge of a sink's state, asked for again once a second, and before each request while mending.

    Without a row to read it still knows when a window closes.
    """

    FRESH_S: Final = 1.0

    def __init__(self, sink_id: str, known: SinkState, clock: Callable[[], float]) -> None:
        """``known`` was asked for just now; ``clock`` measures seconds."""
        self._sink_id, self._clock = sink_id, clock
        self.state = known
        self._good_until = self._until(known)

    def closed(self, tx: StateTx) -> bool:
        """Whether nothing may be begun now; ``state`` says why, and when to come back."""
        if not self.state.mending and self._clock() < self._good_until:
            return False
        self.state = tx.sink_state(self._sink_id)
        self._good_until = self._until(self.state)
        return self.state.closed is not None

    def doubt(self) -> None:
        """A request met a fault: look again before the next one."""
        self.state = replace(self.state, clean=False)
        self._good_until = -math.inf

    def told(self, clean: bool) -> None:
        """The answer of ``works``."""
        self.state = replace(self.state, clean=clean, paused=False, half_open=False)

    def _until(self, known: SinkState) -> float:
        return self._clock() + min(self.FRESH_S, known.open_s)


def _breaker(row: Row) -> Breaker:
    until: datetime | None = row["until"]
    return Breaker(row["failures"], row["recent"], row["opens"], None if until is None else until.timestamp())


def _keep(tx: Tx, workspace_id: str, sink_id: str, breaker: Breaker) -> None:
    store.set_breaker(
        tx,
        workspace_id,
        sink_id,
        failures=breaker.in_a_row,
        recent=breaker.recent,
        opens=breaker.opens,
        until=breaker.until,
    )


def _sleep_until(tx: Tx, workspace_id: str, sink_id: str, row: Row, until: datetime) -> None:
    if row["paused"] is None and row["wake_at"] != until:
        store.set_wake(tx, workspace_id, sink_id, until)


def _calendar_of(row: Row, terms: SinkTerms | None) -> Calendar:
    if terms is not None:
        return terms.calendar
    return _calendar(exact_json.dumps(row["windows"])) if row["windows"] else _ALWAYS


def _limits_of(row: Row) -> BreakerLimits:
    return _limits(exact_json.dumps(row["breaker"])) if row["breaker"] else BreakerLimits()


_ALWAYS: Final = Calendar()


@lru_cache(maxsize=1000)
def _calendar(settings: str) -> Calendar:
    return WindowSettings.model_validate_json(settings).calendar()


@lru_cache(maxsize=1000)
def _limits(settings: str) -> BreakerLimits:
    return BreakerSettings.model_validate_json(settings).limits()
