"""What follows from the replies to a transaction: an outcome for each of its lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import WRITES
from connector_runner.outbound.engine import UNKNOWN_WRITES
from connector_runner.outbound.lanes.intents import Intent
from connector_runner.outbound.lanes.lane import SPLIT, Lane, State
from connector_runner.outbound.lanes.outcomes import Settled, Settler
from connector_runner.outbound.ports import LaneStore, LaneTx

UNDONE: Final = "undone"
_NOTHING_DONE: Final = frozenset({Outcome.REFUSED, Outcome.QUOTA, Outcome.NOT_SENT, Outcome.AUTH})
_DONE: Final = frozenset({Outcome.LANDED, Outcome.EXISTED})

log = get_logger(__name__)

Sent = tuple[Lane, Intent]


@dataclass(frozen=True, slots=True)
class Transacted:
    """Settles transactions of one sink. Lanes come in the order of their steps: what is referred to first."""

    store: LaneStore
    settler: Settler
    terms: SinkTerms

    def settle(self, sent: Sequence[Sent], replies: Sequence[Reply]) -> list[Settled]:
        """Where the replies left the lanes."""
        failed = next((reply.entry for reply in replies if reply.entry is not None), None)
        if failed is not None:
            return self._one_failed(sent, replies, failed)
        whole = replies[0]
        if whole.outcome in _DONE or any(reply.outcome is not whole.outcome for reply in replies):
            # Who refers goes before who is referred to: nobody is woken for what is settled here.
            pairs = list(zip(sent, replies, strict=True))
            return [self.settler.write(lane, intent, reply) for (lane, intent), reply in reversed(pairs)]
        for _ in sent:
            WRITES.labels(sink=self.terms.name, outcome=str(whole.outcome)).inc()
        log.info(
            "transaction_not_landed",
            sink=self.terms.name,
            steps=len(sent),
            outcome=str(whole.outcome),
            code=whole.code,
            status=whole.status,
        )
        return self.store.retrying(lambda tx: self._all_failed(tx, sent, whole))

    def _one_failed(self, sent: Sequence[Sent], replies: Sequence[Reply], failed: int) -> list[Settled]:
        """The sink said which: that lane's outcome is its own. The others are undone, and ready again."""
        lane, intent = sent[failed]
        settled = [self.settler.write(lane, intent, replies[failed])]
        # What stands between us repeats requests: a conflict may be with this very transaction, done before.
        doubt = replies[failed].outcome is Outcome.CONFLICT
        others = [(each, replies[place]) for place, each in enumerate(sent) if place != failed]
        others.sort(key=lambda other: other[0][0].lane_id)

        def undo(tx: LaneTx) -> list[Settled]:
            return [self._undone(tx, lane, intent, reply, doubt=doubt) for (lane, intent), reply in others]

        return settled + self.store.retrying(undo)

    def _undone(self, tx: LaneTx, lane: Lane, intent: Intent, reply: Reply, *, doubt: bool) -> Settled:
        tx.log_outcome(lane, intent, UNDONE, reply, reply.code or UNDONE)
        if not self.settler.ours(tx, lane):
            return Settled("fence_lost")
        if doubt:
            return self._unknown(tx, lane, intent, reply, UNDONE)
        tx.close_intent(lane, intent.intent_id)
        tx.give_back(lane, State.READY, reason=UNDONE, detail=reply.code, counts=False, status=reply.status)
        return Settled(UNDONE)

    def _all_failed(self, tx: LaneTx, sent: Sequence[Sent], whole: Reply) -> list[Settled]:
        """One answer for all: the sink is told off, closed or doubted once."""
        outcome, code = whole.outcome, whole.code or str(whole.outcome)
        wait_s = self.settler.closed_s(tx, whole) if outcome in _NOTHING_DONE else 0.0
        if outcome is Outcome.UNKNOWN:
            UNKNOWN_WRITES.labels(sink=self.terms.name).inc(len(sent))
            self.settler.faulted(tx, whole)
        settled = []
        for lane, intent in sorted(sent, key=lambda each: each[0].lane_id):
            tx.log_outcome(lane, intent, str(outcome), whole, code)
            if not self.settler.ours(tx, lane):
                settled.append(Settled("fence_lost"))
            elif outcome is Outcome.UNKNOWN or outcome is Outcome.CONFLICT:
                settled.append(self._unknown(tx, lane, intent, whole, "unknown"))
            else:
                tx.close_intent(lane, intent.intent_id)
                settled.append(self._back(tx, lane, whole, wait_s))
        return settled

    def _unknown(self, tx: LaneTx, lane: Lane, intent: Intent, reply: Reply, reason: str) -> Settled:
        quiet_s = self.terms.quiet_period_s
        tx.resolve_later(lane, intent.intent_id, quiet_s)
        tx.give_back(
            lane, State.UNKNOWN, reason=reason, detail=reply.code, delay_s=quiet_s, counts=False, status=reply.status
        )
        return Settled("unknown")

    def _back(self, tx: LaneTx, lane: Lane, whole: Reply, wait_s: float) -> Settled:
        if whole.outcome not in _NOTHING_DONE:
            return self.settler.retry(tx, lane, SPLIT, whole.code or SPLIT, delay_s=0.0, status=whole.status)
        reason = str(whole.outcome)
        tx.give_back(
            lane, State.READY, reason=reason, detail=whole.code, delay_s=wait_s, counts=False, status=whole.status
        )
        return Settled(reason, stop=True)
