"""Lanes in memory: the same verbs as the SQL store, held to the same contract (tests/contract/test_lane_store.py).

Transactions do not overlap: whoever opens one ends it before anybody else's begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

from connector_runner.connectors.sinks import Json, Reply
from connector_runner.kernel.errors import BadRecord, Conflict
from connector_runner.outbound.lanes.intents import Confirmed, Intent
from connector_runner.outbound.lanes.lane import ALONE, DEPENDENCY, Lane, State, Withheld, client_ref, lane_id, legal
from tests.simulation.memory_sinks import SinkVerbs
from tests.simulation.tables import LaneRow, Logged, OpenIntent, Tables

T = TypeVar("T")

_RESTS = (State.WAITING, State.IDLE)


class MemoryLaneStore:
    """Opens transactions. ``clock``: seconds, on any one clock."""

    def __init__(self, workspace_id: str, clock: Callable[[], float]) -> None:
        self.workspace_id, self.clock = workspace_id, clock
        self.tables = Tables()
        self._open = False

    @contextmanager
    def begin(self) -> Iterator[MemoryLaneTx]:
        """A transaction."""
        if self._open:
            raise RuntimeError("a transaction began within another: somebody made a call inside one")
        self._open = True
        try:
            tx = MemoryLaneTx(self)
            yield tx
            self.tables = tx.tables()
        finally:
            self._open = False

    def retrying(self, work: Callable[[Any], T]) -> T:
        """Nobody is ever quicker here."""
        with self.begin() as tx:
            return work(tx)


class MemoryLaneTx(SinkVerbs):
    """The verbs, on a copy that is kept when it is committed."""

    def __init__(self, of: MemoryLaneStore) -> None:
        self.of, before = of, of.tables
        super().__init__(dict(before.lanes), dict(before.sinks), of.clock())
        self.intents, self.refers = dict(before.intents), dict(before.refers)
        self.log = before.log

    def tables(self) -> Tables:
        """What is to be committed."""
        return Tables(self.lanes, self.intents, self.log, self.sinks, self.refers)

    def want(
        self,
        sink_id: str,
        entity_id: str,
        *,
        state: State = State.READY,
        prio: int = 20,
        delay_s: float = 0.0,
        sink_ref: str | None = None,
        about: str | None = None,
    ) -> State:
        """As release does: bring a lane to ``state`` unless something is under way there.

        ``about``: the entity that it refers to.
        """
        key = lane_id(sink_id, entity_id)
        if about is not None:
            self.refers[entity_id] = about
        row = self.lanes.get(key)
        if row is None:
            lane = Lane(
                self.of.workspace_id, sink_id, key, entity_id, "appointment" if about else "patient", state, 0, 0,
                client_ref(sink_id, entity_id),
                1, 0, None, None, sink_ref, None, None, None,
            )  # fmt: skip
            self.lanes[key] = LaneRow(lane, prio, self.now + delay_s)
            return state
        lane = replace(row.lane, desired_revision=row.lane.desired_revision + 1)
        if lane.state in (State.IDLE, State.READY, State.WAITING):
            prio = min(row.prio, prio) if lane.state is State.READY else prio
            lane = replace(lane, state=state, reason=None, sink_ref=lane.sink_ref or sink_ref)
            row = replace(row, due_at=self.now + delay_s, prio=prio)
        self.lanes[key] = replace(row, lane=lane)
        return lane.state

    def claim(self, sink_id: str, *, owner: str, lease_s: float) -> Lane | None:
        """Unknown ones first, then by priority."""
        due = [row for row in self.lanes.values() if row.lane.sink_id == sink_id and row.due_at <= self.now]
        unknown = [row for row in due if row.lane.state is State.UNKNOWN]
        ready = [row for row in due if row.lane.state in (State.READY, State.WAITING)]
        if unknown:
            row = min(unknown, key=lambda row: row.due_at)
        elif ready:
            row = min(ready, key=lambda row: (row.prio, row.due_at))
        else:
            return None
        return self._lease(row, owner, lease_s)

    def claim_more(self, sink_id: str, *, owner: str, lease_s: float, limit: int) -> list[Lane]:
        """By priority."""
        due = [
            row
            for row in self.lanes.values()
            if row.lane.sink_id == sink_id and row.due_at <= self.now and row.lane.state in (State.READY, State.WAITING)
        ]
        chosen = sorted(due, key=lambda row: (row.prio, row.due_at))[:limit]
        return sorted((self._lease(row, owner, lease_s) for row in chosen), key=lambda lane: lane.lane_id)

    def _lease(self, row: LaneRow, owner: str, lease_s: float) -> Lane:
        lane = replace(
            row.lane, state=State.LEASED, fence=row.lane.fence + 1, attempts=row.lane.attempts + 1, owner=owner
        )
        self.lanes[lane.lane_id] = replace(row, lane=lane, lease_until=self.now + lease_s)
        return replace(lane, open_intent=lane.lane_id in self.intents, last_sent=cast(Any, row.confirmed))

    def join(
        self, sink_id: str, entity_ids: Sequence[str], *, referring: bool, owner: str, lease_s: float, limit: int
    ) -> list[Lane]:
        """Of these that have no record yet, or of those that refer to them."""
        free = [row for row in self.lanes.values() if row.lane.sink_id == sink_id and self._free(row)]
        if referring:
            found = [row for row in free if self.refers.get(row.lane.entity_id) in entity_ids]
        else:
            found = [row for row in free if row.lane.entity_id in entity_ids and row.lane.sink_ref is None]
        chosen = sorted(found, key=lambda row: (row.prio, row.due_at))[:limit]
        return sorted((self._lease(row, owner, lease_s) for row in chosen), key=lambda lane: lane.lane_id)

    def _free(self, row: LaneRow) -> bool:
        due = row.lane.state is State.READY and row.due_at <= self.now
        waits = row.lane.state is State.WAITING and row.lane.reason == DEPENDENCY
        return (due or waits) and row.lane.reason not in ALONE and row.lane.lane_id not in self.intents

    def wake(self, sink_id: str, entity_id: str) -> int:
        """Lanes that wait for an entity which is there now, or may have been planned without it."""
        woken = [row for row in self.lanes.values() if row.lane.sink_id == sink_id and self._misses(row, entity_id)]
        for row in woken:
            rests = row.lane.state in _RESTS
            state = State.READY if rests else row.lane.state
            lane = replace(row.lane, state=state, desired_revision=row.lane.desired_revision + 1)
            self.lanes[lane.lane_id] = replace(row, lane=lane, due_at=self.now if rests else row.due_at)
        return len(woken)

    def _misses(self, row: LaneRow, entity_id: str) -> bool:
        misses = row.lane.state not in _RESTS or row.lane.reason == DEPENDENCY
        return self.refers.get(row.lane.entity_id) == entity_id and misses

    def place(self, sink_id: str, entity_id: str) -> str | None:
        """Where the sink has an entity's record."""
        row = self.lanes.get(lane_id(sink_id, entity_id))
        return row.lane.sink_ref if row is not None else None

    def known(self, lane: Lane) -> Confirmed | None:
        """What the sink was known to hold when the lane was claimed."""
        return cast("Confirmed | None", lane.last_sent)

    def lock(self, lane: Lane) -> bool:
        """Whether the claim is still ours."""
        return self._ours(lane) is not None

    def lock_all(self, lanes: Sequence[Lane]) -> set[str]:
        """Those that are still ours."""
        return {lane.lane_id for lane in lanes if self.lock(lane)}

    def extend_all(self, lanes: Sequence[Lane], lease_s: float) -> set[str]:
        """From now."""
        return {lane.lane_id for lane in lanes if self.extend(lane, lease_s)}

    def extend(self, lane: Lane, lease_s: float) -> bool:
        """From now."""
        row = self._ours(lane)
        if row is not None:
            self.lanes[lane.lane_id] = replace(row, lease_until=self.now + lease_s)
        return row is not None

    def give_back(
        self,
        lane: Lane,
        to: State,
        *,
        reason: str | None,
        detail: str | None = None,
        delay_s: float = 0.0,
        counts: bool = True,
        status: int | None = None,
        withheld: Sequence[Withheld] | None = None,
        forget_version: bool = False,
    ) -> bool:
        """End the claim."""
        if not legal(State.LEASED, to):
            raise ValueError(f"a lane never moves from leased to {to}")
        row = self._ours(lane)
        if row is None:
            return False
        more = row.lane.desired_revision > lane.desired_revision
        state = State.READY if to is State.IDLE and more else to
        attempts = row.lane.attempts if counts else max(row.lane.attempts - 1, 0)
        held = replace(
            row.lane,
            state=state,
            reason=reason,
            attempts=0 if to is State.IDLE else attempts,
            sink_etag=None if forget_version else row.lane.sink_etag,
            owner=None,
        )
        self.lanes[lane.lane_id] = replace(
            row, lane=held, detail=detail, due_at=self.now + delay_s, lease_until=None,
            last_status=status or row.last_status,
        )  # fmt: skip
        return True

    def confirm(
        self,
        lane: Lane,
        *,
        reason: str,
        synced_hash: bytes | None,
        revision: int,
        confirmed: Confirmed | None,
        sink_ref: str | None,
        sink_etag: str | None,
        status: int | None,
        again: bool = False,
        withheld: Sequence[Withheld] | None = None,
        seen: Json | None = None,
        closing: str | None = None,
        locked: bool = False,
    ) -> bool:
        """End the claim: it is there."""
        row = self._ours(lane)
        if row is None:
            return False
        if seen is not None:
            known = row.confirmed
            confirmed = Confirmed(seen, known.atoms, known.created_by_us) if known else Confirmed(seen, (), False)
        more = again or row.lane.desired_revision > revision
        held = replace(
            row.lane,
            state=State.READY if more else State.IDLE,
            reason=reason,
            attempts=0,
            synced_hash=synced_hash,
            synced_revision=revision,
            sink_ref=sink_ref or row.lane.sink_ref,
            sink_etag=sink_etag,
            owner=None,
        )
        self.lanes[lane.lane_id] = replace(
            row, lane=held, detail=None, due_at=self.now, lease_until=None, confirmed=confirmed or row.confirmed,
            last_status=status or row.last_status,
        )  # fmt: skip
        if closing is not None:
            self.close_intent(lane, closing)
        return True

    def open_intent(self, lane: Lane, intent: Intent, quiet_s: float) -> None:
        """One at most on each lane."""
        if lane.lane_id in self.intents:
            raise Conflict("another transaction wrote the same row first", code="concurrent_write")
        self.intents[lane.lane_id] = OpenIntent(intent, self.now + quiet_s)
        self._log(lane, intent.intent_id, "intent", None)

    def close_intent(self, lane: Lane, intent_id: str) -> bool:
        """False when it was closed before."""
        found = self.intents.get(lane.lane_id)
        if found is None or found.intent.intent_id != intent_id:
            return False
        del self.intents[lane.lane_id]
        return True

    def resolve_later(self, lane: Lane, intent_id: str, quiet_s: float) -> None:
        """From now."""
        found = self.intents.get(lane.lane_id)
        if found is not None and found.intent.intent_id == intent_id:
            self.intents[lane.lane_id] = replace(found, resolve_after=self.now + quiet_s)

    def find_intent(self, lane: Lane) -> tuple[Intent, float] | None:
        """The open one."""
        found = self.intents.get(lane.lane_id)
        if found is None:
            return None
        if not any(entry.intent_id == found.intent.intent_id and entry.phase == "intent" for entry in self.log):
            raise BadRecord("an open intent has no entry in the write log", code="write_log", where=lane.lane_id)
        return found.intent, max(found.resolve_after - self.now, 0.0)

    def answered(self, lane: Lane, intent_id: str) -> list[tuple[int | None, str]]:
        """As the log says."""
        return [(e.status, e.code) for e in self.log if e.intent_id == intent_id and e.outcome == "unknown"]

    def log_outcome(self, lane: Lane, intent: Intent, outcome: str, reply: Reply | None, code: str) -> None:
        """Whoever's claim it is."""
        self._log(lane, intent.intent_id, "outcome", outcome, reply.status if reply else None, code)

    def more_desired(self, lane: Lane) -> bool:
        """More is desired by now."""
        row = self._ours(lane)
        return row is not None and row.lane.desired_revision > lane.desired_revision

    def set_aside(
        self, lane: Lane, code: str, message: str, *, sink: str, body: Json | None = None, status: int | None = None
    ) -> bool:
        """Quarantined."""
        return self.give_back(lane, State.QUARANTINED, reason=code, detail=message, status=status)

    def settled(self, lane: Lane) -> None:
        """Nothing is kept of what was put aside."""

    def others_landed(self, lane: Lane, within_s: float) -> bool:
        """As the log says."""
        return any(
            entry.outcome == "landed" and entry.lane_id != lane.lane_id and entry.at > self.now - within_s
            for entry in self.log
        )

    def in_flight(self, sink_id: str) -> list[tuple[str, float]]:
        """Holders of leases."""
        return [
            (row.lane.owner or "", row.lease_until - self.now)
            for row in self.lanes.values()
            if row.lane.sink_id == sink_id and row.lane.state is State.LEASED and (row.lease_until or 0) > self.now
        ]

    def due_count(self, sink_id: str, limit: int) -> int:
        """Due now."""
        due = (State.READY, State.WAITING, State.UNKNOWN)
        lanes = [row for row in self.lanes.values() if row.lane.sink_id == sink_id and row.due_at <= self.now]
        return min(sum(row.lane.state in due for row in lanes), limit)

    def reap(self, limit: int) -> int:
        """Leases that are over."""
        ended = [
            row
            for row in self.lanes.values()
            if row.lane.state is State.LEASED and row.lease_until is not None and row.lease_until < self.now
        ][:limit]
        for row in ended:
            found = self.intents.get(row.lane.lane_id)
            lane = replace(
                row.lane,
                state=State.READY if found is None else State.UNKNOWN,
                reason="lease_expired" if found is None else "unknown",
                owner=None,
            )
            due_at = self.now if found is None else found.resolve_after
            self.lanes[lane.lane_id] = replace(row, lane=lane, due_at=due_at, lease_until=None)
        return len(ended)

    def states(self) -> list[State]:
        """Of every lane."""
        return [row.lane.state for row in self.lanes.values()]

    def state_of(self, sink_id: str, entity_id: str) -> State:
        """Of one lane."""
        return self.lanes[lane_id(sink_id, entity_id)].lane.state

    def open_intents(self) -> int:
        """How many."""
        return len(self.intents)

    def replay(self) -> int:
        """As an operator does: whatever is quarantined starts anew, or is read back where an intent is open."""
        stuck = [row for row in self.lanes.values() if row.lane.state is State.QUARANTINED]
        for row in stuck:
            state = State.UNKNOWN if row.lane.lane_id in self.intents else State.READY
            lane = replace(row.lane, state=state, attempts=0, reason=None)
            self.lanes[lane.lane_id] = replace(row, lane=lane, due_at=self.now)
        return len(stuck)

    def _ours(self, lane: Lane) -> LaneRow | None:
        row = self.lanes.get(lane.lane_id)
        if row is None or row.lane.fence != lane.fence or row.lane.state is not State.LEASED:
            return None
        return row

    def _log(
        self, lane: Lane, intent_id: str, phase: str, outcome: str | None, status: int | None = None, code: str = ""
    ) -> None:
        self.log = (*self.log, Logged(lane.lane_id, intent_id, phase, outcome, self.now, status, code))
