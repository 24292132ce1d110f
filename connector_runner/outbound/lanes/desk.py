"""What entities want of a sink, over Postgres and the planner: ``ports.Desk`` for one sink."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from connector_runner.connectors import terms_store
from connector_runner.connectors.sinks import Json, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import SYNC_SECONDS
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import canonical_id
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating import refusing
from connector_runner.outbound.gating.choosing import same_value
from connector_runner.outbound.lanes import intents, refusals, store
from connector_runner.outbound.lanes.intents import CREATE, Intent, as_sent
from connector_runner.outbound.lanes.lane import Lane, Withheld
from connector_runner.outbound.lanes.lane_store import SqlLaneTx
from connector_runner.outbound.operating import naming, overtaken, parting, undo, undo_store
from connector_runner.outbound.operating.undo import Inverse
from connector_runner.outbound.planning import (
    dependency_store,
    duplicate_search,
    member_store,
    ordered_store,
    strangers,
)
from connector_runner.outbound.planning.checking import problems_of
from connector_runner.outbound.planning.dependencies import NOBODY
from connector_runner.outbound.planning.dependency_store import Held
from connector_runner.outbound.planning.duplicate_search import Standing
from connector_runner.outbound.planning.planner import Planner
from connector_runner.outbound.planning.plans import Nothing, Wait, Wanted, with_ref
from connector_runner.outbound.ports import LaneTx, Problem, Writable
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, split
from connector_runner.world.events import SentAtom
from connector_runner.world.reading import EntityView

log = get_logger(__name__)

NO_ENTITY = "no_entity"
URN = "urn:uuid:"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan of the planner's, as the engine takes it."""

    wanted: Wanted
    planner: Planner
    terms: SinkTerms
    standing: Standing | None = None

    @property
    def ref(self) -> str | None:
        """``Type/id`` of the resource in the sink, if there is one."""
        return self.wanted.ref

    @property
    def desired_hash(self) -> bytes:
        """Stands for everything that is to be said."""
        return self.wanted.desired_hash

    @property
    def known(self) -> Json | None:
        """The resource as it was last confirmed, if nothing else was seen there since."""
        return self.wanted.known

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """What is not said, and why."""
        return self.wanted.withheld

    def creation(self, lane: Lane, sink: Sink) -> Intent | Nothing:
        """The intent of a create, our identity in its body."""
        body = self.planner.body(self.wanted)
        if isinstance(body, Nothing):
            return body
        return self.wanted.creation(lane, sink.identified(body, lane.client_ref))

    def change(self, lane: Lane, current: Json, etag: str | None) -> Intent | Nothing:
        """The smallest change of ``current``; raises BadRecord too where that is somebody else's by now."""
        confirmed = self.wanted.confirmed
        if confirmed is None or current is not confirmed.body:
            known = None if confirmed is None else self.planner.facts(self.terms, confirmed.body)
            if strangers.is_stranger(self.wanted, self.planner.facts(self.terms, current), known):
                raise BadRecord("the record there is somebody else's", code=strangers.OTHER_PERSON)
        return self.planner.change(self.wanted, lane, self.terms, current, etag)

    def adopting(self, ref: str) -> Planned:
        """For a resource that turned out to be there."""
        return replace(self, wanted=with_ref(self.wanted, ref))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a survey saw of a lane: its entity, and whether to search for it before it is created."""

    view: EntityView
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class SqlDesk:
    """Reads entities in the engine's transactions. One for a drain."""

    outbound: Outbound
    workspace_id: str
    terms: SinkTerms

    def survey(self, tx: LaneTx, lanes: Sequence[Lane]) -> Mapping[str, Seen]:
        """Their entities, and what is known of those that are not in the sink yet."""
        own = _own(tx)
        views = {view.entity_id: view for view in reading.views(own, [lane.entity_id for lane in lanes])}
        named = {
            lane.lane_id: views[lane.entity_id].canonical_id
            for lane in lanes
            if lane.sink_ref is None and lane.entity_id in views
        }
        standing = duplicate_search.standing(own, self.workspace_id, named) if named else {}
        new = [views[lane.entity_id] for lane in lanes if lane.lane_id in named]
        if new:
            member_store.look_ahead(own, self.workspace_id, {e: view.entity_type for view in new for e in view.members})
        return {
            lane.lane_id: Seen(views[lane.entity_id], standing.get(lane.lane_id))
            for lane in lanes
            if lane.entity_id in views
        }

    def plan(
        self, tx: LaneTx, lane: Lane, along: Mapping[str, str] = NOBODY, seen: object = None
    ) -> Nothing | Wait | Planned | Inverse:
        """What is to be undone, else what the entity wants now; raises BadRecord where it can want nothing."""
        own = _own(tx)
        if lane.undo_asked:
            inverse = undo.planned(own, self.outbound, self.workspace_id, self.terms, lane)
            if inverse is not None:
                return inverse
        known = seen if isinstance(seen, Seen) else None
        view = reading.view(own, self.workspace_id, lane.entity_id) if known is None else known.view
        if view is None or view.entity_id != lane.entity_id:
            # Who adopted the record has a lane of their own.
            return Nothing(NO_ENTITY)
        if parting.ask(own, self.workspace_id, self.terms, view, lane, self.outbound.clock()):
            inverse = undo.planned(own, self.outbound, self.workspace_id, self.terms, lane)
            if inverse is not None:
                return inverse
        overtaken.ask(own, self.outbound.quarantine, self.workspace_id, self.terms, view, lane, self.outbound.clock())
        sources = sink_store.source_ids(own, self.workspace_id)
        plan = self.outbound.planner.plan(own, self.workspace_id, self.terms, view, lane, sources, along)
        if isinstance(plan, Nothing):
            refusing.note(
                own, self.workspace_id, sink=self.terms.name, entity_id=lane.entity_id, reason=plan.reason,
                before=lane.reason, rests_on=plan.detail, now=self.outbound.clock(),
            )  # fmt: skip
        if not isinstance(plan, Wanted):
            naming.look(own, self.outbound, self.workspace_id, self.terms, view, lane, plan)
            return plan
        if plan.upto is not None:
            ordered_store.sending(own, lane.lane_id, upto=plan.upto, desired_hash=plan.desired_hash, more=plan.more)
        return Planned(plan, self.outbound.planner, self.terms, known.standing if known is not None else None)

    def compared_meanwhile(self, entity_ids: Sequence[str]) -> None:
        """Until their lanes were seen to wait, nobody who compared them could tell."""

        def look(tx: Tx) -> int:
            return member_store.release_compared_meanwhile(tx, self.workspace_id, reading.views(tx, list(entity_ids)))

        self.outbound.database.retrying(self.workspace_id, look)

    def reference(self, lane: Lane, planned: Writable) -> str:
        """Its place where we choose ids, else the name that its entry goes by (R4, bundle.html#references)."""
        if not isinstance(planned, Planned):
            raise TypeError("only what is planned here is referred to")
        kind = planned.wanted.mapping.resource_type
        return f"{kind}/{lane.client_ref}" if self.terms.client_id else f"{URN}{lane.client_ref}"

    def still(self, tx: LaneTx, lane: Lane, planned: Writable) -> bool:
        """Whether the entity was not folded anew since, nobody asks for an undo first, what it refers to is where it
        was, the sink's terms are those it was planned by and consent still allows it.

        Of an undo: whether it is asked still.
        """
        return lane.lane_id in self.still_all(tx, [(lane, planned)])

    def still_all(self, tx: LaneTx, plans: Sequence[tuple[Lane, Writable]]) -> set[str]:
        """The same of several, their revisions read at once, and where all is that they refer to."""
        own = _own(tx)
        found: set[str] = set()
        mark, now = store.stamps_of(own, [lane for lane, _ in plans])
        if mark != self.terms.mark:
            return found
        there = self._there(own, [planned for _, planned in plans])
        for lane, planned in plans:
            if isinstance(planned, Inverse):
                kept = self._asked(own, lane, planned)
            elif isinstance(planned, Planned):
                wanted = planned.wanted
                kept = now.get(lane.lane_id) == wanted.stamp and wanted.references.hold(there)
                kept = kept and self._allowed(own, lane, planned)
            else:
                raise TypeError("this desk carries out its own plans only")
            if kept:
                found.add(lane.lane_id)
        return found

    def terms_changed(self, tx: LaneTx) -> bool:
        """Whether the sink is off, has other settings, or was read further or begun anew, since its terms were read."""
        return terms_store.mark(_own(tx), self.workspace_id, self.terms.sink_id) != self.terms.mark

    def _there(self, tx: Tx, plans: Iterable[Writable]) -> dict[str, Held]:
        """Where the sink has now what plans refer to."""
        asked = {record for each in plans if isinstance(each, Planned) for record in each.wanted.references.asked_for}
        return dependency_store.held(tx, self.terms.sink_id, self.terms.name, sorted(asked)) if asked else {}

    @staticmethod
    def _asked(tx: Tx, lane: Lane, inverse: Inverse) -> bool:
        asked = undo_store.open_request(tx, lane.lane_id)
        return asked is not None and asked["undo_id"] == inverse.undo_id

    def _allowed(self, tx: Tx, lane: Lane, planned: Planned) -> bool:
        """Whether consent allows still what was planned."""
        refusal = self.outbound.planner.refusal(tx, self.workspace_id, self.terms, lane.entity_id, planned.wanted)
        return refusal is None

    def announce(self, tx: LaneTx, opened: Sequence[tuple[Lane, Intent]]) -> None:
        """Join the records that are about to be made to their entities, lest a poll that is quicker take them for
        others."""
        made = {
            canonical_id(self.terms.name, intent.resource_type, lane.client_ref): lane.entity_id
            for lane, intent in opened
            if intent.operation == CREATE and self.terms.client_id
        }
        if made:
            self.outbound.world.adopt_all(
                _own(tx), self.workspace_id, made, self.terms.sink_id, now=self.outbound.clock()
            )

    def _announced(self, lane: Lane, intent: Intent, ref: str) -> bool:
        """Whether the record was joined to its entity when the intent was opened: its name is of our choosing."""
        named = ref == f"{intent.resource_type}/{lane.client_ref}"
        return named and self.terms.client_id and intent.operation == CREATE

    def landed(self, tx: LaneTx, lane: Lane, intent: Intent, ref: str, body: Json | None) -> None:
        """Adopt the record, and remember what was sent so that its echo is known."""
        own, now = _own(tx), self.outbound.clock()
        record_key = canonical_id(self.terms.name, *ref.split("/", 1))
        if lane.sink_ref != ref and not self._announced(lane, intent, ref):
            self.outbound.world.adopt(own, self.workspace_id, record_key, lane.entity_id, self.terms.sink_id, now=now)
        if body is not None:
            sent = self._sent_atoms(body, intent)
            self.outbound.world.remember_sent(own, self.workspace_id, record_key, sent, now=now)
        if undo.is_inverse(intent):
            undo.landed(own, self.outbound, self.workspace_id, lane, intent)
        else:
            naming.landed(own, self.workspace_id, lane)
        refusals.lift(own, self.outbound.world, self.workspace_id, lane, intent, now)
        if lane.wanted_at is not None:
            SYNC_SECONDS.labels(sink=self.terms.name).observe(max((now - lane.wanted_at).total_seconds(), 0.0))

    def arrived(self, tx: LaneTx, lanes: Sequence[Lane]) -> None:
        """Wake who waited for their entities, and have those looked at that are one with them."""
        own, entities = _own(tx), sorted(lane.entity_id for lane in lanes)
        member_store.release_others(own, self.workspace_id, entities)
        dependency_store.wake_dependents(own, self.workspace_id, self.terms.sink_id, entities)

    def refused(self, tx: LaneTx, lane: Lane, intent: Intent, code: str) -> bool:
        """Where a patient was told otherwise, put it on the record and ask for the patient to be told."""
        own, now = _own(tx), self.outbound.clock()
        return refusals.refuse(own, self.outbound.world, self.workspace_id, self.terms.name, lane, intent, code, now)

    def carries(self, found: Json, intent: Intent) -> bool:
        """Read through the sink's inbound mapping; an inverse, piece by piece."""
        if undo.is_inverse(intent):
            return undo.restores(found, intent)
        try:
            held = split(self._facts(found))
            meant = split(self._facts({**intent.body, "id": found.get("id") or "unknown"}))
            before = {} if intent.before is None else split(self._facts(intent.before))
        except BadRecord:
            return False
        return all(
            atom in held
            and (same_value(held[atom], meant[atom]) or _came_along(meant[atom], held[atom], before.get(atom)))
            for atom in (claim.atom for claim in intent.changed)
            if atom in meant
        ) and not any(atom in held for atom in before if atom not in meant)

    def maker(self, tx: LaneTx, lane: Lane, intent: Intent, found: Json) -> Intent:
        """The one of which most stands there still."""
        earlier = intents.creates_of(_own(tx), self.outbound.sealer, lane)
        if len(earlier) < 2:
            return intent

        def alike(made: Intent) -> int:
            said = split(self._facts({**made.body, "id": found.get("id") or "unknown"}))
            return sum(1 for atom in made.atoms if atom in said and atom in held and same_value(said[atom], held[atom]))

        try:
            held = split(self._facts(found))
            return max(earlier, key=alike)
        except BadRecord:
            return intent

    def before_create(self, lane: Lane, intent: Intent, sink: Sink, planned: Writable) -> Nothing | Reply | str | None:
        """A patient whom only conversations know is searched for first; see ``duplicate_search``."""
        standing = planned.standing if isinstance(planned, Planned) else None
        return duplicate_search.search(self.outbound, self.workspace_id, self.terms, lane, intent, sink, standing)

    def check(self, intent: Intent) -> Sequence[Problem]:
        """Layer by layer, against the standard, the mapping and the sink's terms; see ``checking``."""
        return problems_of(self.outbound.mappings, self.terms, intent, self.outbound.clock())

    def _facts(self, resource: Json) -> Json:
        return self.outbound.planner.facts(self.terms, resource)

    def _sent_atoms(self, body: Json, intent: Intent) -> list[SentAtom]:
        """What went out, as a poll will see it: through the sink's own inbound mapping."""
        try:
            values = split(self._facts(body))
            # What the sink kept as it was, against what was sent, is its own word still.
            plain = intent.before is None or as_sent(body, intent.body)
            kept = {} if plain else split(self._facts(intent.before or {}))
            places = self._moved(values, intent) if any(c.atom not in values for c in intent.changed) else {}
        except BadRecord as exc:
            log.warning("echo_not_remembered", sink=self.terms.name, code=exc.code)
            return []
        return [
            SentAtom(
                atom,
                values[atom],
                claim.event_id,
                claim.source,
                claim.source_system,
                claim.confidence,
                datetime.fromisoformat(claim.since),
            )
            for claim in intent.changed
            if (atom := places.get(claim.atom, claim.atom)) in values
            and not (atom in kept and same_value(kept[atom], values[atom]))
        ]

    def _moved(self, values: Json, intent: Intent) -> dict[str, str]:
        """Atom that was sent -> the one that holds it by now: the sink added to it by what pieces are told apart."""
        meant = split(self._facts({**intent.body, "id": "unknown"}))
        return {
            claim.atom: atom
            for claim in intent.changed
            if claim.atom in meant and claim.atom not in values
            for atom, value in values.items()
            if atom not in meant and field_of(atom) == field_of(claim.atom) and _adds_to(value, meant[claim.atom])
        }


def _came_along(meant: object, held: object, before: object) -> bool:
    """Whether a reference to a record of the same transaction was written, whose name there only the sink knew."""
    return URN in exact_json.dumps(meant) and not same_value(held, before)


def _own(tx: LaneTx) -> Tx:
    if not isinstance(tx, SqlLaneTx):
        raise TypeError("this desk works in transactions of the SQL store only")
    return tx.tx


def _adds_to(value: object, said: object) -> bool:
    """Whether an object says all that another does, and more; how it was typed does not count."""
    if not isinstance(value, dict) or not isinstance(said, dict):
        return False
    return all(name in value and value[name] == held for name, held in said.items() if name != "raw")
