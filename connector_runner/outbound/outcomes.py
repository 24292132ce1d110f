"""What follows from a sink's reply: the log entry, and where the lane goes, in one fenced transaction.

A worker that outlived its lease has its outcome logged, and changes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_runner.connectors.sinks import Json, Outcome, Reply
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import SYNC_SECONDS, WRITES
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import canonical_id
from connector_runner.outbound import intents, sink_store, store
from connector_runner.outbound.choosing import same_value
from connector_runner.outbound.dependency_store import wake_dependents
from connector_runner.outbound.engine import FENCE_LOST, UNKNOWN_WRITES, Outbound
from connector_runner.outbound.intents import Confirmed, Intent
from connector_runner.outbound.lanes import MAX_ATTEMPTS, Lane, State, backoff_s
from connector_runner.world.atoms import split
from connector_runner.world.events import SentAtom

STAGE: Final = "outbound"
PAUSE_S: Final = 60.0
_OTHERS_FIRST_S: Final = 5.0
_FIRST_BREAK_S, _MOST_BREAK_S = 0.5, 30.0
_REFUSED_S: Final = 1.0
_AT_ONCE: Final = 3
"""So many conflicts in a row are met without a pause."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a reply left the lane; ``stop`` when nothing more is to be sent to this sink now."""

    outcome: str
    stop: bool = False


class Settler:
    """Settles the outcomes of one sink."""

    def __init__(self, outbound: Outbound, workspace_id: str, terms: SinkTerms) -> None:
        self._outbound = outbound
        self._workspace_id = workspace_id
        self._terms = terms

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
        return self._outbound.database.retrying(
            self._workspace_id, lambda tx: self._not_landed(tx, lane, intent, reply)
        )

    def landed(self, lane: Lane, intent: Intent, reply: Reply, *, code: str, looked_up: bool) -> Settled:
        """The sink holds what was sent, or what ``reply`` shows.

        ``looked_up``: the reply shows what was found there, which an earlier write may have made; else it is the
        sink's own account of what it made of this one, and saying it again would change nothing.
        """
        return self._outbound.database.retrying(
            self._workspace_id, lambda tx: self._landed(tx, lane, intent, reply, code, looked_up)
        )

    def _landed(self, tx: Tx, lane: Lane, intent: Intent, reply: Reply, code: str, looked_up: bool) -> Settled:
        outbound, now = self._outbound, self._outbound.clock()
        ref = reply.ref or intent.target or f"{intent.resource_type}/{lane.client_ref}"
        intents.log_outcome(tx, outbound.sealer, lane, intent, "landed", reply, code)
        if not self._ours(tx, lane):
            return Settled("fence_lost")
        whole = (
            reply.body if reply.body is not None and reply.body.get("resourceType") == intent.resource_type else None
        )
        carried = (
            reply.outcome is not Outcome.EXISTED if whole is None else carries(outbound, self._terms, whole, intent)
        )
        body = whole or intent.body
        record_key = canonical_id(self._terms.name, *ref.split("/", 1))
        outbound.world.adopt(tx, self._workspace_id, record_key, lane.entity_id, self._terms.sink_id, now=now)
        again = looked_up and not carried
        if not again:
            sent = self._sent_atoms(body, intent, now)
            outbound.world.remember_sent(tx, self._workspace_id, record_key, sent, now=now)
        confirmed = Confirmed(body, () if again else intent.atoms, intent.created_by_us)
        store.confirm(
            tx,
            lane,
            reason="landed" if carried else "landed_otherwise",
            synced_hash=None if again else intent.desired_hash,
            revision=intent.revision,
            last_sent=intents.seal_confirmed(tx, outbound.sealer, lane, confirmed),
            sink_ref=ref,
            # Without the sink's own words for what it holds, the next change reads first.
            sink_etag=reply.etag if whole is not None else None,
            status=reply.status,
            again=again,
        )
        store.close_intent(tx, lane, intent.intent_id)
        if lane.sink_ref is None:
            wake_dependents(tx, self._workspace_id, self._terms.sink_id, lane.entity_id)
        outbound.quarantine.settle(tx, self._workspace_id, STAGE, [lane.lane_id])
        if lane.wanted_at is not None:
            SYNC_SECONDS.labels(sink=self._terms.name).observe(max((now - lane.wanted_at).total_seconds(), 0.0))
        return Settled("landed")

    def _not_landed(self, tx: Tx, lane: Lane, intent: Intent, reply: Reply) -> Settled:
        outcome, code = reply.outcome, reply.code or str(reply.outcome)
        intents.log_outcome(tx, self._outbound.sealer, lane, intent, str(outcome), reply, code)
        if not self._ours(tx, lane):
            return Settled("fence_lost")
        if outcome is Outcome.UNKNOWN:
            UNKNOWN_WRITES.labels(sink=self._terms.name).inc()
            store.resolve_later(tx, lane, intent.intent_id, self._terms.quiet_period_s)
            store.give_back(
                tx,
                lane,
                State.UNKNOWN,
                reason="unknown",
                detail=code,
                delay_s=self._terms.quiet_period_s,
                status=reply.status,
            )
            return Settled("unknown")
        store.close_intent(tx, lane, intent.intent_id)
        if outcome is Outcome.CONFLICT:
            at_once = 0.0 if lane.attempts <= _AT_ONCE else None
            return self.retry(tx, lane, "conflict", code, delay_s=at_once, status=reply.status)
        if outcome in (Outcome.POISON, Outcome.DUPLICATES, Outcome.GONE, Outcome.ABSENT):
            self.quarantine(tx, lane, code, "the sink does not accept this resource", body=intent.body, reply=reply)
            return Settled("quarantined")
        return self.held_up(tx, lane, reply, State.WAITING)

    def held_up(self, tx: Tx, lane: Lane, reply: Reply, to: State) -> Settled:
        """The sink cannot be asked now, through no fault of this lane: not an attempt.

        Unless it is the lane's fault after all: refused again, when others landed since the first time.
        """
        code = reply.code or str(reply.outcome)
        if reply.outcome is Outcome.AUTH:
            if lane.reason == str(Outcome.AUTH) and store.others_landed(tx, lane, PAUSE_S):
                # The credential is good: it is this record that it does not reach.
                self.quarantine(tx, lane, code, "the sink refuses this record to our credential", reply=reply)
                return Settled("quarantined")
            sink_store.pause(tx, self._workspace_id, self._terms.sink_id, code, PAUSE_S)
            # Others go first when the pause is over.
            to, wait = (State.READY if to is State.WAITING else to), PAUSE_S + _OTHERS_FIRST_S
        elif reply.outcome is Outcome.NOT_SENT:
            wait = sink_store.fail(
                tx, self._workspace_id, self._terms.sink_id, first_s=_FIRST_BREAK_S, most_s=_MOST_BREAK_S
            )
        else:
            wait = _REFUSED_S if reply.retry_after_s is None else reply.retry_after_s
        store.give_back(
            tx,
            lane,
            to,
            reason=str(reply.outcome),
            detail=code,
            delay_s=wait,
            counts=False,
            status=reply.status,
        )
        return Settled(str(reply.outcome), stop=True)

    def retry(
        self, tx: Tx, lane: Lane, reason: str, detail: str, *, delay_s: float | None = None, status: int | None = None
    ) -> Settled:
        """Again from the start, after reading the resource anew; too often is a case for a person."""
        if lane.attempts >= MAX_ATTEMPTS:
            self.quarantine(tx, lane, "attempts", f"{reason} after {lane.attempts} attempts")
            return Settled("quarantined")
        store.give_back(
            tx,
            lane,
            State.READY,
            reason=reason,
            detail=detail,
            delay_s=backoff_s(lane.attempts) if delay_s is None else delay_s,
            status=status,
            forget_version=True,
        )
        return Settled(reason)

    def quarantine(
        self, tx: Tx, lane: Lane, code: str, message: str, *, body: Json | None = None, reply: Reply | None = None
    ) -> None:
        """Put the lane aside for a person, with what was sent."""
        store.give_back(
            tx, lane, State.QUARANTINED, reason=code, detail=message, status=reply.status if reply else None
        )
        self._outbound.quarantine.put(
            tx,
            self._workspace_id,
            stage=STAGE,
            subject=lane.lane_id,
            code=code,
            message=message,
            data_source_id=self._terms.sink_id,
            body=None if body is None else exact_json.dumps(body).encode(),
            context={
                "lane_id": lane.lane_id,
                "entity_id": lane.entity_id,
                "sink": self._terms.name,
                "status": reply.status if reply else None,
            },
            now=self._outbound.clock(),
        )

    def _ours(self, tx: Tx, lane: Lane) -> bool:
        if store.lock_lane(tx, lane):
            return True
        FENCE_LOST.labels(sink=self._terms.name).inc()
        log.warning("fence_lost", lane_id=lane.lane_id, sink=self._terms.name)
        return False

    def _sent_atoms(self, body: Json, intent: Intent, now: datetime) -> list[SentAtom]:
        """What went out, as a poll will see it: through the sink's own inbound mapping."""
        try:
            values = split(self._outbound.planner.facts(self._terms, body))
        except BadRecord as exc:
            log.warning("echo_not_remembered", sink=self._terms.name, code=exc.code)
            return []
        return [
            SentAtom(
                claim.atom,
                values[claim.atom],
                claim.event_id,
                claim.source,
                claim.source_system,
                claim.confidence,
                datetime.fromisoformat(claim.since),
            )
            for claim in intent.changed
            if claim.atom in values
        ]


def carries(outbound: Outbound, terms: SinkTerms, found: Json, intent: Intent) -> bool:
    """Whether a resource says what an intent meant to make it say, read through the sink's inbound mapping."""
    try:
        held = split(outbound.planner.facts(terms, found))
        meant = split(outbound.planner.facts(terms, {**intent.body, "id": found.get("id") or "unknown"}))
    except BadRecord:
        return False
    gone = [] if intent.before is None else _gone(outbound, terms, intent, meant)
    return all(
        atom in held and same_value(held[atom], meant[atom])
        for atom in (claim.atom for claim in intent.changed)
        if atom in meant
    ) and not any(atom in held for atom in gone)


def _gone(outbound: Outbound, terms: SinkTerms, intent: Intent, meant: Json) -> list[str]:
    before = split(outbound.planner.facts(terms, intent.before or {}))
    return [atom for atom in before if atom not in meant]
