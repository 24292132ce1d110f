"""Release: an entity changed, so which sinks shall hear of it? The gates decide, lanes remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from connector_runner.connectors.directory import Applied
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import TransactionOver, Tx
from connector_runner.infra.logging import get_logger
from connector_runner.kernel.errors import BadRecord, RunnerError
from connector_runner.kernel.ids import canonical_id
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating import consent_store, marking, refusing
from connector_runner.outbound.gating.choosing import NOT_OWNED, record_in
from connector_runner.outbound.gating.gates import UNVERIFIED, external_system
from connector_runner.outbound.gating.quarrels import PING_PONG
from connector_runner.outbound.lanes import refusals, store
from connector_runner.outbound.lanes.lane import FRESH, INTERACTIVE, Lane, State, Withheld, client_ref, lane_id
from connector_runner.outbound.operating import naming, overtaken, parting, undo_store
from connector_runner.outbound.operating.undo_store import UNDONE
from connector_runner.outbound.planning import gap_store, member_store
from connector_runner.outbound.planning.creating import MISSING_REQUIRED
from connector_runner.outbound.planning.dependencies import DEPENDENCY_BELOW_THRESHOLD, lacks, rank
from connector_runner.outbound.planning.dependency_store import recheck_dependents, wake_dependents
from connector_runner.outbound.planning.members import DUPLICATE_IN_SINK, RESOLUTION_PENDING
from connector_runner.outbound.planning.plans import IN_STEP, NOT_ACTIVE, WITHDRAWN, Nothing, Plan, Wait, Wanted
from connector_runner.outbound.reconciling import reconcile_marks, reconcile_store
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.translating.translating import UNTRANSLATED
from connector_runner.policy.asking import CODES as POLICY_CODES
from connector_runner.review import items
from connector_runner.world.changes import EntityChange
from connector_runner.world.confidence import HIGH, confidence_class
from connector_runner.world.fold import Claim
from connector_runner.world.reading import EntityView, views

log = get_logger(__name__)

T = TypeVar("T")

INTERNAL_ERROR: Final = "internal_error"
FIRST_RECHECK_S: Final = 2.0
"""A lane that release makes wait is looked at again soon: what it waits for may have landed, and woken whom it
saw waiting, while release had not committed yet. The drain looks under the lane's own lock, so it can wait."""

_DUPLICATE_PRIORITY: Final = 50

_STOPPED: Final = (
    UNVERIFIED
    | POLICY_CODES
    | {
        DEPENDENCY_BELOW_THRESHOLD,
        MISSING_REQUIRED,
        PING_PONG,
        UNTRANSLATED,
    }
)
"""Reasons for which an entity stays out of a sink until somebody does something about it."""
_ASKED_ABOUT: Final = _STOPPED | {NOT_OWNED, UNDONE}


@dataclass(frozen=True, slots=True)
class ReadySink:
    """A sink that has something to be sent."""

    sink_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Released:
    """How many entities were looked at, which sinks got work, and whether more entities wait."""

    entities: int
    sinks: tuple[ReadySink, ...]
    more: bool


def subscriber(tx: Tx, workspace_id: str, changes: Sequence[EntityChange]) -> None:
    """World's EntityChanged: ask for a release of those that any sink covers, in the same transaction.

    With a word about consent, or what a patient's record bears, everything of that patient is looked at anew.
    """
    covered = sink_store.covered_types(tx, workspace_id)
    consents = [change.entity_id for change in changes if change.entity_type == consent_store.CONSENT]
    people = consent_store.follow(tx, workspace_id, consents) if consents else []
    patients = [change.entity_id for change in changes if change.entity_type == consent_store.PATIENT]
    people += marking.follow(tx, workspace_id, patients) if patients else []
    if not covered:
        return
    if people:
        consent_store.request_release_of_people(tx, workspace_id, people, sorted(covered), INTERACTIVE)
    wanted = [change.entity_id for change in changes if change.entity_type in covered]
    if wanted:
        sink_store.request_release(tx, workspace_id, wanted)


def applied(tx: Tx, workspace_id: str, documents: Sequence[Applied]) -> None:
    """What follows for sinks of data sources that were applied, in the transaction that did it.

    Where a source is at another address, nothing is known of what stands there.
    """
    for document in documents:
        if document.moved:
            sink_store.forget_versions(tx, workspace_id, document.source.data_source_id)
    if any(document.outcome != "unchanged" and document.source.settings.sink for document in documents):
        request_all(tx, workspace_id)


def request_all(tx: Tx, workspace_id: str) -> None:
    """Ask for a look at every entity that a sink covers, as when a sink or its terms are new."""
    sink_store.request_release_of_types(tx, workspace_id, sorted(sink_store.covered_types(tx, workspace_id)))


def release(outbound: Outbound, workspace_id: str, limit: int = 100) -> Released:
    """Look at the entities that changed longest ago and bring their lanes to where they belong.

    Safe to run many times at once. A change that comes meanwhile asks again and is looked at again.
    """

    waiting: list[EntityView] = []

    def work(tx: Tx) -> Released:
        waiting.clear()
        taken = sink_store.take_pending(tx, workspace_id, limit)
        if not taken:
            return Released(0, (), False)
        all_terms = outbound.sinks.terms(tx, workspace_id)
        asked = {pending.entity_id: pending.prio for pending in taken}
        seen = views(tx, list(asked))
        member_store.look_ahead(tx, workspace_id, {e: view.entity_type for view in seen for e in view.members})
        pairs = [(terms, view) for view in seen for terms in all_terms if view.entity_type in terms.entity_types]
        releasing = Releasing(outbound, tx, workspace_id)
        ready = releasing.all(pairs, asked)
        waiting.extend(releasing.to_be_compared)
        marks = reconcile_marks.terms_marks(all_terms, outbound.mappings)
        reconcile_store.mark(tx, workspace_id, [(v.entity_id, v.revision, marks.get(v.entity_type)) for v in seen])
        sink_store.released(tx, workspace_id, taken)
        sinks = {terms.sink_id: ReadySink(terms.sink_id, terms.name) for terms in ready}
        return Released(len(taken), tuple(sinks.values()), len(taken) == limit)

    def look_anew(tx: Tx) -> int:
        return member_store.release_compared_meanwhile(tx, workspace_id, waiting)

    done = outbound.database.retrying(workspace_id, work)
    anew = outbound.database.retrying(workspace_id, look_anew) if waiting else 0
    return replace(done, more=True) if anew else done


def consider(outbound: Outbound, tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView) -> bool:
    """Bring one lane to where its entity belongs; whether it has something to be sent now."""
    return bool(Releasing(outbound, tx, workspace_id).all([(terms, view)], {}, alone=True))


@dataclass(frozen=True, slots=True)
class Decided:
    """Where a lane belongs, by what its entity has to say to its sink; ``lane`` as it was then, if there was one."""

    terms: SinkTerms
    view: EntityView
    lane: Lane | None
    plan: Plan
    wish: sink_store.Wish


class Releasing:
    """Several entities and the sinks that take them, in one transaction: decided one by one, written down together.

    What an entity waits for may be decided after it: whatever waits is looked at again by the drain.
    """

    def __init__(self, outbound: Outbound, tx: Tx, workspace_id: str) -> None:
        self._outbound, self._tx, self._workspace_id = outbound, tx, workspace_id
        self._sources = sink_store.source_ids(tx, workspace_id)
        self.to_be_compared: list[EntityView] = []
        """Those that wait for it."""

    def all(
        self, pairs: Sequence[tuple[SinkTerms, EntityView]], asked: Mapping[str, int], *, alone: bool = False
    ) -> list[SinkTerms]:
        """The sinks of those lanes that have something to be sent now.

        ``asked``: entity -> the priority with which this was asked for: behind FRESH, or before it, so is the lane.
        One that makes it fail is put aside, so that it holds up no other; not where it is ``alone``.
        """
        places = [lane_id(terms.sink_id, view.entity_id) for terms, view in pairs]
        lanes = store.lanes_by_id(self._tx, places)
        ready: list[SinkTerms] = []
        decided: list[Decided] = []
        for (terms, view), place in zip(pairs, places, strict=True):
            lane = lanes.get(place)
            prio = asked.get(view.entity_id, FRESH)
            found = self._guarded(terms, view, partial(self._decide, terms, view, lane, prio), alone)
            if isinstance(found, Decided):
                decided.append(found)
            elif found:
                ready.append(terms)
            if isinstance(found, Decided) and found.wish.reason == RESOLUTION_PENDING:
                self.to_be_compared.append(view)
        now = sink_store.want(self._tx, self._workspace_id, [each.wish for each in decided])
        for each in decided:
            follow = partial(self._follow, each, now[each.wish.lane_id])
            if self._guarded(each.terms, each.view, follow, alone):
                ready.append(each.terms)
        return ready

    def _guarded(self, terms: SinkTerms, view: EntityView, work: Callable[[], T], alone: bool) -> T | None:
        try:
            return work()
        except BadRecord as error:
            if alone:
                raise
            code, message = error.code, error.message
        except (RunnerError, TransactionOver):
            raise
        except Exception as error:
            if alone:
                raise
            log.error("release_failed", entity_id=view.entity_id, sink=terms.name, exc_info=error)
            code, message = INTERNAL_ERROR, "deciding what may leave failed; the log says where"
        self._outbound.quarantine.put(
            self._tx,
            self._workspace_id,
            stage="release",
            subject=f"{terms.sink_id}:{view.entity_id}",
            code=code,
            message=message,
            place="",
            data_source_id=terms.sink_id,
            body=None,
            context={"entity_id": view.entity_id, "sink": terms.name},
            now=self._outbound.clock(),
        )
        return None

    def _decide(self, terms: SinkTerms, view: EntityView, lane: Lane | None, asked: int) -> Decided | bool:
        """Where a lane belongs; else whether it has something to be sent all the same."""
        outbound, tx, workspace_id = self._outbound, self._tx, self._workspace_id
        if lane is not None and (lane.undo_asked or parting.ask(tx, workspace_id, terms, view, lane, outbound.clock())):
            # First what is to be undone; the drain plans anew after it.
            undo_store.wake(tx, workspace_id, lane.lane_id)
            return True
        if lane is not None:
            overtaken.ask(tx, outbound.quarantine, workspace_id, terms, view, lane, outbound.clock())
        plan = outbound.planner.plan(tx, workspace_id, terms, view, lane, self._sources)
        _ask_people(outbound, tx, workspace_id, view, lane, plan)
        if isinstance(plan, Nothing):
            # A lane that waits is looked at by the drain: what it waits for may be released in this very batch.
            naming.look(tx, outbound, workspace_id, terms, view, lane, plan)
            if plan.reason == NOT_ACTIVE and view.others and (lane is None or lane.reason != NOT_ACTIVE):
                # What names a record of the person that is gone is to name another.
                member_store.release_referring(tx, workspace_id, view.members, sorted(terms.entity_types))
        wish = _wish(terms, view, lane, plan, asked)
        new = (lane is None or lane.sink_ref is None) and _adopted(terms, view) is not None
        if lane is None and wish.state is State.IDLE and not (new or _worth_showing(wish.reason, wish.withheld)):
            return False
        if new:
            wake_dependents(tx, workspace_id, terms.sink_id, [view.entity_id])
        _note_gaps(tx, workspace_id, terms, view, lane, plan)
        before = lane.reason if lane is not None else None
        refusing.note(
            tx, workspace_id, sink=terms.name, entity_id=view.entity_id, reason=wish.reason, before=before,
            rests_on=wish.detail, now=outbound.clock(),
        )  # fmt: skip
        if isinstance(plan, Wait) and wish.prio < FRESH and (lane is None or lane.state in (State.IDLE, State.READY)):
            # Once: what is waited for would else come in its own time, and this with it.
            sink_store.request_release(tx, workspace_id, plan.on, prio=INTERACTIVE)
        return Decided(terms, view, lane, plan, wish)

    def _follow(self, decided: Decided, now: State) -> bool:
        """What follows from where a lane is now; whether it has something to be sent."""
        tx, workspace_id, lane, plan = self._tx, self._workspace_id, decided.lane, decided.plan
        place = decided.wish.lane_id
        if now is State.QUARANTINED and isinstance(plan, Wanted):
            said = plan.choice.chosen.values()
            if refusals.answered(decided.view, decided.terms.name, said) or refusals.mended(
                tx, workspace_id, place, said
            ):
                # What was refused is not what is to be said by now: the patient was asked, or the record was corrected.
                undo_store.wake(tx, workspace_id, place)
                return True
        reason = decided.wish.reason
        if now in (State.IDLE, State.WAITING) and reason in _STOPPED and (lane is None or lane.reason != reason):
            recheck_dependents(tx, workspace_id, decided.terms.sink_id, decided.view.entity_id)
        return now is State.READY


def _wish(terms: SinkTerms, view: EntityView, lane: Lane | None, plan: Plan, asked: int) -> sink_store.Wish:
    """Where a lane belongs by its plan."""
    state, reason, detail, withheld = goes_to(plan, lane)
    told = lane is not None and lacks(lane.reason, (item["code"] for item in lane.withheld))
    if state is State.IDLE and not told and lacks(reason, (item.code for item in withheld)):
        # What it lacks may have landed meanwhile, and woken only whom it saw lacking it.
        state = State.WAITING
    still = lane is not None and lane.state not in (State.LEASED, State.UNKNOWN)
    return sink_store.Wish(
        sink_id=terms.sink_id,
        lane_id=lane_id(terms.sink_id, view.entity_id),
        entity_id=view.entity_id,
        entity_type=view.entity_type,
        client_ref=client_ref(terms.sink_id, view.entity_id),
        state=state,
        prio=_priority(plan, view, asked),
        policy=terms.policies.get(view.entity_type, "latest"),
        revision=view.revision,
        delay_s=_delay_s(plan, state),
        reason=reason,
        detail=detail,
        withheld=withheld,
        sink_ref=plan.ref if isinstance(plan, Wanted) else _adopted(terms, view),
        fence=lane.fence if lane is not None and still else 0,
        seen=lane.desired_revision if lane is not None else 0,
    )


def _adopted(terms: SinkTerms, view: EntityView) -> str | None:
    """``Type/id`` of a record that the entity adopted and does not go by: who refers to it finds that by its lane."""
    ref = record_in(terms.sink_id, view.records, except_id=client_ref(terms.sink_id, view.entity_id))
    return None if ref is None or canonical_id(terms.name, *ref.split("/", 1)) == view.canonical_id else ref


def _ask_people(outbound: Outbound, tx: Tx, workspace_id: str, view: EntityView, lane: Lane | None, plan: Plan) -> None:
    """What of entities that came together, or apart, no write puts right."""
    shown = {item["code"] for item in lane.withheld} if lane is not None else set()
    if DUPLICATE_IN_SINK in {item.code for item in plan.withheld} - shown:
        items.ask(
            tx,
            workspace_id,
            kind=items.MATCH,
            entity_id=view.entity_id,
            entity_type=view.entity_type,
            other_id=next(member for member in view.members if member != view.entity_id),
            reason=DUPLICATE_IN_SINK,
            priority=_DUPLICATE_PRIORITY,
            now=outbound.clock(),
        )
    gone = isinstance(plan, Nothing) and plan.reason == NOT_ACTIVE and plan.detail == WITHDRAWN
    if lane is not None and gone and lane.reason != NOT_ACTIVE:
        parting.emptied(tx, outbound.quarantine, workspace_id, view, lane, outbound.clock())


def _delay_s(plan: Plan, state: State) -> float:
    """When a lane is to be looked at again that has nothing to send now."""
    if state is State.WAITING:
        return FIRST_RECHECK_S
    return plan.again_in_s if isinstance(plan, Nothing) else 0.0


def _note_gaps(tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView, lane: Lane | None, plan: Plan) -> None:
    """Keep the list of what is missing before the record can be created, for those who ask people for it."""
    fields = plan.fields if isinstance(plan, Nothing) else ()
    if fields or (lane is not None and lane.reason == MISSING_REQUIRED):
        gap_store.note(tx, workspace_id, terms.sink_id, view.entity_id, fields)


def goes_to(plan: Plan, lane: Lane | None) -> tuple[State, str | None, str | None, tuple[Withheld, ...]]:
    """Where a lane belongs by its plan: state, reason, detail and withheld atoms."""
    if isinstance(plan, Nothing):
        return State.IDLE, plan.reason, plan.detail, plan.withheld
    if isinstance(plan, Wait):
        return State.WAITING, plan.reason, plan.detail, plan.withheld
    # What a poll last saw there may be older than what we wrote since: it tells only where we never wrote.
    written = lane is not None and lane.last_sent is not None
    in_step = (lane is not None and plan.desired_hash == lane.synced_hash) or (
        not written and plan.ref is not None and not plan.removed and not plan.choice.differing()
    )
    if in_step:
        return State.IDLE, IN_STEP, None, plan.withheld
    return State.READY, None, None, plan.withheld


def _worth_showing(reason: str | None, withheld: Sequence[Withheld]) -> bool:
    """Whether a person may ask why this was not sent; another system's word that a sink never takes is not that."""
    return reason in _ASKED_ABOUT or any(item.code in _ASKED_ABOUT for item in withheld)


def _priority(plan: Plan, view: EntityView, asked: int) -> int:
    """What agents and people said goes before what systems said; within that, what others refer to goes first.

    What nobody changed now, but was found wanting, goes behind both. What must wait has its place all the same, and
    what it waits for takes that place.
    """
    if asked != FRESH:
        return asked + rank(view.entity_type)
    interactive = isinstance(plan, Wanted | Wait) and any(external_system(claim) is None for claim in _said(plan, view))
    return (INTERACTIVE if interactive else FRESH) + rank(view.entity_type)


def _said(plan: Wanted | Wait, view: EntityView) -> Iterable[Claim]:
    if isinstance(plan, Wanted):
        return plan.choice.chosen.values()
    winners = (settled.winner for settled in view.folded.atoms.values())
    return (claim for claim in winners if confidence_class(claim.confidence) == HIGH)
