"""Unknown outcomes: after the quiet period, look whether the write landed. Never send blindly again."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.sinks import Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound import intents, store
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.intents import CREATE, Intent
from connector_runner.outbound.lanes import Lane, State, backoff_s
from connector_runner.outbound.outcomes import Settled, Settler, carries
from connector_runner.outbound.pacing import Pacer

_UNTELLABLE: Final = frozenset({Outcome.REFUSED, Outcome.NOT_SENT, Outcome.AUTH})


class ReadBack:
    """Resolves the unknown lanes of one sink."""

    def __init__(self, outbound: Outbound, workspace_id: str, terms: SinkTerms, sink: Sink, settler: Settler) -> None:
        self._outbound, self._workspace_id, self._terms = outbound, workspace_id, terms
        self._sink, self._settler = sink, settler

    def resolve(self, lane: Lane, pacer: Pacer) -> Settled:
        """Settle the intent that is open on a claimed lane."""
        with self._outbound.database.begin(self._workspace_id) as tx:
            try:
                found = intents.find_intent(tx, self._outbound.sealer, lane)
            except BadRecord as exc:
                self._settler.quarantine(tx, lane, exc.code, exc.message)
                return Settled("quarantined")
            if found is None:
                store.give_back(tx, lane, State.READY, reason=None, counts=False)
                return Settled("absent")
            intent, too_early = found
            if too_early > 0:
                store.give_back(tx, lane, State.UNKNOWN, reason="unknown", delay_s=too_early, counts=False)
                return Settled("unknown")
        if not pacer.take():
            self._again(lane, pacer.wait_s, counts=False)
            return Settled("limiter", stop=True)
        pacer.use()
        return self._settle(lane, intent, self._look(lane, intent), pacer)

    def _look(self, lane: Lane, intent: Intent) -> Reply:
        if intent.operation == CREATE:
            return self._sink.find(intent.resource_type, lane.client_ref)
        return self._sink.read(intent.target or "")

    def _settle(self, lane: Lane, intent: Intent, reply: Reply, pacer: Pacer) -> Settled:
        if reply.outcome is Outcome.REFUSED:
            pacer.cut(reply.retry_after_s)
        if reply.outcome is Outcome.LANDED and reply.body is not None:
            # Still the version that was to be replaced: nothing landed, whatever the resource says.
            untouched = intent.operation != CREATE and intent.precondition and reply.etag == intent.precondition
            if not untouched and (
                intent.operation == CREATE or carries(self._outbound, self._terms, reply.body, intent)
            ):
                return self._settler.landed(lane, intent, reply, code="read_back", looked_up=True)
        elif reply.outcome is Outcome.UNKNOWN or reply.outcome is Outcome.LANDED:
            self._again(lane, backoff_s(lane.attempts), counts=True)
            return Settled("unknown")
        return self._outbound.database.retrying(self._workspace_id, lambda tx: self._not_there(tx, lane, intent, reply))

    def _not_there(self, tx: Tx, lane: Lane, intent: Intent, reply: Reply) -> Settled:
        if reply.outcome in _UNTELLABLE:
            return self._settler.held_up(tx, lane, reply, State.UNKNOWN)
        intents.log_outcome(tx, self._outbound.sealer, lane, intent, "absent", reply, reply.code or "read_back")
        if not store.lock_lane(tx, lane):
            return Settled("fence_lost")
        store.close_intent(tx, lane, intent.intent_id)
        if reply.outcome in (Outcome.GONE, Outcome.DUPLICATES) or (
            reply.outcome is Outcome.ABSENT and intent.operation != CREATE
        ):
            words = {
                Outcome.GONE: "the resource was deleted in the sink",
                Outcome.DUPLICATES: "more than one resource of the sink carries our identifier",
            }.get(reply.outcome, "the resource is no longer in the sink")
            self._settler.quarantine(tx, lane, reply.code or str(reply.outcome), words, reply=reply)
            return Settled("quarantined")
        if reply.outcome is Outcome.POISON:
            self._settler.quarantine(tx, lane, reply.code, "the sink refuses to be asked for this", reply=reply)
            return Settled("quarantined")
        return self._settler.retry(tx, lane, "absent", "read_back", delay_s=0.0)

    def _again(self, lane: Lane, delay_s: float, *, counts: bool) -> None:
        with self._outbound.database.begin(self._workspace_id) as tx:
            store.give_back(tx, lane, State.UNKNOWN, reason="unknown", delay_s=delay_s, counts=counts)
