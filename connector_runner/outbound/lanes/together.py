"""Lanes that go to a sink in one transaction: a create, and what refers to it or what it refers to.

Each keeps its own intent, opened with the others' in one transaction before the one request, and its own outcome. A
FHIR transaction is done as a whole or not at all (R4, http.html#transaction): what one step is refused for is that
lane's outcome, the others are ready again. The request takes one grant of the limiter, as any other: limits are on
requests. Whatever does not fit together goes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from connector_runner.connectors.sinks import Outcome, Sink, Step
from connector_runner.infra.metrics import WRITE_SECONDS
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import Conflict
from connector_runner.outbound.lanes.intents import CREATE, Intent
from connector_runner.outbound.lanes.lane import DEPENDENCY, Lane, State
from connector_runner.outbound.lanes.outcomes import Settled, heed
from connector_runner.outbound.lanes.transacted import Transacted
from connector_runner.outbound.planning.dependencies import rank
from connector_runner.outbound.planning.plans import Nothing, Wait
from connector_runner.outbound.ports import Desk, LaneStore, LaneTx, Writable
from connector_runner.outbound.sinks.pacing import Pacer

MOST_STEPS: Final = 20
"""Of one transaction: what fails as a whole is to be small."""
_ROUNDS: Final = 4

Judged = Nothing | Wait | Writable | Settled


class Judge(Protocol):
    """Decides for claimed lanes, in the transaction that claimed them."""

    def judged(self, tx: LaneTx, lane: Lane, along: dict[str, str]) -> Judged:
        """What is to be done for a lane; Settled where that is the end of it."""

    def concluded(self, tx: LaneTx, lane: Lane, judged: Judged) -> Writable | Settled:
        """Give a lane back that has nothing to say, or must wait."""


@dataclass(frozen=True, slots=True)
class Member:
    """A claimed lane and what it has to say."""

    lane: Lane
    planned: Writable


@dataclass(slots=True)
class Gathering:
    """Lanes that could go together with ``first``, claimed and decided in one transaction.

    ``along`` names the records that are to be made: entity -> what refers to it.
    """

    tx: LaneTx
    desk: Desk
    judge: Judge
    sink_id: str
    owner: str
    lease_s: float
    members: list[Member] = field(default_factory=list)
    along: dict[str, str] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    _waiting: list[tuple[Lane, Wait]] = field(default_factory=list)
    _claimed: int = 0

    def gather(self, first: Lane) -> None:
        """Up to what it waits for, then down to what waits for those that are to be made."""
        self._take([first])
        for _ in range(_ROUNDS):
            missing = {entity for _, wait in self._waiting for entity in wait.on} - self.along.keys()
            if not missing or not self._take(self._join(sorted(missing), referring=False)):
                break
        asked: set[str] = set()
        for _ in range(_ROUNDS):
            made = self.along.keys() - asked
            if not made or not self._take(self._join(sorted(made), referring=True)):
                break
            asked |= made
        for lane, wait in self._waiting:
            self._conclude(lane, wait)

    def _join(self, entities: Sequence[str], *, referring: bool) -> list[Lane]:
        left = MOST_STEPS - self._claimed
        if left <= 0:
            return []
        return self.tx.join(
            self.sink_id, entities, referring=referring, owner=self.owner, lease_s=self.lease_s, limit=left
        )

    def _take(self, lanes: Sequence[Lane]) -> bool:
        self._claimed += len(lanes)
        for lane in sorted(lanes, key=lambda lane: (rank(lane.entity_type), lane.entity_id)):
            self._consider(lane)
        before = len(self._waiting) + 1
        while len(self._waiting) < before:
            before, again, self._waiting = len(self._waiting), self._waiting, []
            for lane, wait in again:
                if self.along.keys().isdisjoint(wait.on):
                    self._waiting.append((lane, wait))
                else:
                    self._consider(lane)
        return bool(lanes)

    def _consider(self, lane: Lane) -> None:
        judged = self.judge.judged(self.tx, lane, self.along)
        if isinstance(judged, Wait) and judged.reason == DEPENDENCY and judged.on:
            self._waiting.append((lane, judged))
        else:
            self._conclude(lane, judged)

    def _conclude(self, lane: Lane, judged: Judged) -> None:
        found = self.judge.concluded(self.tx, lane, judged)
        if isinstance(found, Settled):
            self.settled.append(found)
            return
        self.members.append(Member(lane, found))
        if found.ref is None:
            self.along[lane.entity_id] = self.desk.reference(lane, found)


class Apart(Exception):
    """A lane does not go with the others after all. Ends the transaction that was to open their intents."""

    def __init__(self, why: str, *, stop: bool = False) -> None:
        super().__init__(why)
        self.stop = stop


@dataclass(frozen=True, slots=True)
class Together:
    """Carries out what was gathered, for one pair of hands. ``lease_s``: from opening the intents to the outcome.

    ``prepared`` makes an intent of a plan; ``alone`` sends one by itself.
    """

    store: LaneStore
    desk: Desk
    sink: Sink
    pacer: Pacer
    transacted: Transacted
    clock: Callable[[], float]
    lease_s: float
    quiet_s: float
    send_within_s: float
    prepared: Callable[[Lane, Writable], Intent | Settled]
    alone: Callable[[Lane, Writable, Intent], Settled]

    def carry_out(self, members: Sequence[Member]) -> list[Settled]:
        """Send what was gathered; where it left each lane.

        What turns out not to be made now goes out of it, and so does what was planned with it.
        """
        steps: list[tuple[Member, Intent]] = []
        settled: list[Settled] = []
        apart: list[tuple[Member, Intent]] = []
        lost: set[str] = set()
        for member in members:
            intent = self.prepared(member.lane, member.planned)
            stays = isinstance(intent, Intent) and intent.target == member.planned.ref
            if not stays and member.planned.ref is None:
                lost.add(member.lane.client_ref)
            if isinstance(intent, Settled):
                settled.append(intent)
            elif _names(intent, lost - {member.lane.client_ref}) or (not stays and _names(intent, _refs(steps))):
                lost.add(member.lane.client_ref)
                settled += self._back([member], "outdated")
            else:
                (steps if stays else apart).append((member, intent))
        if len(steps) > 1 and _refs(steps):
            settled += self._send(steps)
        else:
            apart = [*steps[:1], *apart]
            settled += self._back([member for member, _ in steps[1:]], "outdated")
        return settled + [self.alone(member.lane, member.planned, intent) for member, intent in apart]

    def _send(self, steps: Sequence[tuple[Member, Intent]]) -> list[Settled]:
        if not self.pacer.stand_by():
            return self._back([member for member, _ in steps], "put_off", stop=True)
        send_by = self.clock() + self.send_within_s
        refusal = self._open(steps)
        if refusal is not None:
            return refusal
        if not self.pacer.take() or self.clock() > send_by:
            return self._not_sent(steps)
        self.pacer.use()
        started = self.clock()
        replies = self.sink.transact([_step(member.lane, intent) for member, intent in steps])
        WRITE_SECONDS.labels(sink=self.transacted.terms.name).observe(self.clock() - started)
        heed(self.pacer, next((reply for reply in replies if reply.outcome is Outcome.REFUSED), replies[0]))
        return self.transacted.settle([(member.lane, intent) for member, intent in steps], replies)

    def _open(self, steps: Sequence[tuple[Member, Intent]]) -> list[Settled] | None:
        """Commit all intents, if each lane is ours and each plan still right; else what became of the lanes."""
        try:
            with self.store.begin() as tx:
                # Lanes, then entities, in the order in which everybody locks them.
                for member, _ in _by_lane(steps):
                    if not tx.extend(member.lane, self.lease_s):
                        raise Apart("fence_lost")
                if len(self.desk.still_all(tx, [(member.lane, member.planned) for member, _ in steps])) < len(steps):
                    raise Apart("outdated", stop=self.desk.terms_changed(tx))
                for member, intent in sorted(steps, key=lambda step: step[0].lane.entity_id):
                    tx.open_intent(member.lane, intent, self.quiet_s)
                self.desk.announce(tx, [(member.lane, intent) for member, intent in steps])
        except Apart as why:
            return self._back([member for member, _ in steps], str(why), stop=why.stop)
        except Conflict:
            with self.store.begin() as tx:
                for member, _ in _by_lane(steps):
                    tx.give_back(member.lane, State.UNKNOWN, reason="intent_open", delay_s=self.quiet_s)
            return [Settled("unknown") for _ in steps]
        return None

    def _not_sent(self, steps: Sequence[tuple[Member, Intent]]) -> list[Settled]:
        with self.store.begin() as tx:
            for member, intent in _by_lane(steps):
                tx.log_outcome(member.lane, intent, "not_sent", None, "limiter")
                if tx.give_back(member.lane, State.READY, reason=member.lane.reason, counts=False):
                    tx.close_intent(member.lane, intent.intent_id)
        return [Settled("put_off", stop=True) for _ in steps]

    def _back(self, members: Sequence[Member], why: str, *, stop: bool = False) -> list[Settled]:
        with self.store.begin() as tx:
            for member in sorted(members, key=lambda member: member.lane.lane_id):
                tx.give_back(member.lane, State.READY, reason=member.lane.reason, counts=False)
        return [Settled(why, stop=stop) for _ in members]


def _by_lane(steps: Sequence[tuple[Member, Intent]]) -> list[tuple[Member, Intent]]:
    """In the order in which everybody locks lanes."""
    return sorted(steps, key=lambda step: step[0].lane.lane_id)


def _refs(steps: Sequence[tuple[Member, Intent]]) -> set[str]:
    """Of the records that are to be made."""
    return {member.lane.client_ref for member, intent in steps if intent.operation == CREATE}


def _names(intent: Intent, client_refs: Collection[str]) -> bool:
    """Whether what is to be sent refers to one of these."""
    text = exact_json.dumps(intent.body) if client_refs else ""
    return any(each in text for each in client_refs)


def _step(lane: Lane, intent: Intent) -> Step:
    if intent.operation == CREATE:
        return Step("create", None, intent.body, None, lane.client_ref)
    return Step("update", intent.target, intent.body, intent.precondition or None, lane.client_ref)
