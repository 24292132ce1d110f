"""One pair of hands of a drain: takes one lane after another through plan, intent, request and outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from connector_runner.connectors.sinks import Json, Outcome, Reply
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import WRITE_SECONDS
from connector_runner.kernel.errors import BadRecord, Conflict, Misconfigured, NotYet
from connector_runner.outbound.lanes.bench import Bench, Drained
from connector_runner.outbound.lanes.intents import CREATE, Intent
from connector_runner.outbound.lanes.judging import Judging
from connector_runner.outbound.lanes.lane import ALONE, Lane, State
from connector_runner.outbound.lanes.outcomes import Settled, Settler, heed
from connector_runner.outbound.lanes.readback import ReadBack
from connector_runner.outbound.lanes.rounds import Rounds, Stride
from connector_runner.outbound.lanes.searching import Unhurried
from connector_runner.outbound.lanes.together import Gathering, Member, Together
from connector_runner.outbound.lanes.transacted import Transacted
from connector_runner.outbound.planning.plans import IN_STEP, SINK_NEWER, Nothing, Wait
from connector_runner.outbound.ports import LaneTx, Problem, Writable
from connector_runner.outbound.sinks.pacing import Pacer, limit_of
from connector_runner.outbound.sinks.sink_state import SinkState, Watch, sink_fault
from connector_runner.outbound.validation import refused_by_sink

PLANNING_LEASE_S: Final = 10.0
_LEASE_MARGIN_S: Final = 5.0
SEND_WITHIN_S: Final = 2.0
"""So long after its intent was written down a request may still be begun; later somebody may be looking for it."""
_SHOWN: Final = 5

log = get_logger(__name__)


class Hands:
    """One lane at a time, one request in flight."""

    def __init__(self, bench: Bench, owner: str, until: float, known: SinkState) -> None:
        """``until``: on the runtime's clock. ``known``: the sink's state, asked for just now."""
        self._store, self._desk, self._sink = bench.store, bench.desk, bench.sink
        self._terms, self._runtime = bench.terms, bench.runtime
        # Who leases a lane holds the slot of the same name, so that lost slots can be told from the leases.
        self._owner, self._until = f"{owner}:{bench.runtime.new_id()}", until
        self._watch = Watch(bench.terms.sink_id, known, bench.runtime.clock)
        terms = bench.terms
        limit = limit_of(terms, one_at_a_time=known.mending)
        self._stride = Stride.of(0.0 if bench.sink.capabilities.validate else bench.runtime.round_s, limit)
        self._held: dict[str, float] = {}
        self._pacer = Pacer(
            bench.limiter,
            terms.sink_id,
            terms.name,
            limit,
            self._owner,
            until,
            in_flight=self._in_flight,
            sleep=bench.runtime.sleep,
            clock=bench.runtime.clock,
        )
        self._settler = Settler(bench.store, bench.desk, terms, bench.runtime.chance)
        self._judging = Judging(bench.desk, terms, self._settler)
        self._readback = ReadBack(
            bench.store, bench.desk, bench.sink, self._settler, bench.runtime.chance, terms.quiet_period_s
        )
        self._sending_lease_s = terms.request_timeout_s + _LEASE_MARGIN_S
        self._together = Together(
            bench.store,
            bench.desk,
            bench.sink,
            self._pacer,
            Transacted(bench.store, self._settler, terms),
            bench.runtime.clock,
            self._sending_lease_s,
            self._quiet_s,
            SEND_WITHIN_S,
            self._prepared,
            lambda lane, planned, intent: self._send(lane, planned, intent, bench.runtime.clock()),
        )
        self._rounds = Rounds(
            bench.store,
            bench.desk,
            self._pacer,
            self._settler,
            bench.runtime.clock,
            self._sending_lease_s,
            self._quiet_s,
            SEND_WITHIN_S,
            self._prepared,
            self._call,
            self._send,
        )

    def run(self) -> Drained:
        """Lane after lane until nothing is due, the slice is over or the sink is closed to us."""
        done = Drained()
        try:
            # A slot comes first: without one there is nothing to be claimed for.
            while self._runtime.clock() < self._until and self._pacer.stand_by():
                began = self._runtime.clock()
                settled = self._next()
                if not settled:
                    break
                self._stride.took(settled, self._runtime.clock() - began)
                done.outcomes.update(each.outcome for each in settled)
                waiting = [each.not_compared for each in settled if each.not_compared is not None]
                if waiting:
                    # Behind what was sent, as whoever is comparing may take longer than a claim lasts.
                    self._desk.compared_meanwhile(waiting)
                if any(each.stop for each in settled):
                    break
                for each in settled:
                    self._mend(each)
        finally:
            self._pacer.close()
        done.wait_s = max(self._pacer.wait_s, self._watch.state.wait_s)
        done.closed = self._watch.state.closed
        return done

    def _in_flight(self) -> list[tuple[str, float]]:
        with self._store.begin() as tx:
            return tx.in_flight(self._terms.sink_id)

    def _mend(self, settled: Settled) -> None:
        if settled.outcome in ("unknown", "not_read"):
            self._watch.doubt()
        elif not self._watch.state.clean and settled.outcome in ("landed", "conflict", "quarantined"):
            with self._store.begin() as tx:
                self._watch.told(tx.works(self._terms.sink_id))

    def _next(self) -> list[Settled]:
        """Claim a lane, or a round of them, and decide in one transaction; then send, with none open."""
        with self._store.begin() as tx:
            if self._watch.closed(tx):
                return []
            lane = tx.claim(self._terms.sink_id, owner=self._owner, lease_s=PLANNING_LEASE_S)
            if lane is None:
                return []
            claimed = self._runtime.clock()
            if lane.open_intent:
                tx.extend(lane, self._sending_lease_s)
                found: list[Member | Settled] = []
            else:
                found = self._gathered(tx, lane)
            members = [each for each in found if isinstance(each, Member)]
            self._hold_asking(tx, members)
        if lane.open_intent:
            return [self._readback.resolve(lane, self._pacer)]
        settled = [each for each in found if isinstance(each, Settled)]
        if len(members) > 1 and self._sink.capabilities.transaction:
            return [*settled, *self._together.carry_out(members)]
        if len(members) > 1:
            return [*settled, *self._rounds.carry_out(members, claimed)]
        return [*settled, *(self._carry_out(each.lane, each.planned, claimed) for each in members)]

    def _hold_asking(self, tx: LaneTx, members: Sequence[Member]) -> None:
        """Hold those lanes of which the sink is asked before they are written, long enough for that."""
        together = len(members) > 1 and self._sink.capabilities.transaction
        asking = [
            each.lane
            for each in members
            if together
            or not self._knows(each.lane, each.planned)
            or (each.planned.ref is None and self._sink.capabilities.search)
        ]
        if asking:
            tx.extend_all(asking, PLANNING_LEASE_S + self._sending_lease_s)
        self._held = dict.fromkeys((lane.lane_id for lane in asking), self._runtime.clock())

    def _gathered(self, tx: LaneTx, lane: Lane) -> list[Member | Settled]:
        """What is to be done for a claimed lane, and for those that go with it where the sink has transactions."""
        if not self._sink.capabilities.transaction:
            state = self._watch.state
            at_once = self._stride.size if state.clean and not state.mending else 1
            return self._judging.several(tx, lane, self._owner, PLANNING_LEASE_S, at_once)
        if lane.undo_asked or lane.reason in ALONE:
            return [self._judging.decided(tx, lane)]
        gathering = Gathering(tx, self._desk, self._judging, self._terms.sink_id, self._owner, PLANNING_LEASE_S)
        gathering.gather(lane)
        members: list[Member] = []
        for member in gathering.members:
            if not members or self._knows(member.lane, member.planned):
                members.append(member)
            else:
                # It is to be read first, so it goes by itself.
                tx.give_back(member.lane, State.READY, reason=member.lane.reason, counts=False)
        return [*members, *gathering.settled]

    def _knows(self, lane: Lane, planned: Writable) -> bool:
        """Whether no read is needed before the write: what is there is known, or the sink would say if it is not so."""
        if planned.ref is None:
            return True
        return planned.known is not None and lane.sink_etag is not None and self._sink.capabilities.if_match is not None

    def _carry_out(self, lane: Lane, planned: Writable, claimed: float) -> Settled:
        intent = self._prepared(lane, planned)
        if isinstance(intent, Settled):
            return intent
        if self._sink.capabilities.validate:
            refusal = self._asked(lane, planned, intent)
            if refusal is not None:
                return refusal
            claimed = self._runtime.clock()
        return self._send(lane, planned, intent, claimed)

    def _prepared(self, lane: Lane, planned: Writable) -> Intent | Settled:
        """The intent of a plan, if there is anything to be sent and nothing is wrong with it."""
        try:
            intent = planned.creation(lane, self._sink) if planned.ref is None else self._change(lane, planned)
            if isinstance(intent, Intent) and intent.operation == CREATE:
                intent = self._searched(lane, planned, intent)
        except (BadRecord, Misconfigured, NotYet) as exc:
            with self._store.begin() as tx:
                return self._settler.quarantine(tx, lane, exc.code, exc.message)
        if isinstance(intent, Settled):
            return intent
        if isinstance(intent, Nothing):
            return self._in_step(lane, planned, intent)
        problems = self._desk.check(intent)
        return self._invalid(lane, planned, intent, problems) if problems else intent

    def _asked(self, lane: Lane, planned: Writable, intent: Intent) -> Settled | None:
        """What the sink's own validation has against an intent; a sink that cannot say it is no obstacle."""
        if not self._hold(lane):
            return Settled("fence_lost")
        if not self._pacer.take():
            return self._put_off(lane)
        self._pacer.use()
        reply = self._sink.check(intent.body, intent.target)
        heed(self._pacer, reply)
        if reply.outcome is Outcome.POISON:
            return self._invalid(lane, planned, intent, refused_by_sink(reply.code, reply.where))
        if reply.outcome in (Outcome.REFUSED, Outcome.QUOTA, Outcome.NOT_SENT, Outcome.AUTH):
            with self._store.begin() as tx:
                return self._settler.held_up(tx, lane, reply, State.WAITING)
        return None

    def _searched(self, lane: Lane, planned: Writable, intent: Intent) -> Intent | Nothing | Settled:
        """The create, unless the sink has the record already under a name that we do not know."""
        sink = Unhurried(self._sink, self._pacer, lambda: self._hold(lane))
        found = self._desk.before_create(lane, intent, sink, planned)
        if found is None or isinstance(found, Nothing):
            return found or intent
        if isinstance(found, Reply):
            if sink.out_of_time:
                return self._put_off(lane)
            with self._store.begin() as tx:
                return self._unreadable(tx, lane, found)
        adopting = planned.adopting(found)
        read = self._read(lane, found)
        if isinstance(read, Settled):
            return read
        return self._compared(lane, adopting, *read)

    def _hold(self, lane: Lane) -> bool:
        """Long enough for one more request before the write."""
        now = self._runtime.clock()
        if now - self._held.get(lane.lane_id, -math.inf) < PLANNING_LEASE_S:
            return True
        with self._store.begin() as tx:
            held = tx.extend(lane, PLANNING_LEASE_S + self._sending_lease_s)
        if held:
            self._held[lane.lane_id] = now
        return held

    def _change(self, lane: Lane, planned: Writable) -> Intent | Nothing | Settled:
        if planned.known is not None and self._knows(lane, planned):
            return planned.change(lane, planned.known, lane.sink_etag)
        read = self._read(lane, planned.ref or "")
        return read if isinstance(read, Settled) else self._compared(lane, planned, *read)

    def _compared(self, lane: Lane, planned: Writable, current: Json, etag: str) -> Intent | Settled:
        """What is to be changed of what was just read. Where it is all there, that is known from now on."""
        change = planned.change(lane, current, etag)
        if not isinstance(change, Nothing):
            return change
        newer = any(item.code == SINK_NEWER for item in change.withheld)
        return self._in_step(lane, planned, change, None if newer else (current, etag))

    def _read(self, lane: Lane, ref: str) -> tuple[Json, str] | Settled:
        """The sink's resource now, with the version to state when it is replaced."""
        if not self._pacer.take():
            return self._put_off(lane)
        self._pacer.use()
        reply = self._sink.read(ref)
        heed(self._pacer, reply)
        if reply.outcome is Outcome.LANDED and reply.body is not None:
            return reply.body, reply.etag or ""
        with self._store.begin() as tx:
            return self._unreadable(tx, lane, reply)

    def _unreadable(self, tx: LaneTx, lane: Lane, reply: Reply) -> Settled:
        if reply.outcome in (Outcome.REFUSED, Outcome.QUOTA, Outcome.NOT_SENT, Outcome.AUTH):
            return self._settler.held_up(tx, lane, reply, State.WAITING)
        if reply.outcome in (Outcome.UNKNOWN, Outcome.CONFLICT, Outcome.LANDED):
            self._settler.faulted(tx, reply)
            return self._settler.retry(tx, lane, "not_read", reply.code, status=reply.status, faulted=sink_fault(reply))
        return self._settler.quarantine(
            tx, lane, reply.code or str(reply.outcome), "the resource is no longer in the sink", reply=reply
        )

    def _invalid(self, lane: Lane, planned: Writable, intent: Intent, problems: Sequence[Problem]) -> Settled:
        """What is wrong with it is found before the sink would: a case for a person, or for time."""
        final = [problem for problem in problems if not problem.wait]
        shown = final or problems
        detail = "; ".join(f"{problem.path}: {problem.code}" for problem in shown[:_SHOWN])
        with self._store.begin() as tx:
            if not final:
                return self._judging.waits(tx, lane, shown[0].reason, Wait(detail, planned.withheld))
            return self._settler.refused(tx, lane, shown[0].reason, detail, body=intent.body)

    def _in_step(
        self, lane: Lane, planned: Writable, nothing: Nothing, seen: tuple[Json, str] | None = None
    ) -> Settled:
        """Nothing to send. Where the sink says already what is wanted, that is remembered, so no one looks again."""
        with self._store.begin() as tx:
            if nothing.reason != IN_STEP or self._desk.terms_changed(tx):
                return self._judging.idle(tx, lane, nothing)
            tx.confirm(
                lane,
                reason=IN_STEP,
                synced_hash=planned.desired_hash,
                revision=lane.desired_revision,
                confirmed=None,
                seen=seen[0] if seen else None,
                sink_ref=planned.ref,
                sink_etag=(seen[1] or None) if seen else lane.sink_etag,
                status=None,
                withheld=nothing.withheld,
            )
        return Settled("idle")

    def _send(self, lane: Lane, planned: Writable, intent: Intent, claimed: float) -> Settled:
        clock = self._runtime.clock
        if not self._pacer.stand_by():
            return self._put_off(lane)
        if clock() - claimed > PLANNING_LEASE_S - 1 and self._knows(lane, planned):
            return self._put_off(lane)
        send_by = clock() + SEND_WITHIN_S
        refusal = self._open(lane, planned, intent)
        if refusal is not None:
            return refusal
        if not self._pacer.take() or clock() > send_by:
            return self._not_sent(lane, intent)
        return self._settler.write(lane, intent, self._call(lane, intent))

    def _open(self, lane: Lane, planned: Writable, intent: Intent) -> Settled | None:
        """Commit the intent, if the lane is ours and the plan still right; else what became of the lane."""
        try:
            with self._store.begin() as tx:
                if not tx.extend(lane, self._sending_lease_s):
                    return Settled("fence_lost")
                if not self._desk.still(tx, lane, planned):
                    # Changed since it was planned, perhaps withdrawn: what is sent is what holds now.
                    tx.give_back(lane, State.READY, reason=lane.reason, counts=False)
                    return Settled("outdated", stop=self._desk.terms_changed(tx))
                tx.open_intent(lane, intent, self._quiet_s)
                self._desk.announce(tx, [(lane, intent)])
        except Conflict:
            with self._store.begin() as tx:
                tx.give_back(lane, State.UNKNOWN, reason="intent_open", delay_s=self._quiet_s)
            return Settled("unknown")
        return None

    def _call(self, lane: Lane, intent: Intent) -> Reply:
        """Send the request, on the grant in hand."""
        self._pacer.use()
        started = self._runtime.clock()
        if intent.operation == CREATE:
            reply = self._sink.create(intent.body, lane.client_ref)
        else:
            reply = self._sink.update(
                intent.target or "", intent.body, intent.precondition or None, before=intent.before
            )
        WRITE_SECONDS.labels(sink=self._terms.name).observe(self._runtime.clock() - started)
        heed(self._pacer, reply)
        return reply

    @property
    def _quiet_s(self) -> float:
        """From opening an intent until it may be looked for: until it is sent, its whole time, the quiet period."""
        return SEND_WITHIN_S + self._terms.request_timeout_s + self._terms.quiet_period_s

    def _put_off(self, lane: Lane) -> Settled:
        """Not in time: the lane goes back as it was."""
        with self._store.begin() as tx:
            tx.give_back(lane, State.READY, reason=lane.reason, counts=False)
        return Settled("put_off", stop=True)

    def _not_sent(self, lane: Lane, intent: Intent) -> Settled:
        with self._store.begin() as tx:
            tx.log_outcome(lane, intent, "not_sent", None, "limiter")
            if tx.give_back(lane, State.READY, reason=lane.reason, counts=False):
                tx.close_intent(lane, intent.intent_id)
        return Settled("put_off", stop=True)
