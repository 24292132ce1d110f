"""What follows from a sink's reply: the log entry, and where the lane goes, in one fenced transaction.

A worker that outlived its lease has its outcome logged, and changes nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connector_runner.connectors.sinks import IDENTITY_DROPPED, Json, Outcome, Reply
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import WRITES
from connector_runner.outbound.engine import FENCE_LOST, UNKNOWN_WRITES
from connector_runner.outbound.lanes.intents import UPDATE, Confirmed, Intent, as_sent
from connector_runner.outbound.lanes.lane import MAX_ATTEMPTS, Lane, State, backoff_s
from connector_runner.outbound.ports import Desk, LaneStore, LaneTx
from connector_runner.outbound.sinks.pacing import Pacer
from connector_runner.outbound.sinks.sink_state import sink_fault

PAUSE_S: Final = 15.0
"""A sink that refused our credential is asked so often whether it takes it by now: somebody may have renewed it."""
QUOTA: Final = "quota"
CONFLICT: Final = "conflict"
LANDED: Final = "landed"
QUOTA_S: Final = 3600.0
"""When to look again where a sink says that its allowance is used up, and not until when."""
POSSIBLE_DUPLICATES: Final = "possible_duplicates"
DROPPED_S: Final = 3600.0
"""When a sink that dropped our identity is tried again: its settings, or the sink, may have been mended."""
_OTHERS_FIRST_S: Final = 5.0
_REFUSED_S: Final = 1.0
_MEANWHILE_S: Final = 600.0
"""Where no other lane landed for so long, it is not known whether a sink's fault is about the sink or a record."""
AT_ONCE: Final = 3
"""So many conflicts, or lost answers, in a row are met without a pause."""
_NOT_ACCEPTED: Final = {
    Outcome.POISON: "the sink does not accept this resource",
    Outcome.DUPLICATES: "more than one resource of the sink carries our identifier",
    Outcome.GONE: "the resource was deleted in the sink",
    Outcome.ABSENT: "the resource is no longer in the sink",
    Outcome.FORBIDDEN: "a policy of the sink refuses this record to us",
}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a reply left the lane; ``stop`` when nothing more is to be sent to this sink now.

    ``not_compared``: the entity that waits to be compared before it is made there.
    """

    outcome: str
    stop: bool = False
    not_compared: str | None = None


def heed(pacer: Pacer, reply: Reply) -> None:
    """Go by what a sink says of our pace. Asks the limiter, so never within a transaction."""
    if reply.outcome is Outcome.REFUSED:
        pacer.cut(reply.retry_after_s)
    pacer.learn(reply.pace, reply.retry_after_s)


class Settler:
    """Settles the outcomes of one sink."""

    def __init__(self, store: LaneStore, desk: Desk, terms: SinkTerms, chance: random.Random) -> None:
        self._store, self._desk, self._terms, self._chance = store, desk, terms, chance

    def write(self, lane: Lane, intent: Intent, reply: Reply) -> Settled:
        """The reply to a create or an update."""
        WRITES.labels(sink=self._terms.name, outcome=str(reply.outcome)).inc()
        if reply.outcome in (Outcome.LANDED, Outcome.EXISTED):
            existed = reply.outcome is Outcome.EXISTED
            return self.landed(lane, intent, reply, code="existed" if existed else "", looked_up=existed)
        log.info(
            "write_not_landed",
            lane_id=lane.lane_id,
            sink=self._terms.name,
            outcome=str(reply.outcome),
            code=reply.code,
            status=reply.status,
        )
        return self._store.retrying(lambda tx: self._not_landed(tx, lane, intent, reply))

    def landed_together(self, answered: Sequence[tuple[Lane, Intent, Reply]]) -> list[Settled]:
        """Creates and updates that landed, settled in one transaction."""
        for _, _, reply in answered:
            WRITES.labels(sink=self._terms.name, outcome=str(reply.outcome)).inc()
        return self._store.retrying(lambda tx: self._all_landed(tx, answered))

    def _all_landed(self, tx: LaneTx, answered: Sequence[tuple[Lane, Intent, Reply]]) -> list[Settled]:
        """Lanes are locked first, then entities, in the order in which everybody locks them."""
        ours = tx.lock_all([lane for lane, _, _ in answered])
        settled: dict[str, Settled] = {}
        for lane, intent, reply in sorted(answered, key=lambda each: each[0].entity_id):
            existed = reply.outcome is Outcome.EXISTED
            settled[lane.lane_id] = self._landed(
                tx, lane, intent, reply, "existed" if existed else "", existed, lane.lane_id in ours
            )
        new = [lane for lane, _, _ in answered if lane.sink_ref is None and settled[lane.lane_id].outcome == LANDED]
        if new:
            self._desk.arrived(tx, new)
        return [settled[lane.lane_id] for lane, _, _ in answered]

    def landed(self, lane: Lane, intent: Intent, reply: Reply, *, code: str, looked_up: bool) -> Settled:
        """The sink holds what was sent, or what ``reply`` shows.

        ``looked_up``: the reply shows what was found there, which an earlier write may have made; else it is the
        sink's own account of what it made of this one, and saying it again would change nothing.
        """

        def work(tx: LaneTx) -> Settled:
            settled = self._landed(tx, lane, intent, reply, code, looked_up)
            if lane.sink_ref is None and settled.outcome == LANDED:
                self._desk.arrived(tx, [lane])
            return settled

        return self._store.retrying(work)

    def _landed(
        self,
        tx: LaneTx,
        lane: Lane,
        intent: Intent,
        reply: Reply,
        code: str,
        looked_up: bool,
        locked: bool | None = None,
    ) -> Settled:
        """``locked``: whether the lane is, its claim being ours; None where that was not looked at yet."""
        ref = reply.ref or intent.target or f"{intent.resource_type}/{lane.client_ref}"
        tx.log_outcome(lane, intent, "landed", reply, code)
        if locked is False:
            return self._fence_lost(lane)
        whole = (
            reply.body if reply.body is not None and reply.body.get("resourceType") == intent.resource_type else None
        )
        if whole is None:
            carried = reply.outcome is not Outcome.EXISTED
        else:
            carried = as_sent(whole, intent.body) or self._desk.carries(whole, intent)
        body = whole or _named(intent.body, ref)
        again = looked_up and not carried
        made = self._desk.maker(tx, lane, intent, whole) if again and whole is not None else intent
        ours = tx.confirm(
            lane,
            reason="landed" if carried else "landed_otherwise",
            synced_hash=None if again else intent.desired_hash,
            revision=intent.revision,
            # What is there is another's word, or an older one of ours: only what made it is known to be ours.
            confirmed=_confirmed(made, body, ours=not again),
            sink_ref=ref,
            # Without the sink's own words for what it made of ours, the next change reads first.
            sink_etag=reply.etag if whole is not None and not again else None,
            status=reply.status,
            again=again,
            closing=intent.intent_id,
            locked=bool(locked),
        )
        if not ours:
            return self._fence_lost(lane)
        if reply.cause == IDENTITY_DROPPED and not self._terms.allow_possible_duplicates:
            # The next create whose answer is lost could not be found: nothing more is made before that is accepted.
            tx.pause(self._terms.sink_id, POSSIBLE_DUPLICATES, DROPPED_S)
        self._desk.landed(tx, lane, intent, ref, None if again else body)
        tx.settled(lane)
        return Settled(LANDED)

    def _not_landed(self, tx: LaneTx, lane: Lane, intent: Intent, reply: Reply) -> Settled:
        outcome, code = reply.outcome, reply.code or str(reply.outcome)
        tx.log_outcome(lane, intent, str(outcome), reply, code)
        if not self.ours(tx, lane):
            return Settled("fence_lost")
        if outcome is Outcome.UNKNOWN:
            UNKNOWN_WRITES.labels(sink=self._terms.name).inc()
            self.faulted(tx, reply)
            quiet_s = self._terms.quiet_period_s
            tx.resolve_later(lane, intent.intent_id, quiet_s)
            # The attempt ends with the read-back, and is counted there.
            tx.give_back(
                lane, State.UNKNOWN, reason="unknown", detail=code, delay_s=quiet_s, counts=False, status=reply.status
            )
            return Settled("unknown")
        if outcome is Outcome.CONFLICT and intent.operation == UPDATE:
            return self._conflict(tx, lane, intent, reply, code)
        tx.close_intent(lane, intent.intent_id)
        spent = outcome is Outcome.CONFLICT and lane.attempts >= AT_ONCE
        if (spent or outcome is Outcome.POISON) and tx.more_desired(lane):
            # Before anybody is told that they were refused: that is not what they want by now.
            return self._outdated(tx, lane, code, reply)
        if outcome is Outcome.CONFLICT:
            if spent and self._desk.refused(tx, lane, intent, code):
                return self.quarantine(tx, lane, code, "the sink has no room for it", body=intent.body, reply=reply)
            return self.retry(tx, lane, CONFLICT, code, status=reply.status)
        if outcome in _NOT_ACCEPTED:
            self._desk.refused(tx, lane, intent, code)
            return self.quarantine(tx, lane, code, _NOT_ACCEPTED[outcome], body=intent.body, reply=reply)
        return self.held_up(tx, lane, reply, State.WAITING)

    def _conflict(self, tx: LaneTx, lane: Lane, intent: Intent, reply: Reply, code: str) -> Settled:
        """Somebody wrote in between. It may have been this very write: what stands between us repeats requests.

        So it is read back before anything else is decided, at once: the sink has answered.
        """
        at_once = lane.attempts <= AT_ONCE
        delay_s = 0.0 if at_once else backoff_s(lane.attempts, self._chance)
        tx.resolve_later(lane, intent.intent_id, delay_s)
        tx.give_back(
            lane,
            State.UNKNOWN,
            reason=CONFLICT,
            detail=code,
            delay_s=delay_s,
            counts=False,
            status=reply.status,
            forget_version=True,
        )
        return Settled(CONFLICT)

    def faulted(self, tx: LaneTx, reply: Reply) -> None:
        """Tell the sink's breaker where a reply speaks against the sink."""
        if sink_fault(reply):
            tx.fail(self._terms.sink_id)

    def held_up(self, tx: LaneTx, lane: Lane, reply: Reply, to: State) -> Settled:
        """The sink cannot be asked now, through no fault of this lane: not an attempt.

        Unless it is the lane's fault after all: refused again, when others landed since the first time.
        """
        code = reply.code or str(reply.outcome)
        if reply.outcome is Outcome.AUTH:
            if lane.reason == str(Outcome.AUTH) and tx.others_landed(lane, PAUSE_S):
                # The credential is good: it is this record that it does not reach.
                return self.quarantine(tx, lane, code, "the sink refuses this record to our credential", reply=reply)
            to = State.READY if to is State.WAITING else to
        wait = self.closed_s(tx, reply)
        tx.give_back(lane, to, reason=str(reply.outcome), detail=code, delay_s=wait, counts=False, status=reply.status)
        return Settled(str(reply.outcome), stop=True)

    def closed_s(self, tx: LaneTx, reply: Reply) -> float:
        """Close the sink as a reply asks for that did nothing; seconds until a lane may try again."""
        sink_id = self._terms.sink_id
        if reply.outcome is Outcome.AUTH:
            tx.pause(sink_id, reply.code or str(reply.outcome), PAUSE_S)
            # Others go first when the pause is over.
            return PAUSE_S + _OTHERS_FIRST_S
        if reply.outcome is Outcome.QUOTA:
            wait = _renewed_in_s(reply)
            tx.pause(sink_id, QUOTA, wait)
            return wait
        if reply.outcome is Outcome.NOT_SENT:
            return tx.fail(sink_id)
        return _REFUSED_S if reply.retry_after_s is None else reply.retry_after_s

    def retry(
        self,
        tx: LaneTx,
        lane: Lane,
        reason: str,
        detail: str,
        *,
        delay_s: float | None = None,
        status: int | None = None,
        faulted: bool = False,
    ) -> Settled:
        """Again from the start, after reading the resource anew; too often is a case for a person.

        ``faulted``: it failed by a fault of the sink, so it may be this record's only where others land meanwhile.
        """
        spent = lane.attempts >= MAX_ATTEMPTS
        if spent and not (faulted and not tx.others_landed(lane, _MEANWHILE_S)):
            return self.quarantine(tx, lane, "attempts", f"{reason} after {lane.attempts} attempts")
        tx.give_back(
            lane,
            State.READY,
            reason=reason,
            detail=detail,
            delay_s=backoff_s(lane.attempts, self._chance) if delay_s is None else delay_s,
            counts=not spent,
            status=status,
            forget_version=True,
        )
        return Settled(reason)

    def refused(self, tx: LaneTx, lane: Lane, code: str, message: str, *, body: Json | None = None) -> Settled:
        """Put the lane aside for what it says, unless it is to say another thing by now: nobody has refused that."""
        if tx.more_desired(lane):
            return self._outdated(tx, lane, code, None)
        return self.quarantine(tx, lane, code, message, body=body)

    @staticmethod
    def _outdated(tx: LaneTx, lane: Lane, code: str, reply: Reply | None) -> Settled:
        tx.give_back(lane, State.READY, reason=code, status=reply.status if reply else None)
        return Settled("outdated")

    def quarantine(
        self, tx: LaneTx, lane: Lane, code: str, message: str, *, body: Json | None = None, reply: Reply | None = None
    ) -> Settled:
        """Put the lane aside for a person, with what was sent."""
        status = reply.status if reply else None
        tx.set_aside(lane, code, message, sink=self._terms.name, body=body, status=status)
        return Settled("quarantined")

    def ours(self, tx: LaneTx, lane: Lane) -> bool:
        """Whether the claim is ours still, its row locked; it is told where it is not."""
        if tx.lock(lane):
            return True
        self._fence_lost(lane)
        return False

    def _fence_lost(self, lane: Lane) -> Settled:
        FENCE_LOST.labels(sink=self._terms.name).inc()
        log.warning("fence_lost", lane_id=lane.lane_id, sink=self._terms.name)
        return Settled("fence_lost")


def _named(sent: Json, ref: str) -> Json:
    """What was sent, with the id that a sink which shows nothing gave it: without one it cannot be read as a record."""
    return sent if "id" in sent else {**sent, "id": ref.partition("/")[2]}


def _confirmed(intent: Intent, body: Json, *, ours: bool) -> Confirmed:
    named = {"id": body["id"]} if "id" in body else {}
    return Confirmed(body if ours else {**intent.body, **named}, intent.atoms, intent.created_by_us)


def _renewed_in_s(reply: Reply) -> float:
    """When the sink's allowance is renewed, as it says."""
    for said in (reply.retry_after_s, reply.pace.reset_s if reply.pace else None):
        if said is not None:
            return said
    return QUOTA_S
