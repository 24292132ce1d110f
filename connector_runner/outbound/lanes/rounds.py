"""Rounds: lanes whose intents are opened in one transaction, sent one after another, and settled in one.

Each keeps its own intent, its own request and its own outcome, and every promise holds for each as if it went alone:
no request before its intent is committed, none later than it may be begun, each on a grant of its own. What is shared
is what transactions cost. A worker that dies in a round leaves more to be read back, so a round is short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.kernel.errors import Conflict
from connector_runner.outbound.lanes.intents import Intent
from connector_runner.outbound.lanes.lane import Lane, State
from connector_runner.outbound.lanes.outcomes import Settled, Settler
from connector_runner.outbound.lanes.together import Member
from connector_runner.outbound.ports import Desk, LaneStore, Writable
from connector_runner.outbound.sinks.pacing import Pacer
from connector_runner.resilience.limiter import Limit

MOST: Final = 8
_DONE: Final = frozenset({Outcome.LANDED, Outcome.EXISTED})
_HALTS: Final = frozenset({Outcome.UNKNOWN, Outcome.REFUSED, Outcome.QUOTA, Outcome.NOT_SENT, Outcome.AUTH})
"""After these nothing more is sent before the sink was looked at again."""

Sending = tuple[Member, Intent]


_STUMBLED: Final = frozenset({"unknown", "not_read", "put_off", "fence_lost"})
_REQUESTS: Final = 2
"""Of a lane at most, as a rule: a look before the write, and the write."""


@dataclass(slots=True)
class Stride:
    """How many lanes to take at once: no more than are done in ``round_s``, by how long each took lately.

    ``least_s``: so long each takes at least, by the pace that the sink is driven at.
    """

    round_s: float
    least_s: float
    each_s: float = math.inf

    @classmethod
    def of(cls, round_s: float, limit: Limit) -> Stride:
        """For one pair of as many hands as requests may be under way; where periods are counted, one by one."""
        least_s = math.inf if limit.limits_periods else limit.interval_s * limit.concurrency * _REQUESTS
        return cls(round_s, least_s)

    @property
    def size(self) -> int:
        """Of the next round."""
        each_s = max(self.each_s, self.least_s)
        return max(1, MOST if each_s * MOST <= self.round_s else int(self.round_s / each_s))

    def took(self, settled: Sequence[Settled], seconds: float) -> None:
        """What became of a round; where anything went wrong, the next one is of one lane."""
        if any(each.stop or each.outcome in _STUMBLED for each in settled):
            self.each_s = math.inf
        else:
            now_s = seconds / len(settled)
            self.each_s = now_s if math.isinf(self.each_s) else (self.each_s + now_s) / 2


@dataclass(frozen=True, slots=True)
class Rounds:
    """Carries out rounds for one pair of hands. ``lease_s``: from opening the intents to the outcome.

    ``prepared`` makes an intent of a plan; ``call`` sends one request, on the grant in hand; ``alone`` sends an intent
    by itself, of a lane that was claimed at the time given.
    """

    store: LaneStore
    desk: Desk
    pacer: Pacer
    settler: Settler
    clock: Callable[[], float]
    lease_s: float
    quiet_s: float
    send_within_s: float
    prepared: Callable[[Lane, Writable], Intent | Settled]
    call: Callable[[Lane, Intent], Reply]
    alone: Callable[[Lane, Writable, Intent, float], Settled]

    def carry_out(self, members: Sequence[Member], claimed: float) -> list[Settled]:
        """Prepare each; then send what is to be sent, one after another. Where it left each lane."""
        settled: list[Settled] = []
        steps: list[Sending] = []
        # Where the sink is asked before something is made; what is not needed for that is for the writes.
        self.pacer.expect(len(members))
        for place, member in enumerate(members):
            intent = self.prepared(member.lane, member.planned)
            if isinstance(intent, Intent):
                steps.append((member, intent))
                continue
            settled.append(intent)
            if intent.stop or intent.outcome in _STUMBLED:
                left = [*(step for step, _ in steps), *members[place + 1 :]]
                return settled + self._back(left, stop=intent.stop)
        if len(steps) == 1:
            return settled + self._one_by_one(steps, claimed)
        return settled + (self._send(steps) if steps else [])

    def _one_by_one(self, steps: Sequence[Sending], claimed: float) -> list[Settled]:
        """Each in transactions of its own; when the sink is not to be written to any more, the others go back."""
        settled: list[Settled] = []
        for place, (member, intent) in enumerate(steps):
            settled.append(self.alone(member.lane, member.planned, intent, claimed))
            if settled[-1].stop or settled[-1].outcome in _STUMBLED:
                left = [member for member, _ in steps[place + 1 :]]
                return settled + self._back(left, stop=settled[-1].stop)
        return settled

    def _send(self, steps: Sequence[Sending]) -> list[Settled]:
        if not self.pacer.stand_by():
            return self._back([member for member, _ in steps], stop=True)
        send_by = self.clock() + self.send_within_s
        try:
            opened, settled = self._open(steps)
        except Conflict:
            # Somebody has one of them: each finds out for itself.
            return self._one_by_one(steps, self.clock())
        answered: list[tuple[Lane, Intent, Reply]] = []
        self.pacer.expect(len(opened))
        for place, (member, intent) in enumerate(opened):
            granted = self.pacer.take()
            if not granted or self.clock() > send_by:
                return settled + self._settle(answered) + self._not_sent(opened[place:], stop=not granted)
            reply = self.call(member.lane, intent)
            answered.append((member.lane, intent, reply))
            if reply.outcome in _HALTS:
                return settled + self._settle(answered) + self._not_sent(opened[place + 1 :], stop=False)
        return settled + self._settle(answered)

    def _open(self, steps: Sequence[Sending]) -> tuple[list[Sending], list[Settled]]:
        """Commit the intents of the lanes that are ours and whose plans are still right; what became of the others."""
        opened: list[Sending] = []
        settled: list[Settled] = []
        with self.store.begin() as tx:
            # Lanes, then entities, in the order in which everybody locks them.
            ours = tx.extend_all([member.lane for member, _ in steps], self.lease_s)
            mine = [step for step in steps if step[0].lane.lane_id in ours]
            settled += [Settled("fence_lost")] * (len(steps) - len(mine))
            still = self.desk.still_all(tx, [(member.lane, member.planned) for member, _ in mine]) if mine else set()
            stop = len(still) < len(mine) and self.desk.terms_changed(tx)
            for member, intent in sorted(mine, key=lambda step: step[0].lane.entity_id):
                if member.lane.lane_id not in still:
                    # Changed since it was planned, perhaps withdrawn: what is sent is what holds now.
                    tx.give_back(member.lane, State.READY, reason=member.lane.reason, counts=False)
                    settled.append(Settled("outdated", stop=stop))
                    continue
                tx.open_intent(member.lane, intent, self.quiet_s)
                opened.append((member, intent))
            self.desk.announce(tx, [(member.lane, intent) for member, intent in opened])
        return opened, settled

    def _settle(self, answered: Sequence[tuple[Lane, Intent, Reply]]) -> list[Settled]:
        """In the order of the answers; what landed first, together."""
        landed = [each for each in answered if each[2].outcome in _DONE]
        if len(landed) > 1:
            known = dict(
                zip((lane.lane_id for lane, _, _ in landed), self.settler.landed_together(landed), strict=True)
            )
        else:
            known = {}
        return [known.get(lane.lane_id) or self.settler.write(lane, intent, reply) for lane, intent, reply in answered]

    def _not_sent(self, steps: Sequence[Sending], *, stop: bool) -> list[Settled]:
        """Intents of which nothing came; their lanes go back as they were."""
        if not steps:
            return []
        with self.store.begin() as tx:
            for member, intent in sorted(steps, key=lambda step: step[0].lane.lane_id):
                tx.log_outcome(member.lane, intent, "not_sent", None, "limiter" if stop else "halted")
                if tx.give_back(member.lane, State.READY, reason=member.lane.reason, counts=False):
                    tx.close_intent(member.lane, intent.intent_id)
        return [Settled("put_off", stop=stop) for _ in steps]

    def _back(self, members: Sequence[Member], *, stop: bool) -> list[Settled]:
        """Not now: the lanes go back as they were."""
        if not members:
            return []
        with self.store.begin() as tx:
            for member in sorted(members, key=lambda member: member.lane.lane_id):
                tx.give_back(member.lane, State.READY, reason=member.lane.reason, counts=False)
        return [Settled("put_off", stop=stop) for _ in members]
