"""What is to be done for a claimed lane, and where it goes when that is nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import TransactionOver
from connector_runner.infra.logging import get_logger
from connector_runner.kernel.errors import BadRecord, RunnerError
from connector_runner.outbound.lanes.lane import MAX_ATTEMPTS, Lane, State
from connector_runner.outbound.lanes.outcomes import Settled, Settler
from connector_runner.outbound.lanes.together import Judged, Member
from connector_runner.outbound.planning.dependencies import NOBODY
from connector_runner.outbound.planning.first_read import SINK_NOT_READ
from connector_runner.outbound.planning.members import RESOLUTION_PENDING
from connector_runner.outbound.planning.plans import IN_STEP, Nothing, Wait
from connector_runner.outbound.ports import Desk, LaneTx, Writable

DEPENDENCY_RECHECK_S: Final = 300.0
READ_RECHECK_S: Final = 3600.0
"""Hundreds of thousands may wait for the first reading of a large sink, and the sweep tells them of its end."""
INTERNAL_ERROR: Final = "internal_error"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Judging:
    """Decides for the lanes of one sink, in the transaction that claimed them."""

    desk: Desk
    terms: SinkTerms
    settler: Settler

    def surveyed(self, tx: LaneTx, lanes: Sequence[Lane]) -> Mapping[str, object]:
        """What the desk saw of several lanes at one look; nothing where one of them made it fail."""
        try:
            return self.desk.survey(tx, lanes)
        except BadRecord:
            return {}
        except (RunnerError, TransactionOver):
            raise
        except Exception as error:
            log.error("survey_failed", sink=self.terms.name, exc_info=error)
            return {}

    def judged(self, tx: LaneTx, lane: Lane, along: Mapping[str, str], seen: object = None) -> Judged:
        """What is to be done for a lane. ``seen``: what a survey saw of it.

        A fault of ours in one lane must not hold up the others: that lane is put aside, and the drain goes on.
        """
        try:
            return self._plan(tx, lane, along, seen)
        except (RunnerError, TransactionOver):
            raise
        except Exception as error:
            log.error("plan_failed", lane_id=lane.lane_id, sink=self.terms.name, exc_info=error)
            return self.settler.quarantine(tx, lane, INTERNAL_ERROR, "planning this write failed; the log says where")

    def _plan(self, tx: LaneTx, lane: Lane, along: Mapping[str, str], seen: object) -> Judged:
        if lane.attempts > MAX_ATTEMPTS:
            return self.settler.quarantine(tx, lane, "attempts", f"gave up after {MAX_ATTEMPTS} attempts")
        try:
            return self.desk.plan(tx, lane, along, seen)
        except BadRecord as exc:
            return self.settler.quarantine(tx, lane, exc.code, exc.message)

    def several(self, tx: LaneTx, lane: Lane, owner: str, lease_s: float, at_once: int) -> list[Member | Settled]:
        """The same of a lane and of those that are due next, ``at_once`` in all."""
        if at_once == 1:
            return [self.decided(tx, lane)]
        more = tx.claim_more(self.terms.sink_id, owner=owner, lease_s=lease_s, limit=at_once - 1)
        seen = self.surveyed(tx, [lane, *more]) if more else {}
        return [self.decided(tx, each, seen.get(each.lane_id)) for each in (lane, *more)]

    def decided(self, tx: LaneTx, lane: Lane, seen: object = None) -> Member | Settled:
        """What is to be written of a lane that goes by itself, or where it went."""
        plan = self.concluded(tx, lane, self.judged(tx, lane, NOBODY, seen))
        return plan if isinstance(plan, Settled) else Member(lane, plan)

    def concluded(self, tx: LaneTx, lane: Lane, plan: Judged) -> Writable | Settled:
        """Give a lane back that has nothing to say, or must wait."""
        if isinstance(plan, Settled):
            return plan
        if isinstance(plan, Nothing):
            return self.idle(tx, lane, plan)
        if isinstance(plan, Wait):
            return self.waits(tx, lane, plan.reason, plan)
        if plan.ref is not None and plan.desired_hash == lane.synced_hash:
            return self.idle(tx, lane, Nothing(IN_STEP, withheld=plan.withheld))
        return plan

    def idle(self, tx: LaneTx, lane: Lane, why: Nothing) -> Settled:
        """Nothing is wanted of it now."""
        if self.desk.terms_changed(tx):
            return self._outdated(tx, lane)
        tx.give_back(
            lane, State.IDLE, reason=why.reason, detail=why.detail, delay_s=why.again_in_s, withheld=why.withheld
        )
        return Settled("idle")

    def waits(self, tx: LaneTx, lane: Lane, reason: str, wait: Wait) -> Settled:
        """It must wait."""
        if self.desk.terms_changed(tx):
            return self._outdated(tx, lane)
        tx.give_back(
            lane,
            State.WAITING,
            reason=reason,
            detail=wait.detail,
            delay_s=READ_RECHECK_S if reason == SINK_NOT_READ else DEPENDENCY_RECHECK_S,
            counts=False,
            withheld=wait.withheld,
        )
        return Settled("waiting", not_compared=lane.entity_id if reason == RESOLUTION_PENDING else None)

    @staticmethod
    def _outdated(tx: LaneTx, lane: Lane) -> Settled:
        """What the sink did not take by the terms that this was planned by, it may take by those it has now."""
        tx.give_back(lane, State.READY, reason=lane.reason, counts=False)
        return Settled("outdated", stop=True)
