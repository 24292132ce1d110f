"""What is to be done for one lane now: nothing, wait, create, or update. Reads, decides, sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from connector_runner.connectors.sinks import Json
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import EARLIEST, parse_instant
from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.kernel.ids import new_id
from connector_runner.outbound import dependencies, intents
from connector_runner.outbound.choosing import CONFLICT, Choice, choose, may_create, public_name, record_in, same_value
from connector_runner.outbound.dependencies import DEPENDENCY, References
from connector_runner.outbound.intents import Confirmed, Intent, SentClaim
from connector_runner.outbound.lanes import Lane, Withheld, client_ref
from connector_runner.outbound.patching import patch
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import MappingContext, OutboundContext
from connector_runner.unification.outbound import OutboundMapping
from connector_runner.world.atoms import join, split
from connector_runner.world.fold import Claim
from connector_runner.world.reading import EntityView

IN_STEP: Final = "in_step"
NOTHING_ELIGIBLE: Final = "nothing_eligible"
NOT_ACTIVE: Final = "entity_not_active"
NO_MAPPING: Final = "no_mapping"
TYPE_NOT_COVERED: Final = "type_not_covered"
SINK_NEWER: Final = "sink_newer"
MISSING_FIELD: Final = "missing_field"


@dataclass(frozen=True, slots=True)
class Nothing:
    """No write is wanted, and why."""

    reason: str
    detail: str | None = None
    withheld: tuple[Withheld, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Something must be in the sink first; ``detail`` names the fields that refer to it."""

    detail: str
    withheld: tuple[Withheld, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entity has to say to a sink, as of its ``revision``. ``ref`` is its resource there, if any."""

    entity_type: str
    revision: int
    ref: str | None
    choice: Choice
    removed: tuple[str, ...]
    mapping: OutboundMapping
    references: References
    desired_hash: bytes
    withheld: tuple[Withheld, ...]
    confirmed: Confirmed | None = field(default=None)

    def render(self, state: Json) -> Json:
        """``state`` as the sink's resource. Raises BadRecord or NotYet where a required element is missing."""
        return self.mapping.render(state, OutboundContext(self.references.resolve))


Plan = Nothing | Wait | Wanted


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides with the mappings of the installation and the sinks' terms."""

    mappings: MappingSet
    sealer: Sealer

    def plan(
        self,
        tx: Tx,
        workspace_id: str,
        terms: SinkTerms,
        view: EntityView,
        lane: Lane | None,
        sources: Mapping[str, str],
    ) -> Plan:
        """What ``view`` wants of the sink. ``sources``: name -> id of the workspace's data sources."""
        mapping = self.mappings.outbound(terms.system, view.entity_type)
        if view.entity_type not in terms.entity_types:
            return Nothing(TYPE_NOT_COVERED)
        if mapping is None:
            return Nothing(NO_MAPPING)
        if view.folded.status != "active":
            return Nothing(NOT_ACTIVE, view.folded.status)
        ref = (lane.sink_ref if lane else None) or record_in(
            terms.sink_id, view.records, except_id=client_ref(terms.sink_id, view.entity_id)
        )
        if ref is None:
            refusal = may_create(view.canonical_id, view.records, terms, sources)
            if refusal is not None:
                return Nothing(refusal)
        choice = choose(view.folded.atoms, terms, view.entity_type, mapping.fields())
        confirmed = intents.open_confirmed(tx, self.sealer, lane) if lane is not None else None
        removed = _withdrawn(choice, confirmed)
        if removed and not choice.chosen and not choice.kept:
            # Nothing is left to be said: a resource is never emptied for that. Taking one back is a write of its own.
            return Nothing(NOT_ACTIVE, "withdrawn", choice.withheld)
        if not choice.chosen and not removed:
            below = choice.withheld[0].code if choice.withheld else (IN_STEP if ref else NOTHING_ELIGIBLE)
            return Nothing(below, withheld=choice.withheld)
        return self._wanted(tx, workspace_id, terms, view, ref, choice, removed, confirmed, mapping)

    def _wanted(
        self,
        tx: Tx,
        workspace_id: str,
        terms: SinkTerms,
        view: EntityView,
        ref: str | None,
        choice: Choice,
        removed: tuple[str, ...],
        confirmed: Confirmed | None,
        mapping: OutboundMapping,
    ) -> Plan:
        values = {atom: claim.value for atom, claim in choice.chosen.items()}
        state = join(values)
        found = dependencies.refs_in(state)
        references = References(tx, workspace_id, terms, found)
        lacking = dependencies.missing(references, view.entity_type, mapping.dependencies(state))
        withheld = (*choice.withheld, *lacking.left_out)
        if lacking.waits_for:
            return Wait(", ".join(lacking.waits_for), withheld)
        desired = exact_json.digest(
            [
                mapping.version,
                values,
                sorted(removed),
                sorted((canonical, references.resolve(canonical) or "") for canonical in found),
            ]
        )
        return Wanted(
            view.entity_type,
            view.revision,
            ref,
            choice,
            removed,
            mapping,
            references,
            desired,
            withheld,
            confirmed,
        )

    def creation(self, wanted: Wanted, lane: Lane, identified: Json) -> Intent:
        """The intent of a create; ``identified`` is the body with our identity in it."""
        return Intent(
            intent_id=new_id(),
            operation=intents.CREATE,
            resource_type=wanted.mapping.resource_type,
            target=None,
            body=identified,
            before=None,
            precondition=None,
            idempotency_key=lane.client_ref,
            desired_hash=wanted.desired_hash,
            revision=lane.desired_revision,
            mapping_version=wanted.mapping.version,
            changed=tuple(SentClaim.of(claim) for claim in wanted.choice.chosen.values()),
            atoms=tuple(sorted(wanted.choice.chosen)),
            created_by_us=True,
        )

    def body(self, wanted: Wanted) -> Json | Nothing:
        """The resource to be created, or why it cannot be made."""
        try:
            return wanted.render(join({atom: claim.value for atom, claim in wanted.choice.chosen.items()}))
        except BadRecord as exc:
            return Nothing(MISSING_FIELD, exc.where, wanted.withheld)
        except NotYet as exc:
            return Nothing(DEPENDENCY, exc.where, wanted.withheld)

    def change(self, wanted: Wanted, lane: Lane, terms: SinkTerms, current: Json, etag: str | None) -> Intent | Nothing:
        """The intent that brings ``current``, as the sink holds it, to what is wanted; or nothing to change.

        Raises BadRecord when the sink's resource cannot be read by its inbound mapping.
        """
        held = split(self.facts(terms, current))
        known = split(self.facts(terms, wanted.confirmed.body)) if wanted.confirmed else {}
        target = dict(held)
        changed: list[Claim] = []
        withheld = list(wanted.withheld)
        updated = _last_updated(current)
        for atom, claim in wanted.choice.chosen.items():
            if atom in held and same_value(held[atom], claim.value):
                continue
            if _edited(atom, held, known, wanted.choice.own) and updated > claim.since:
                withheld.append(Withheld(public_name(atom), SINK_NEWER))
                continue
            target[atom] = claim.value
            changed.append(claim)
        for atom in wanted.removed:
            target.pop(atom, None)
        before, after = wanted.render(join(held)), wanted.render(join(target))
        if before == after:
            return Nothing(IN_STEP, withheld=tuple(withheld))
        body = patch(current, before, after)
        confirmed = wanted.confirmed
        owned = set(confirmed.atoms if confirmed else ()).difference(wanted.removed) | {c.atom for c in changed}
        return Intent(
            intent_id=new_id(),
            operation=intents.UPDATE,
            resource_type=wanted.mapping.resource_type,
            target=wanted.ref,
            body=body,
            before=current,
            precondition=etag,
            idempotency_key=f"{lane.client_ref}:{exact_json.digest(body).hex()}",
            desired_hash=wanted.desired_hash,
            revision=lane.desired_revision,
            mapping_version=wanted.mapping.version,
            changed=tuple(SentClaim.of(claim) for claim in changed),
            atoms=tuple(sorted(owned)),
            created_by_us=confirmed.created_by_us if confirmed else False,
        )

    def facts(self, terms: SinkTerms, resource: Json) -> Json:
        """What a resource of the sink says, by the sink's inbound mapping."""
        kind = str(resource.get("resourceType"))
        mapping = self.mappings.inbound(terms.system, kind)
        if mapping is None:
            raise BadRecord("the sink's resource has no inbound mapping", code="no_mapping", where=kind)
        return mapping.map(resource, MappingContext(terms.name, base_url=terms.base_url)).facts


def with_ref(wanted: Wanted, ref: str) -> Wanted:
    """The same for a resource that turned out to exist."""
    return replace(wanted, ref=ref)


def _withdrawn(choice: Choice, confirmed: Confirmed | None) -> tuple[str, ...]:
    """What we wrote and nobody says any more: taken back from a resource that we made; others' keep it."""
    if confirmed is None or not confirmed.created_by_us:
        return ()
    held_back = {item.atom for item in choice.withheld if item.code == CONFLICT}
    return tuple(
        atom
        for atom in confirmed.atoms
        if atom not in choice.chosen and atom not in choice.kept and public_name(atom) not in held_back
    )


def _edited(atom: str, held: Json, confirmed: Json, seen: Mapping[str, object]) -> bool:
    """Whether the sink's value is neither what it confirmed to us nor what a poll last saw there."""
    if atom not in held:
        return False
    return not any(atom in known and same_value(held[atom], known[atom]) for known in (confirmed, seen))


def _last_updated(resource: Json) -> datetime:
    meta = resource.get("meta")
    text = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return (parse_instant(text) if isinstance(text, str) else None) or EARLIEST
