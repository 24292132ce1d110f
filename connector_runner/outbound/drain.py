"""The drain: takes the lanes of one sink that are due and brings the sink to what they want, at its own pace."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import WRITE_SECONDS
from connector_runner.kernel.errors import BadRecord, Conflict, Misconfigured, NotYet, RunnerError
from connector_runner.kernel.ids import canonical_id, new_id
from connector_runner.outbound import intents, sink_store, store
from connector_runner.outbound.dependencies import DEPENDENCY
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.intents import CREATE, Intent
from connector_runner.outbound.lanes import MAX_ATTEMPTS, Lane, State
from connector_runner.outbound.outcomes import Settled, Settler
from connector_runner.outbound.pacing import Pacer
from connector_runner.outbound.planning import IN_STEP, Nothing, Wait, Wanted
from connector_runner.outbound.readback import ReadBack
from connector_runner.outbound.release import DEPENDENCY_RECHECK_S, INTERNAL_ERROR
from connector_runner.resilience.limiter import Limit
from connector_runner.world import reading

PLANNING_LEASE_S: Final = 10.0
_LEASE_MARGIN_S: Final = 5.0
_SLOT_MARGIN_S: Final = 2.0
SEND_WITHIN_S: Final = 2.0
"""So long after its intent was written down a request may still be begun; later somebody may be looking for it."""

log = get_logger(__name__)


@dataclass(slots=True)
class Drained:
    """What a drain did. ``more`` is whether lanes are due still, ``wait_s`` when to come back, ``closed`` why not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    more: bool = False
    wait_s: float = 0.0
    closed: str | None = None


def drain(outbound: Outbound, workspace_id: str, sink_id: str, owner: str, slice_s: float = 10.0) -> Drained:
    """Work off due lanes of a sink for at most ``slice_s`` (and one request) seconds.

    Any number may run at once, in any number of processes. Raises Misconfigured when it is no usable sink.
    """
    until = time.monotonic() + slice_s
    with outbound.database.begin(workspace_id) as tx:
        state = sink_store.state(tx, workspace_id, sink_id)
        if state.closed:
            return Drained(closed=state.closed, wait_s=state.wait_s)
        due = store.due_count(tx, workspace_id, sink_id, 64)
        if not due:
            return Drained()
        try:
            terms, sink = outbound.sinks.open(tx, workspace_id, sink_id)
        except Misconfigured as exc:
            sink_store.pause(tx, workspace_id, sink_id, exc.code, 60.0)
            log.warning("sink_misconfigured", sink_id=sink_id, code=exc.code)
            return Drained(closed=exc.code, wait_s=60.0)
    mending = state.failures > 0 or state.paused
    hands = 1 if mending else min(terms.concurrency, due)
    done = Drained()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(hands)) if hands > 1 else None
        workers = [
            _Worker(outbound, workspace_id, terms, sink, f"{owner}/{number}", until, mending) for number in range(hands)
        ]
        for part in pool.map(_Worker.run, workers) if pool else [workers[0].run()]:
            done.outcomes.update(part.outcomes)
            done.wait_s = max(done.wait_s, part.wait_s)
    with outbound.database.begin(workspace_id) as tx:
        done.more = store.due_count(tx, workspace_id, sink_id, 1) > 0
    return done


class _Worker:
    """One pair of hands of a drain: one lane at a time, one request in flight."""

    def __init__(
        self,
        outbound: Outbound,
        workspace_id: str,
        terms: SinkTerms,
        sink: Sink,
        owner: str,
        until: float,
        mending: bool,
    ) -> None:
        self._outbound, self._workspace_id, self._terms, self._sink = outbound, workspace_id, terms, sink
        # Who leases a lane holds the slot of the same name, so that lost slots can be told from the leases.
        self._owner, self._until, self._mending = f"{owner}:{new_id()}", until, mending
        limit = Limit(terms.per_second, terms.burst, terms.concurrency, terms.request_timeout_s + _SLOT_MARGIN_S)
        self._pacer = Pacer(
            outbound.limiter, terms.sink_id, terms.name, limit, self._owner, until, in_flight=self._in_flight
        )
        self._settler = Settler(outbound, workspace_id, terms)
        self._readback = ReadBack(outbound, workspace_id, terms, sink, self._settler)
        self._sending_lease_s = terms.request_timeout_s + _LEASE_MARGIN_S

    def run(self) -> Drained:
        """Lane after lane until nothing is due, the slice is over or the sink is closed to us."""
        done = Drained()
        try:
            # A slot comes first: without one there is nothing to be claimed for.
            while time.monotonic() < self._until and self._pacer.take():
                settled = self._next()
                if settled is None:
                    break
                done.outcomes[settled.outcome] += 1
                if settled.stop:
                    break
                self._mend(settled)
        finally:
            self._pacer.close()
        done.wait_s = self._pacer.wait_s
        return done

    def _in_flight(self) -> list[tuple[str, float]]:
        with self._outbound.database.begin(self._workspace_id) as tx:
            return store.in_flight(tx, self._workspace_id, self._terms.sink_id)

    def _mend(self, settled: Settled) -> None:
        if self._mending and settled.outcome in ("landed", "conflict", "quarantined"):
            with self._outbound.database.begin(self._workspace_id) as tx:
                sink_store.works(tx, self._workspace_id, self._terms.sink_id)
            self._mending = False

    def _next(self) -> Settled | None:
        """Claim a lane and decide in one transaction; then send, with none open."""
        with self._outbound.database.begin(self._workspace_id) as tx:
            lane = store.claim(tx, self._workspace_id, self._terms.sink_id, owner=self._owner, lease_s=PLANNING_LEASE_S)
            if lane is None:
                return None
            claimed = time.monotonic()
            if lane.open_intent:
                store.extend_lease(tx, lane, self._sending_lease_s)
                plan: Wanted | Settled | None = None
            else:
                plan = self._plan_or_set_aside(tx, lane)
                if isinstance(plan, Wanted) and not self._knows(lane, plan):
                    store.extend_lease(tx, lane, PLANNING_LEASE_S + self._sending_lease_s)
        if isinstance(plan, Settled):
            return plan
        if plan is None:
            return self._readback.resolve(lane, self._pacer)
        return self._carry_out(lane, plan, claimed)

    @staticmethod
    def _knows(lane: Lane, wanted: Wanted) -> bool:
        """Whether no read is needed before the write."""
        return wanted.ref is None or (wanted.confirmed is not None and lane.sink_etag is not None)

    def _plan_or_set_aside(self, tx: Tx, lane: Lane) -> Wanted | Settled:
        """A fault of ours in one lane must not hold up the others: that lane is put aside, and the drain goes on."""
        try:
            return self._plan(tx, lane)
        except RunnerError:
            raise
        except Exception as error:
            log.error("plan_failed", lane_id=lane.lane_id, sink=self._terms.name, exc_info=error)
            self._settler.quarantine(tx, lane, INTERNAL_ERROR, "planning this write failed; the log says where")
            return Settled("quarantined")

    def _plan(self, tx: Tx, lane: Lane) -> Wanted | Settled:
        if lane.attempts > MAX_ATTEMPTS:
            self._settler.quarantine(tx, lane, "attempts", f"gave up after {MAX_ATTEMPTS} attempts")
            return Settled("quarantined")
        view = reading.view(tx, self._workspace_id, lane.entity_id)
        if view is None:
            store.give_back(tx, lane, State.IDLE, reason="no_entity")
            return Settled("idle")
        sources = sink_store.source_ids(tx, self._workspace_id)
        try:
            plan = self._outbound.planner.plan(tx, self._workspace_id, self._terms, view, lane, sources)
        except BadRecord as exc:
            self._settler.quarantine(tx, lane, exc.code, exc.message)
            return Settled("quarantined")
        if isinstance(plan, Nothing):
            return self._idle(tx, lane, plan)
        if isinstance(plan, Wait):
            store.give_back(
                tx,
                lane,
                State.WAITING,
                reason=DEPENDENCY,
                detail=plan.detail,
                delay_s=DEPENDENCY_RECHECK_S,
                counts=False,
                withheld=plan.withheld,
            )
            return Settled("waiting")
        if plan.ref is not None and plan.desired_hash == lane.synced_hash:
            return self._idle(tx, lane, Nothing(IN_STEP, withheld=plan.withheld))
        return plan

    @staticmethod
    def _idle(tx: Tx, lane: Lane, nothing: Nothing) -> Settled:
        store.give_back(tx, lane, State.IDLE, reason=nothing.reason, detail=nothing.detail, withheld=nothing.withheld)
        return Settled("idle")

    def _carry_out(self, lane: Lane, wanted: Wanted, claimed: float) -> Settled:
        try:
            intent = self._creation(lane, wanted) if wanted.ref is None else self._change(lane, wanted)
        except (BadRecord, Misconfigured, NotYet) as exc:
            with self._outbound.database.begin(self._workspace_id) as tx:
                self._settler.quarantine(tx, lane, exc.code, exc.message)
            return Settled("quarantined")
        if isinstance(intent, Settled):
            return intent
        if isinstance(intent, Nothing):
            return self._in_step(lane, wanted, intent)
        return self._send(lane, wanted, intent, claimed)

    def _creation(self, lane: Lane, wanted: Wanted) -> Intent | Nothing:
        body = self._outbound.planner.body(wanted)
        if isinstance(body, Nothing):
            return body
        return self._outbound.planner.creation(wanted, lane, self._sink.identified(body, lane.client_ref))

    def _change(self, lane: Lane, wanted: Wanted) -> Intent | Nothing | Settled:
        if wanted.confirmed is not None and lane.sink_etag is not None:
            current, etag = wanted.confirmed.body, lane.sink_etag
        else:
            read = self._read(lane, wanted.ref or "")
            if isinstance(read, Settled):
                return read
            current, etag = read
        return self._outbound.planner.change(wanted, lane, self._terms, current, etag)

    def _read(self, lane: Lane, ref: str) -> tuple[Json, str] | Settled:
        """The sink's resource now, with the version to state when it is replaced."""
        if not self._pacer.take():
            return self._put_off(lane)
        self._pacer.use()
        reply = self._sink.read(ref)
        if reply.outcome is Outcome.LANDED and reply.body is not None:
            return reply.body, reply.etag or ""
        with self._outbound.database.begin(self._workspace_id) as tx:
            return self._unreadable(tx, lane, reply)

    def _unreadable(self, tx: Tx, lane: Lane, reply: Reply) -> Settled:
        if reply.outcome is Outcome.REFUSED:
            self._pacer.cut(reply.retry_after_s)
        if reply.outcome in (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.AUTH):
            return self._settler.held_up(tx, lane, reply, State.WAITING)
        if reply.outcome in (Outcome.UNKNOWN, Outcome.CONFLICT, Outcome.LANDED):
            return self._settler.retry(tx, lane, "not_read", reply.code, status=reply.status)
        self._settler.quarantine(
            tx, lane, reply.code or str(reply.outcome), "the resource is no longer in the sink", reply=reply
        )
        return Settled("quarantined")

    def _in_step(self, lane: Lane, wanted: Wanted, nothing: Nothing) -> Settled:
        """Nothing to send. Where the sink says already what is wanted, that is remembered, so no one looks again."""
        with self._outbound.database.begin(self._workspace_id) as tx:
            if nothing.reason != IN_STEP:
                return self._idle(tx, lane, nothing)
            store.confirm(
                tx,
                lane,
                reason=IN_STEP,
                synced_hash=wanted.desired_hash,
                revision=lane.desired_revision,
                last_sent=lane.last_sent,
                sink_ref=wanted.ref,
                sink_etag=lane.sink_etag,
                status=None,
                withheld=nothing.withheld,
            )
        return Settled("idle")

    def _send(self, lane: Lane, wanted: Wanted, intent: Intent, claimed: float) -> Settled:
        if not self._pacer.take():
            return self._put_off(lane)
        if time.monotonic() - claimed > PLANNING_LEASE_S - 1 and self._knows(lane, wanted):
            return self._put_off(lane)
        send_by = time.monotonic() + SEND_WITHIN_S
        try:
            with self._outbound.database.begin(self._workspace_id) as tx:
                if not store.extend_lease(tx, lane, self._sending_lease_s):
                    return Settled("fence_lost")
                if store.revision_of(tx, lane.entity_id) != wanted.revision:
                    # Changed since it was planned, perhaps withdrawn: what is sent is what holds now.
                    store.give_back(tx, lane, State.READY, reason=lane.reason, counts=False)
                    return Settled("outdated")
                intents.open_intent(tx, self._outbound.sealer, lane, intent, self._quiet_s)
                self._announce(tx, lane, intent)
        except Conflict:
            with self._outbound.database.begin(self._workspace_id) as tx:
                store.give_back(tx, lane, State.UNKNOWN, reason="intent_open", delay_s=self._quiet_s)
            return Settled("unknown")
        if not self._pacer.take() or time.monotonic() > send_by:
            return self._not_sent(lane, intent)
        self._pacer.use()
        started = time.monotonic()
        if intent.operation == CREATE:
            reply = self._sink.create(intent.body, lane.client_ref)
        else:
            reply = self._sink.update(intent.target or "", intent.body, intent.precondition or None)
        WRITE_SECONDS.labels(sink=self._terms.name).observe(time.monotonic() - started)
        if reply.outcome is Outcome.REFUSED:
            self._pacer.cut(reply.retry_after_s)
        return self._settler.write(lane, intent, reply)

    def _announce(self, tx: Tx, lane: Lane, intent: Intent) -> None:
        """Join the record that is about to be made to its entity, lest a poll that is quicker take it for another."""
        if intent.operation == CREATE and self._terms.client_id:
            key = canonical_id(self._terms.name, intent.resource_type, lane.client_ref)
            self._outbound.world.adopt(
                tx, self._workspace_id, key, lane.entity_id, self._terms.sink_id, now=self._outbound.clock()
            )

    @property
    def _quiet_s(self) -> float:
        """From opening an intent until it may be looked for: until it is sent, its whole time, the quiet period."""
        return SEND_WITHIN_S + self._terms.request_timeout_s + self._terms.quiet_period_s

    def _put_off(self, lane: Lane) -> Settled:
        """No grant in time: the lane goes back as it was."""
        with self._outbound.database.begin(self._workspace_id) as tx:
            store.give_back(tx, lane, State.READY, reason=lane.reason, counts=False)
        return Settled("put_off", stop=True)

    def _not_sent(self, lane: Lane, intent: Intent) -> Settled:
        with self._outbound.database.begin(self._workspace_id) as tx:
            intents.log_outcome(tx, self._outbound.sealer, lane, intent, "not_sent", None, "limiter")
            if store.give_back(tx, lane, State.READY, reason=lane.reason, counts=False):
                store.close_intent(tx, lane, intent.intent_id)
        return Settled("put_off", stop=True)
