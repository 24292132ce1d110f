"""Land what was read for deliveries and say what became of each, in one transaction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from connector_runner.connectors import store as sources
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.push import PushEvent
from connector_runner.infra.database import Tx
from connector_runner.intake import full_sync
from connector_runner.intake.landing import Landed
from connector_runner.intake.opening import Deps, origin_of
from connector_runner.intake.push import asking, hearing, push_store
from connector_runner.intake.push.items import Item, Opener
from connector_runner.intake.push.push_store import Push, Turn
from connector_runner.intake.push.reading import Reads, Target
from connector_runner.kernel.errors import BadRecord, RateLimited, RunnerError, TryAgain
from connector_runner.resilience.retry import Backoff

STAGE: Final = "push"
MOST_ATTEMPTS: Final = 12
"""With the pauses between them more than an hour; by then a poll has found what it was about."""
MOST_REFUSALS: Final = 3
MOST_UNKNOWN: Final = 3
"""So often a record is asked for that nobody knows: a server may tell of one before all of it knows it."""
_MOST_PATIENCE: Final = 6
"""Failures after which a source that fails is not left alone for longer: a minute."""
BACKOFF: Final = Backoff(2, 900, floor=0.5)


class Settler:
    """Settles the deliveries of one source's turn."""

    def __init__(self, deps: Deps, source: DataSource, turn: Turn, opener: Opener) -> None:
        self._deps, self._source, self._turn, self._opener = deps, source, turn, opener
        self._origin = origin_of(source)

    def settle(self, tx: Tx, items: Sequence[Item], reads: Reads, now: datetime) -> tuple[Landed, set[str], int]:
        """What landed, which record types are to be polled now, and how many deliveries are done."""
        asked = {target for item in items for target in item.targets}
        landed = self._land(tx, asked, reads, now)
        polls = {resource_type for item in items for resource_type in item.types}
        done: list[Push] = []
        for item in items:
            settled = [(event, key) for event, key in item.wanted if _answered(event, item.push, reads)]
            push_store.remember_events(tx, self._turn, [key for _, key in settled if key is not None], now)
            refused = [reads.refused[target] for target in item.targets if target in reads.refused]
            if len(settled) == len(item.wanted):
                done.append(item.push)
            elif not self._open_still(item, reads) and self._final(item, refused):
                self.give_up(tx, item.push, item.content, refused[0], item.targets, now)
                polls |= {resource_type for resource_type, _ in item.targets}
            else:
                polls |= self._put_off(tx, item, refused[0] if refused else reads.fault or _NOT_KNOWN, now)
            if item.said.kind not in ("handshake", "status"):
                hearing.hear(tx, self._opener.scope, item.said, self._opener.settings, now)
        push_store.settle(tx, self._turn, done, "done", now)
        return landed, polls | self._ask_for_polls(tx, polls, reads, now), len(done)

    def _open_still(self, item: Item, reads: Reads) -> bool:
        """Whether a record was not read for a fault of the source."""
        return any(not reads.settled(target) and target not in reads.refused for target in item.targets)

    def _final(self, item: Item, refused: Sequence[RunnerError]) -> bool:
        if any(isinstance(error, BadRecord) for error in refused):
            return True
        return bool(refused) and item.push.attempts + 1 >= MOST_REFUSALS

    def _put_off(self, tx: Tx, item: Item, error: RunnerError, now: datetime) -> set[str]:
        """Try a delivery again later, or give it up; the record types to poll in its place."""
        counts = not isinstance(error, RateLimited)
        if counts and item.push.attempts + 1 >= MOST_ATTEMPTS:
            self.give_up(tx, item.push, item.content, error, item.targets, now)
            return {resource_type for resource_type, _ in item.targets}
        due_at = now + timedelta(seconds=pause_s(error, item.push.attempts + 1))
        push_store.put_off(tx, self._turn, item.push, due_at=due_at, code=error.code, counts=counts)
        return set()

    def wait_for_source(self, tx: Tx, fault: RunnerError, now: datetime) -> None:
        """Whatever else is due waits as well: it would fail in the same way."""
        health = sources.health(tx, self._turn.workspace_id, self._turn.data_source_id)
        failures = min(health["consecutive_errors"] if health is not None else 1, _MOST_PATIENCE)
        push_store.put_off_others(tx, self._turn, now + timedelta(seconds=pause_s(fault, max(failures, 1))), now)

    def give_up(
        self, tx: Tx, push: Push, content: bytes, error: RunnerError, targets: Sequence[Target], now: datetime
    ) -> None:
        """Put a delivery before a person, with what it was about; it can be replayed."""
        self._deps.quarantine.put(
            tx,
            self._turn.workspace_id,
            stage=STAGE,
            subject=f"{self._turn.data_source_id}:{push.push_id}",
            code=error.code,
            message=error.message,
            place=" ".join(part for part in ("push", error.where) if part),
            data_source_id=self._turn.data_source_id,
            body=content or None,
            context={
                "push_id": push.push_id,
                "received_at": push.received_at.isoformat(),
                "attempts": push.attempts + 1,
                "records": [f"{resource_type}/{record_id}" for resource_type, record_id in targets[:100]],
            },
            now=now,
        )
        push_store.settle(tx, self._turn, [push], "dead", now, code=error.code)

    def failed_inside(self, tx: Tx, push: Push, content: bytes, targets: Sequence[Target], now: datetime) -> None:
        """A delivery could not be opened, or what was read for it not be landed, for a fault of this program."""
        error = BadRecord("it could not be worked off", code="internal_error")
        self.give_up(tx, push, content, error, targets, now)

    def _land(self, tx: Tx, asked: set[Target], reads: Reads, now: datetime) -> Landed:
        """What was found, and of what is gone as much as a day may bring; more waits for a person."""
        found = [record for target, record in reads.found.items() if target in asked]
        landed = Landed()
        if found:
            landed = self._deps.intake.land(tx, self._turn.workspace_id, self._origin, found, now=now, direct=True)
        for resource_type in sorted({kind for kind, record_id in reads.gone if (kind, record_id) in asked}):
            gone = [record for target, record in reads.gone.items() if target in asked and target[0] == resource_type]
            wanted, allowed = full_sync.admissible(tx, self._source, resource_type, gone)
            before = push_store.deletes(tx, self._turn, resource_type, now)
            if before + len(wanted) > allowed:
                allowed = full_sync.allowed_of(tx, self._source, resource_type)
            if before + len(wanted) > allowed:
                full_sync.park(
                    tx, self._deps.quarantine, self._source, resource_type, [record.record_id for record in wanted],
                    how=f"push:{now:%Y-%m-%dT%H:%M:%S.%f}", allowed=allowed, code="too_many_deletes", now=now,
                )  # fmt: skip
            elif wanted:
                landed.add(self._deps.intake.land(tx, self._turn.workspace_id, self._origin, wanted, now=now))
            push_store.count_deletes(tx, self._turn, resource_type, len(wanted), now)
        return landed

    def _ask_for_polls(self, tx: Tx, polls: set[str], reads: Reads, now: datetime) -> set[str]:
        """Make record types due; those whose deletes could not be proved in full."""
        unproved = {resource_type for resource_type, _ in reads.unproved}
        for resource_type in sorted(polls | unproved):
            asking.poll(tx, self._opener.scope, resource_type, now, full=resource_type in unproved)
        return unproved


_NOT_KNOWN: Final = TryAgain("the source does not know the record", code="not_there_yet")


def _answered(event: PushEvent, push: Push, reads: Reads) -> bool:
    if event.record_id is None:
        return True
    target = (event.resource_type, event.record_id)
    return reads.settled(target) and (target not in reads.unknown or push.attempts + 1 >= MOST_UNKNOWN)


def pause_s(error: RunnerError, attempts: int) -> float:
    """How long to leave a delivery alone after so many attempts."""
    stated = error.retry_after_s if isinstance(error, TryAgain) else None
    return BACKOFF.pause_s(attempts, random=random.random, retry_after_s=stated)
