"""Work off what was pushed for one source: read each record that is named in full, and land it as a direct read.

One worker at a time has a source's turn, so that two reads of a record never overtake each other. No transaction is
open while the source is asked. What was read and what is settled commit together; a worker that dies leaves the
deliveries as they were, and to read a record once more changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.intake import schedule
from connector_runner.intake.landing import Landed
from connector_runner.intake.opening import Deps, open_source
from connector_runner.intake.push import push_store
from connector_runner.intake.push.items import Item, Opener, Unreadable
from connector_runner.intake.push.proving import Prover
from connector_runner.intake.push.push_store import Turn
from connector_runner.intake.push.reading import Reads, read_all
from connector_runner.intake.push.settling import Settler
from connector_runner.kernel.errors import Conflict, RateLimited, RunnerError

BATCH: Final = 32
_LAND_ATTEMPTS: Final = 3

Status = Literal["done", "more", "busy", "off", "failed"]
log = get_logger(__name__)


@dataclass(slots=True)
class Worked:
    """What one slice did. ``polls`` are record types that are to be polled now; ``code`` why the source failed.

    ``busy``: another worker has the turn. ``off``: nothing is pushed for this source.
    """

    status: Status = "done"
    landed: Landed = field(default_factory=Landed)
    pushes: int = 0
    polls: set[str] = field(default_factory=set)
    code: str | None = None

    @property
    def more(self) -> bool:
        """Whether another slice should follow at once."""
        return self.status == "more"

    def __bool__(self) -> bool:
        """Whether anything landed that others may want to know of."""
        return self.landed.events_created + self.landed.events_updated > 0


class _TurnLost(Exception):
    """Rolls the transaction back: another worker has this source's turn."""


def work_off(
    deps: Deps, workspace_id: str, data_source_id: str, *, owner: str, now: datetime, slice_s: float = 5
) -> Worked:
    """Take the source's turn and work its deliveries off for about ``slice_s`` seconds.

    A failure of the source is not raised: it is noted in its health, and the deliveries wait. Raises Unavailable
    when Postgres cannot be used, Misconfigured for settings that cannot be read, and what is a fault of this program.
    """
    with deps.database.begin(workspace_id) as tx:
        if not push_store.any_due(tx, workspace_id, data_source_id, now):
            return Worked()
        source = directory.load(tx, workspace_id, data_source_id)
        if not source.enabled or source.settings.push is None:
            return Worked("off")
        lease_s = schedule.lease_s(getattr(source.settings, "request_timeout_s", 0.0))
        turn = push_store.take_turn(
            tx, workspace_id, data_source_id, owner=owner, now=now, lease_until=now + timedelta(seconds=lease_s)
        )
    if turn is None:
        return Worked("busy")
    work = _Work(deps, source, turn, now, lease_s)
    try:
        work.go(slice_s)
    except _TurnLost:
        work.outcome.status = "busy"
    return work.outcome


class _Work:
    """One slice of one source's turn."""

    def __init__(self, deps: Deps, source: DataSource, turn: Turn, now: datetime, lease_s: float) -> None:
        self.deps, self.source, self.turn = deps, source, turn
        self.outcome = Worked()
        self._started, self._clock, self._lease_s = now, time.monotonic(), lease_s
        self._opener = Opener(source, deps.sealer)
        self._settler = Settler(deps, source, turn, self._opener)

    @property
    def now(self) -> datetime:
        """The instant at which the slice began, plus what has passed since."""
        return self._started + timedelta(seconds=time.monotonic() - self._clock)

    def go(self, slice_s: float) -> None:
        """Batch after batch, until nothing is due, the source fails, or the slice is over."""
        fault: RunnerError | None = None
        try:
            reader = open_source(self.deps, self.source)
            prover = Prover(self.deps, self.source, reader, self.alive)
            while fault is None and (items := self._next()) is not None:
                targets = list(dict.fromkeys(target for item in items for target in item.targets))
                reads = read_all(reader, targets, at_once=self._opener.settings.concurrency, alive=self.alive)
                prover.prove(reads)
                self._finish(items, reads)
                fault = reads.fault
                if time.monotonic() - self._clock >= slice_s:
                    self.outcome.status = "more"
                    break
        except RunnerError as error:
            if error.code == "database_unavailable":
                raise
            fault = error
        self._end(fault)

    def alive(self) -> None:
        """Extend the lease; raises when it is lost."""
        with self.deps.database.begin(self.turn.workspace_id) as tx:
            self._hold(tx)

    def _hold(self, tx: Tx) -> None:
        if not push_store.hold(tx, self.turn, self.now + timedelta(seconds=self._lease_s)):
            raise _TurnLost

    def _next(self) -> list[Item] | None:
        """The deliveries that are due next; None when there is none.

        When that fails inside this program only the first of them is opened, or given up: one holds up no other.
        """
        try:
            return self._in_transaction(lambda tx: self._open(tx, BATCH))
        except (RunnerError, _TurnLost):
            raise
        except Exception as error:
            log.error("push.internal_error", data_source_id=self.turn.data_source_id, exc_info=error)
        try:
            return self._in_transaction(lambda tx: self._open(tx, 1))
        except (RunnerError, _TurnLost):
            raise
        except Exception:
            return self._in_transaction(self._give_up_first)

    def _open(self, tx: Tx, most: int) -> list[Item] | None:
        self._hold(tx)
        batch = push_store.due(tx, self.turn, self.now, most)
        found = self._opener.open(tx, self.turn, batch)
        for one in found:
            if isinstance(one, Unreadable):
                self._settler.give_up(tx, one.push, one.content, one.error, [], self.now)
        return [one for one in found if isinstance(one, Item)] if batch else None

    def _give_up_first(self, tx: Tx) -> list[Item]:
        self._hold(tx)
        for push in push_store.due(tx, self.turn, self.now, 1):
            self._settler.failed_inside(tx, push, self._opener.content(tx, push), [], self.now)
        return []

    def _in_transaction(self, work: Callable[[Tx], list[Item] | None]) -> list[Item] | None:
        return self.deps.database.retrying(self.turn.workspace_id, work, attempts=_LAND_ATTEMPTS)

    def _finish(self, items: Sequence[Item], reads: Reads) -> None:
        """Land and settle a batch; when that fails inside this program, each by itself: one holds up no other."""
        try:
            self._commit(items, reads)
        except (RunnerError, _TurnLost):
            raise
        except Exception as error:
            if len(items) == 1:
                log.error("push.internal_error", data_source_id=self.turn.data_source_id, exc_info=error)
                with self.deps.database.begin(self.turn.workspace_id) as tx:
                    self._hold(tx)
                    one = items[0]
                    self._settler.failed_inside(tx, one.push, one.content, one.targets, self.now)
                return
            for item in items:
                self._finish([item], reads)

    def _commit(self, items: Sequence[Item], reads: Reads) -> None:
        for attempt in range(_LAND_ATTEMPTS):
            try:
                with self.deps.database.begin(self.turn.workspace_id) as tx:
                    self._hold(tx)
                    landed, polls, settled = self._settler.settle(tx, items, reads, self.now)
            except Conflict:
                if attempt == _LAND_ATTEMPTS - 1:
                    raise
                continue
            self.outcome.landed.add(landed)
            self.outcome.polls |= polls
            self.outcome.pushes += settled
            return

    def _end(self, fault: RunnerError | None) -> None:
        """Give the turn back; a source that could not be read is left alone for a while."""
        with self.deps.database.begin(self.turn.workspace_id) as tx:
            self._hold(tx)
            if fault is not None:
                self.outcome.status, self.outcome.code = "failed", fault.code
                if not isinstance(fault, RateLimited):
                    directory.record_error(tx, self.turn, fault.code, str(fault), self.now)
                self._settler.wait_for_source(tx, fault, self.now)
            elif self.turn.failing is not None and self.outcome.pushes:
                directory.record_ok(tx, self.turn, self.now)
            kept = self.turn.failing if fault is None and not self.outcome.pushes else None
            if not push_store.end_turn(tx, self.turn, fault.code if fault is not None else kept):
                raise _TurnLost
            # A hint that came while we had the turn did nothing, and what it told of may have come after our last look.
            if fault is None and push_store.any_due(tx, self.turn.workspace_id, self.turn.data_source_id, self.now):
                self.outcome.status = "more"


def overdue(tx: Tx, now: datetime, limit: int = 500) -> list[tuple[str, str]]:
    """In a sweep: workspace and id of sources whose deliveries are due and in nobody's hands."""
    return push_store.sources_due(tx, now, limit)
