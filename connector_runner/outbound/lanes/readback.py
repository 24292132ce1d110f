"""Unknown outcomes: after the quiet period, look whether the write landed. Never send blindly again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from connector_runner.connectors.sinks import (
    NO_ID,
    NOT_SEARCHABLE,
    OTHER_RECORD,
    POSSIBLE_DUPLICATE,
    FindsCreated,
    Outcome,
    Reply,
    Sink,
)
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound.lanes.intents import CREATE, Intent
from connector_runner.outbound.lanes.lane import MAX_ATTEMPTS, Lane, State, backoff_s
from connector_runner.outbound.lanes.outcomes import AT_ONCE, CONFLICT, Settled, Settler, heed
from connector_runner.outbound.ports import Desk, LaneStore, LaneTx
from connector_runner.outbound.sinks.pacing import Pacer
from connector_runner.outbound.sinks.sink_state import server_fault, sink_fault

_CREATED: Final = 201
_NOT_SHOWN: Final = "the sink answered that it made a record, and does not show it under our identity"
_UNTELLABLE: Final = frozenset({Outcome.REFUSED, Outcome.QUOTA, Outcome.NOT_SENT, Outcome.AUTH})


class ReadBack:
    """Resolves the unknown lanes of one sink."""

    def __init__(
        self, store: LaneStore, desk: Desk, sink: Sink, settler: Settler, chance: random.Random, quiet_s: float
    ) -> None:
        self._store, self._desk, self._sink, self._settler, self._chance = store, desk, sink, settler, chance
        self._quiet_s = quiet_s

    def resolve(self, lane: Lane, pacer: Pacer) -> Settled:
        """Settle the intent that is open on a claimed lane."""
        with self._store.begin() as tx:
            try:
                found = tx.find_intent(lane)
            except BadRecord as exc:
                return self._settler.quarantine(tx, lane, exc.code, exc.message)
            if found is None:
                tx.give_back(lane, State.READY, reason=None, counts=False)
                return Settled("absent")
            intent, too_early = found
            if too_early > 0:
                tx.give_back(lane, State.UNKNOWN, reason="unknown", delay_s=too_early, counts=False)
                return Settled("unknown")
        if not pacer.take():
            self._again(lane, pacer.wait_s, counts=False)
            return Settled("limiter", stop=True)
        pacer.use()
        reply = self._look(lane, intent)
        heed(pacer, reply)
        return self._settle(lane, intent, reply)

    def _look(self, lane: Lane, intent: Intent) -> Reply:
        if intent.operation == CREATE and isinstance(self._sink, FindsCreated):
            return self._sink.find_created(intent.body, lane.client_ref)
        if intent.operation == CREATE:
            return self._sink.find(intent.resource_type, lane.client_ref)
        return self._sink.read(intent.target or "")

    def _settle(self, lane: Lane, intent: Intent, reply: Reply) -> Settled:
        if reply.outcome is Outcome.LANDED and reply.body is not None:
            # Still the version that was to be replaced: nothing landed, whatever the resource says.
            untouched = intent.operation != CREATE and intent.precondition and reply.etag == intent.precondition
            if untouched and lane.reason == CONFLICT:
                return self._behind(lane, intent)
            if not untouched and (intent.operation == CREATE or self._desk.carries(reply.body, intent)):
                return self._settler.landed(lane, intent, reply, code="read_back", looked_up=True)
        elif reply.outcome is Outcome.ABSENT and intent.operation != CREATE and lane.reason == CONFLICT:
            return self._behind(lane, intent)
        elif reply.outcome is Outcome.UNKNOWN or reply.outcome is Outcome.LANDED:
            faulted = sink_fault(reply)
            if lane.attempts >= MAX_ATTEMPTS and not faulted:
                return self._store.retrying(lambda tx: self._given_up(tx, lane, reply))
            # A sink that is out of order leaves the write an attempt, if it is to go again in the end.
            counts = lane.attempts < MAX_ATTEMPTS - 1 or not faulted
            self._again(lane, backoff_s(lane.attempts, self._chance), counts=counts, reply=reply)
            return Settled("unknown")
        return self._store.retrying(lambda tx: self._not_there(tx, lane, intent, reply))

    def _given_up(self, tx: LaneTx, lane: Lane, reply: Reply) -> Settled:
        """The sink answers, and what it says of this record is of no use. The intent stays: a replay looks again."""
        message = "whether it landed cannot be told from what the sink answers"
        return self._settler.quarantine(tx, lane, reply.code or "unreadable", message, reply=reply)

    def _behind(self, lane: Lane, intent: Intent) -> Settled:
        """The sink has said that there is a later version, so this read came from a copy that lags."""
        with self._store.begin() as tx:
            tx.resolve_later(lane, intent.intent_id, self._quiet_s)
            tx.give_back(lane, State.UNKNOWN, reason="unknown", detail=CONFLICT, delay_s=self._quiet_s, counts=False)
        return Settled("unknown")

    def _not_there(self, tx: LaneTx, lane: Lane, intent: Intent, reply: Reply) -> Settled:
        if reply.outcome in _UNTELLABLE:
            return self._settler.held_up(tx, lane, reply, State.UNKNOWN)
        tx.log_outcome(lane, intent, "absent", reply, reply.code or "read_back")
        if not tx.lock(lane):
            return Settled("fence_lost")
        tx.close_intent(lane, intent.intent_id)
        refusal = _refusal(intent, reply)
        if refusal is None and reply.cause != NOT_SEARCHABLE and self._said_made(tx, lane, intent):
            return self._settler.quarantine(tx, lane, POSSIBLE_DUPLICATE, _NOT_SHOWN, reply=reply)
        if refusal is not None:
            return self._settler.quarantine(tx, lane, reply.code or str(reply.outcome), refusal, reply=reply)
        statuses = [status for status, _ in tx.answered(lane, intent.intent_id)]
        # Where no answer came, the quiet period was all there is to wait for, unless that goes on and on.
        at_once = lane.attempts <= AT_ONCE and all(status is None for status in statuses)
        return self._settler.retry(
            tx,
            lane,
            "absent",
            "read_back",
            delay_s=0.0 if at_once else None,
            # Under an id of the sink's choosing it may be there and not be found: each further create may be one more.
            faulted=(intent.operation != CREATE or intent.body.get("id") == lane.client_ref)
            and any(server_fault(status) for status in statuses),
        )

    def _said_made(self, tx: LaneTx, lane: Lane, intent: Intent) -> bool:
        return _made(tx.answered(lane, intent.intent_id), our_id=intent.body.get("id") == lane.client_ref)

    def _again(self, lane: Lane, delay_s: float, *, counts: bool, reply: Reply | None = None) -> None:
        with self._store.begin() as tx:
            if reply is not None:
                self._settler.faulted(tx, reply)
            tx.give_back(lane, State.UNKNOWN, reason="unknown", delay_s=delay_s, counts=counts)


def _refusal(intent: Intent, reply: Reply) -> str | None:
    """Why this is a case for a person; None where sending again is right."""
    if reply.outcome is Outcome.ABSENT and intent.operation == CREATE:
        return None
    if reply.code == POSSIBLE_DUPLICATE:
        return f"may be the same as {reply.ref} of the sink"
    return {
        Outcome.GONE: "the resource was deleted in the sink",
        Outcome.ABSENT: "the resource is no longer in the sink",
        Outcome.DUPLICATES: "more than one resource of the sink carries our identifier",
        Outcome.POISON: "the sink refuses to be asked for this",
        Outcome.FORBIDDEN: "a policy of the sink refuses this record to us",
    }.get(reply.outcome)


def _made(answers: Sequence[tuple[int | None, str]], *, our_id: bool) -> bool:
    """Whether a sink said that it made something, if not what: sending again might make another.

    ``our_id``: it is made at an id of ours, so a repeat makes none, unless the sink named another.
    """
    return any(
        status is not None
        and status // 100 == 2
        and (code == OTHER_RECORD or (not our_id and (code == NO_ID or status == _CREATED)))
        for status, code in answers
    )
