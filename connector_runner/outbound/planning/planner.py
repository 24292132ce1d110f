"""What is to be done for one lane now: nothing, wait, create, or update. Reads, decides, sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from connector_runner.connectors.sinks import Json
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import EARLIEST, Clock, utc_now
from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.gating import consenting, quarrel_store
from connector_runner.outbound.gating.choosing import (
    Choice,
    choose,
    may_create,
    public_name,
    record_in,
    same_value,
    still_said,
)
from connector_runner.outbound.gating.gates import CONFLICT, GateFacts
from connector_runner.outbound.gating.quarrels import PING_PONG, quarrels
from connector_runner.outbound.lanes import intents
from connector_runner.outbound.lanes.intents import Confirmed, Intent, SentClaim
from connector_runner.outbound.lanes.lane import DEPENDENCY, HELD_AS_MEMBER, Lane, Withheld, client_ref
from connector_runner.outbound.operating import undo_store
from connector_runner.outbound.operating.undo_store import UNDONE
from connector_runner.outbound.planning import (
    creating,
    dependencies,
    first_read,
    member_store,
    members,
    ordered_store,
    outlived,
)
from connector_runner.outbound.planning.dependencies import DEPENDENCY_BELOW_THRESHOLD, NOBODY, References
from connector_runner.outbound.planning.held import edited, last_known, last_updated, ours
from connector_runner.outbound.planning.patching import patch
from connector_runner.outbound.planning.plans import (
    IN_STEP,
    MISSING_FIELD,
    NO_MAPPING,
    NOT_ACTIVE,
    NOTHING_ELIGIBLE,
    ORDERED,
    SINK_NEWER,
    TYPE_NOT_COVERED,
    WITHDRAWN,
    Nothing,
    Plan,
    Wait,
    Wanted,
    next_step,
)
from connector_runner.outbound.translating.translating import TRANSLATION_PENDING, UNTRANSLATED, look_up
from connector_runner.resolution.service import KINDS
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import MappingContext
from connector_runner.unification.outbound import OutboundMapping
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, join, split
from connector_runner.world.fold import Claim
from connector_runner.world.reading import EntityView


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides with the mappings of the installation and the sinks' terms.

    ``asks``: what rules alone cannot translate is noted, for a model or a person to answer.
    """

    mappings: MappingSet
    sealer: Sealer
    clock: Clock = utc_now
    asks: bool = True

    def gate_facts(self, tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView) -> GateFacts:
        """What the gates go by for an entity whose type the sink takes; what policy says is looked up here."""
        return consenting.gate_facts(tx, self.mappings, workspace_id, terms, view, self.clock())

    def refusal(self, tx: Tx, workspace_id: str, terms: SinkTerms, entity_id: str, wanted: Wanted) -> str | None:
        """Why policy keeps from a sink now what was planned."""
        said = {field_of(atom) for atom in (*wanted.choice.chosen, *wanted.removed)}
        return consenting.refusal(
            tx, self.mappings, workspace_id, terms, entity_id, wanted.entity_type, wanted.state, self.clock(), said
        )

    def plan(
        self,
        tx: Tx,
        workspace_id: str,
        terms: SinkTerms,
        view: EntityView,
        lane: Lane | None,
        sources: Mapping[str, str],
        along: Mapping[str, str] = NOBODY,
    ) -> Plan:
        """What ``view`` wants of the sink. ``sources``: name -> id of the workspace's data sources.

        ``along``: entity -> what refers to its record, where that is made in the same transaction.
        """

        def of(seen: EntityView) -> Plan:
            return self._plan(tx, workspace_id, terms, seen, lane, sources, along)

        now = of(view)
        if isinstance(now, Nothing) and now.reason == NOT_ACTIVE and lane is not None:
            return outlived.plan(tx, workspace_id, terms.name, view, lane, now, of)
        if not isinstance(now, Wanted) or terms.policies.get(view.entity_type) != ORDERED:
            return now
        upto = ordered_store.sent_upto(tx, lane.lane_id) if lane is not None else None
        as_of = reading.past(tx, view)
        return next_step(view, now, upto, lambda count: of(as_of(count)))

    def _plan(
        self,
        tx: Tx,
        workspace_id: str,
        terms: SinkTerms,
        view: EntityView,
        lane: Lane | None,
        sources: Mapping[str, str],
        along: Mapping[str, str],
    ) -> Plan:
        mapping = self.mappings.outbound(terms.system, view.entity_type)
        if view.entity_type not in terms.entity_types:
            return Nothing(TYPE_NOT_COVERED)
        if mapping is None:
            return Nothing(NO_MAPPING)
        ref = (lane.sink_ref if lane else None) or record_in(
            terms.sink_id, view.records, except_id=client_ref(terms.sink_id, view.entity_id)
        )
        if view.own_status != "active" and not members.goes_on(view, terms.sink_id, ref):
            before = ref is None and lane is not None
            return Nothing(creating.CANCELLED_BEFORE_SENT if before else NOT_ACTIVE, view.own_status)
        also = member_store.lanes_of(tx, workspace_id, terms.sink_id, [other.entity_id for other in view.others])
        if members.is_replaced(view, terms.sink_id, also):
            return Nothing(HELD_AS_MEMBER)
        if ref is None:
            refusal = may_create(view.canonical_id, terms, sources)
            if refusal is not None:
                return Nothing(refusal)
            kept = members.creates(view, terms, sources, also) if view.others else None
            if kept is not None:
                return kept
        facts = self.gate_facts(tx, workspace_id, terms, view)
        choice = self._chosen(tx, terms, view, lane, facts, mapping)
        if ref is not None and view.others:
            twice = members.duplicates(view, terms.sink_id, ref, also)
            choice = replace(choice, withheld=(*twice, *choice.withheld))
        idle = self._idle(terms, view, lane, ref, facts, choice, mapping, sources)
        if idle is not None:
            return idle
        confirmed = intents.open_confirmed(tx, self.sealer, lane) if lane is not None else None
        removed = self._withdrawn(terms, view, facts, choice, confirmed)
        if removed and not choice.chosen and not choice.kept:
            # Nothing is left to be said: a resource is never emptied for that. Taking one back is a write of its own.
            return Nothing(NOT_ACTIVE, WITHDRAWN, choice.withheld)
        if not choice.chosen and not removed:
            below = choice.withheld[0].code if choice.withheld else (IN_STEP if ref else NOTHING_ELIGIBLE)
            return Nothing(below, withheld=choice.withheld)
        wanted = self._wanted(tx, workspace_id, terms, view, ref, choice, removed, confirmed, mapping, along)
        if ref is not None or not isinstance(wanted, Wanted) or view.entity_type not in KINDS:
            return wanted
        unread = first_read.lacking(terms, mapping.resource_type)
        if unread is not None:
            return Wait(unread, wanted.withheld, first_read.SINK_NOT_READ)
        if member_store.not_compared(tx, workspace_id, view.entity_type, view.members):
            return Wait(members.RECORD, wanted.withheld, members.RESOLUTION_PENDING)
        return wanted

    def _chosen(
        self,
        tx: Tx,
        terms: SinkTerms,
        view: EntityView,
        lane: Lane | None,
        facts: GateFacts,
        mapping: OutboundMapping,
    ) -> Choice:
        """What passes the gates, is ours to write, was not undone, and is no quarrel between systems."""
        held = undo_store.held_back(tx, lane.lane_id, mapping.version) if lane is not None and lane.holds_back else None
        owned = terms.owns.get(view.entity_type)
        choice = choose(
            view.folded.atoms, terms, facts, mapping.fields(), owned=owned, held_back=held, records=view.records
        )
        found = quarrels(view, terms.sink_id, choice)
        if found and lane is not None:
            found = quarrels(view, terms.sink_id, choice, quarrel_store.settled_at(tx, lane.lane_id))
        if not found:
            return choice
        return replace(
            choice,
            chosen={atom: claim for atom, claim in choice.chosen.items() if atom not in found},
            withheld=(*(Withheld(public_name(atom), PING_PONG) for atom in found), *choice.withheld),
        )

    @staticmethod
    def _idle(
        terms: SinkTerms,
        view: EntityView,
        lane: Lane | None,
        ref: str | None,
        facts: GateFacts,
        choice: Choice,
        mapping: OutboundMapping,
        sources: Mapping[str, str],
    ) -> Nothing | None:
        """Why nothing is to be sent whatever there is to say; None when something may be."""
        if facts.consent is not None:
            # Not even to take something back: what the sink has, it keeps until a person sees to it.
            stopped = any(item.code == facts.consent for item in choice.withheld)
            if stopped or not choice.withheld:
                reason = facts.consent if stopped else NOTHING_ELIGIBLE
                return Nothing(reason, ", ".join(facts.rests_on) or None, again_in_s=facts.again_in_s)
            return Nothing(choice.withheld[0].code, withheld=choice.withheld)
        quarrelled = [item.atom for item in choice.withheld if item.code == PING_PONG]
        if quarrelled and not choice.differing():
            return Nothing(PING_PONG, ", ".join(quarrelled), choice.withheld)
        if ref is not None:
            return None
        word = creating.called_off(view, lane, choice, sources)
        if word is not None:
            return Nothing(creating.CANCELLED_BEFORE_SENT, word, choice.withheld)
        absent = creating.lacking(choice, terms.required.get(view.entity_type, ()), mapping.needs())
        if absent and choice.chosen:
            return Nothing(creating.MISSING_REQUIRED, ", ".join(absent), choice.withheld, absent)
        return None

    def _withdrawn(
        self, terms: SinkTerms, view: EntityView, facts: GateFacts, choice: Choice, confirmed: Confirmed | None
    ) -> tuple[str, ...]:
        """What we wrote and nobody says any more: taken back from a resource that we made; others' keep it.

        A value that a gate keeps back by now is still said, and what is no longer ours to write is left, as is a field
        that policy keeps back: it stays.
        """
        if confirmed is None or not confirmed.created_by_us:
            return ()
        held_back = {item.atom for item in choice.withheld if item.code in (CONFLICT, PING_PONG, UNDONE)}
        owned = terms.owns.get(view.entity_type)
        gone = [
            atom
            for atom in confirmed.atoms
            if atom not in choice.chosen
            and atom not in choice.kept
            and public_name(atom) not in held_back
            and (owned is None or field_of(atom) in owned)
            and field_of(atom) not in facts.fields
        ]
        sent = split(self.facts(terms, confirmed.body)) if gone else {}
        return tuple(atom for atom in gone if not still_said(view.folded.atoms.get(atom), sent.get(atom)))

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
        along: Mapping[str, str],
    ) -> Plan:
        values = {atom: claim.value for atom, claim in choice.chosen.items()}
        state = join(values)
        found = dependencies.refs_in(state)
        references = References(tx, workspace_id, terms, found, along)
        lacking = dependencies.missing(references, view.entity_type, mapping.dependencies(state))
        withheld = (*choice.withheld, *lacking.left_out)
        if lacking.unverified:
            return Nothing(DEPENDENCY_BELOW_THRESHOLD, ", ".join(lacking.unverified), withheld)
        if lacking.waits_for:
            return Wait(", ".join(lacking.waits_for), withheld, on=lacking.on)
        translations = look_up(tx, self.sealer, workspace_id, mapping, state, view.entity_id, note=self.asks)
        withheld = (*withheld, *translations.withheld)
        if translations.fails_for:
            return Nothing(UNTRANSLATED, ", ".join(translations.fails_for), withheld)
        if translations.waits_for:
            return Wait(", ".join(translations.waits_for), withheld, TRANSLATION_PENDING)
        desired = exact_json.digest(
            [
                mapping.version,
                values,
                sorted(removed),
                sorted((canonical, references.resolve(canonical) or "") for canonical in found),
                *translations.listed(),
                # Said before and overwritten since is to be said again.
                choice.contradicted(),
            ]
        )
        return Wanted(
            view.entity_type,
            view.stamp,
            ref,
            choice,
            removed,
            mapping,
            references,
            desired,
            withheld,
            confirmed,
            translations,
            mapping.recodes(state, translations.decided),
            state=view.now,
            stale=confirmed is not None and self._seen_since(terms, choice, confirmed),
        )

    def _seen_since(self, terms: SinkTerms, choice: Choice, confirmed: Confirmed) -> bool:
        agreed = choice.agreed()
        before = split(self.facts(terms, confirmed.body)) if agreed else {}
        return any(atom not in before or not same_value(before[atom], choice.own[atom]) for atom in agreed)

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
        known = ours(split(self.facts(terms, wanted.confirmed.body)), wanted.confirmed) if wanted.confirmed else {}
        target = dict(held)
        theirs: set[str] = set()
        changed: list[Claim] = []
        same: list[Claim] = []
        withheld = list(wanted.withheld)
        updated = last_updated(current)
        for atom, claim in wanted.choice.chosen.items():
            if atom in held and same_value(held[atom], claim.value):
                if atom in known:
                    same.append(claim)
                continue
            newer = last_known(atom, claim, known) if updated == EARLIEST else updated > claim.since
            if newer and edited(atom, held, known, wanted.choice.own):
                withheld.append(Withheld(public_name(atom), SINK_NEWER))
                theirs.add(atom)
                continue
            target[atom] = claim.value
            changed.append(claim)
        for atom in wanted.removed:
            target.pop(atom, None)
        # What the sink holds is in its own words already; only what we wrote or write is put into its codes.
        recoded = frozenset(field_of(claim.atom) for claim in (*changed, *same)) if wanted.recodes else None
        before, after = wanted.render(join(held), frozenset()), wanted.render(join(target), recoded or frozenset())
        if before == after:
            return Nothing(IN_STEP, withheld=tuple(withheld))
        if wanted.recodes:
            changed += [
                claim
                for claim in same
                if wanted.mapping.recodes(join({claim.atom: claim.value}), wanted.translations.decided)
            ]
        body = patch(current, before, after)
        confirmed = wanted.confirmed
        owned = set(confirmed.atoms if confirmed else ()).difference(wanted.removed, theirs) | {c.atom for c in changed}
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
        return mapping.map(resource, MappingContext(terms.name, base_url=terms.base_url, region=terms.region)).facts
