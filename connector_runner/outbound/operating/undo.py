"""Undo: the inverse of writes as something that a lane has to say, sent under the same discipline as any write.

A request names writes of one lane. The lane comes to it before anything else, restores what was there before the
first of them, less what others edited since, and holds the values back from then on (``held_back``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors.sinks import Json, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Row, Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import canonical_id, entity_id_of, new_id
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating.choosing import same_value
from connector_runner.outbound.lanes import intents
from connector_runner.outbound.lanes.intents import CREATE, UPDATE, Confirmed, Intent, SentClaim
from connector_runner.outbound.lanes.lane import Lane, Withheld
from connector_runner.outbound.operating import naming_store, overtaken, parting, parting_store, undo_store
from connector_runner.outbound.operating.inverse import InversePlan, Write, inverse
from connector_runner.outbound.operating.undo_store import MARK
from connector_runner.outbound.planning.plans import Nothing
from connector_runner.world import history, reading
from connector_runner.world import store as world_store
from connector_runner.world.atoms import field_of, split
from connector_runner.world.fold import fold

NOTHING_TO_UNDO: Final = "nothing_to_undo"
"""Everything that would be restored was edited by others since, or is as it was already."""
CREATED: Final = "created"
"""The write made the resource: no inverse update takes that back."""
DELETED: Final = "deleted"
"""The record is known to be gone from the sink: it holds nothing that could be restored."""

Origins = Mapping[str, Sequence[tuple[Any, SentClaim]]]
"""Atom -> values that the sink held before, the latest first, each with whose it was."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A write that landed, as the write log has it. ``left`` is what the sink made of it."""

    intent: Intent
    written_at: datetime
    left: Json

    @property
    def write(self) -> Write:
        """For the inverse of an update."""
        return Write(self.intent.before or {}, self.intent.body, self.left)


@dataclass(frozen=True, slots=True)
class Inverse:
    """A ``ports.Writable`` that takes writes back. ``nothing`` is told when there is nothing left to take back."""

    undo_id: str
    ref: str
    writes: tuple[Write, ...]
    confirmed: Confirmed | None
    undone_atoms: frozenset[str]
    ours_before: frozenset[str]
    origins: Origins
    facts: Callable[[Json], Json]
    nothing: Callable[[Mapping[str, str]], None]
    withheld: tuple[Withheld, ...] = field(default=())

    @property
    def desired_hash(self) -> bytes:
        """That of no plan: what the entity wants is planned anew afterwards."""
        return exact_json.digest([MARK, self.undo_id])

    @property
    def known(self) -> Json | None:
        """The resource as it was last confirmed."""
        return self.confirmed.body if self.confirmed is not None else None

    def creation(self, lane: Lane, sink: Sink) -> Nothing:
        """An inverse creates nothing."""
        return Nothing(NOTHING_TO_UNDO)

    def adopting(self, ref: str) -> Inverse:
        """It is about one resource only."""
        raise BadRecord("an undo is about the resource that was written", code=NOTHING_TO_UNDO)

    def change(self, lane: Lane, current: Json, etag: str | None) -> Intent | Nothing:
        """The intent that restores; or nothing, and the request is closed.

        Raises BadRecord when the sink's resource cannot be read by its inbound mapping.
        """
        plan = inverse(self.writes, current)
        if not plan.restored:
            self.nothing(plan.skipped)
            return Nothing(NOTHING_TO_UNDO)
        return Intent(
            intent_id=new_id(),
            operation=UPDATE,
            resource_type=self.ref.partition("/")[0],
            target=self.ref,
            body=plan.body,
            before=current,
            precondition=etag,
            idempotency_key=f"{lane.client_ref}:{MARK}{self.undo_id}",
            desired_hash=self.desired_hash,
            # One less than is desired, so that the lane is planned again when this has landed.
            revision=lane.desired_revision - 1,
            mapping_version=f"{MARK}{self.undo_id}",
            changed=self._restored(current, plan),
            atoms=self._still_ours(current, plan),
            created_by_us=self.confirmed.created_by_us if self.confirmed is not None else False,
        )

    def _still_ours(self, current: Json, plan: InversePlan) -> tuple[str, ...]:
        """What the sink holds of ours afterwards: less what is taken back, and less what others edited since; and what
        was ours before and comes back."""
        if self.confirmed is None:
            return ()
        known, now = split(self.facts(self.confirmed.body)), split(self.facts(current))
        then = split(self.facts(plan.body))
        back = {
            atom for atom in self.ours_before & then.keys() if atom not in now or not same_value(now[atom], then[atom])
        }
        kept = {
            atom
            for atom in self.confirmed.atoms
            if (atom not in self.undone_atoms or atom in self.ours_before)
            and (atom not in now or atom not in known or same_value(now[atom], known[atom]))
        }
        return tuple(sorted(kept | back))

    def _restored(self, current: Json, plan: InversePlan) -> tuple[SentClaim, ...]:
        """Whose the values are that come back, so that reading them again makes nobody say them anew."""
        now, then = split(self.facts(current)), split(self.facts(plan.body))
        claims = []
        for atom, value in sorted(then.items()):
            if atom in now and same_value(now[atom], value):
                continue
            origin = next((c for known, c in self.origins.get(atom, ()) if same_value(known, value)), None)
            if origin is not None:
                claims.append(origin)
        return tuple(claims)


def is_inverse(intent: Intent) -> bool:
    """Whether an intent takes writes back."""
    return intent.mapping_version.startswith(MARK)


def restores(found: Json, intent: Intent) -> bool:
    """Whether a resource is as an inverse meant to leave it, in all that it meant to change."""
    meant = Write(intent.before or {}, intent.body, intent.body)
    plan = inverse([meant], found)
    return not plan.skipped and not plan.already


def logged(tx: Tx, sealer: Sealer, workspace_id: str, lane: Lane, intent_ids: Sequence[str]) -> list[Logged]:
    """Writes of a lane that landed, the oldest first; those that the log has not whole are left out.

    Raises BadRecord (``sealed_broken``) when an entry was altered.
    """
    parts = undo_store.sealed_parts(tx, lane.lane_id, intent_ids)
    latest = undo_store.latest_landed(tx, lane.lane_id)
    found = []
    for intent_id, phases in parts.items():
        if "intent" not in phases or "outcome" not in phases:
            continue
        row, outcome = phases["intent"], phases["outcome"]
        plain = intents.open_sealed(tx, sealer, workspace_id, row["write_id"], row["sealed"])
        intent = Intent.from_json(intent_id, exact_json.loads(plain or b"{}"))
        answer = intents.open_sealed(tx, sealer, workspace_id, outcome["write_id"], outcome["sealed"])
        left = _resource(answer, intent.resource_type)
        if left is None and intent_id == latest and (confirmed := intents.open_confirmed(tx, sealer, lane)):
            left = confirmed.body
        found.append(Logged(intent, outcome["written_at"], left or intent.body))
    return sorted(found, key=lambda each: each.written_at)


def _resource(answer: bytes | None, resource_type: str) -> Json | None:
    try:
        value = exact_json.loads(answer) if answer else None
    except BadRecord:
        return None
    return value if isinstance(value, dict) and value.get("resourceType") == resource_type else None


def makes_it(writes: Sequence[Logged]) -> bool:
    """Whether one of the writes made the resource."""
    return any(each.intent.operation == CREATE for each in writes)


def planned(tx: Tx, outbound: Outbound, workspace_id: str, terms: SinkTerms, lane: Lane) -> Inverse | None:
    """What a lane is asked to take back now; None when it is asked nothing that an update can do."""
    asked = undo_store.open_request(tx, lane.lane_id)
    if asked is None:
        return None
    writes = logged(tx, outbound.sealer, workspace_id, lane, asked["intents"])
    stopped = _stopped(tx, workspace_id, terms, lane, writes)
    if stopped is not None or lane.sink_ref is None:
        skipped = {"": stopped or NOTHING_TO_UNDO}
        undo_store.settle(tx, workspace_id, lane.lane_id, asked["undo_id"], status="nothing", pieces=0, skipped=skipped)
        return None
    before = undo_store.landed_before(tx, lane.lane_id, writes[0].written_at, asked["intents"])
    earlier = logged(tx, outbound.sealer, workspace_id, lane, before)

    def facts(resource: Json) -> Json:
        return outbound.planner.facts(terms, resource)

    def nothing(skipped: Mapping[str, str]) -> None:
        with outbound.database.begin(workspace_id) as own:
            _left(own, outbound, workspace_id, lane, asked, skipped)
            undo_store.settle(
                own, workspace_id, lane.lane_id, asked["undo_id"], status="nothing", pieces=0, skipped=skipped
            )
            undo_store.plan_again(own, workspace_id, lane.lane_id)

    return Inverse(
        undo_id=asked["undo_id"],
        ref=lane.sink_ref,
        writes=tuple(each.write for each in writes),
        confirmed=intents.open_confirmed(tx, outbound.sealer, lane),
        undone_atoms=frozenset(claim.atom for each in writes for claim in each.intent.changed),
        ours_before=frozenset(earlier[-1].intent.atoms if earlier else ()),
        origins=_origins(tx, outbound, workspace_id, terms, lane, writes, earlier),
        facts=facts,
        nothing=nothing,
    )


def _stopped(tx: Tx, workspace_id: str, terms: SinkTerms, lane: Lane, writes: Sequence[Logged]) -> str | None:
    """Why no update can take these writes back."""
    if makes_it(writes):
        return CREATED
    if not writes or lane.sink_ref is None:
        return NOTHING_TO_UNDO
    record = entity_id_of(workspace_id, canonical_id(terms.name, *lane.sink_ref.split("/", 1)))
    return DELETED if history.deleted(world_store.versions_of(tx, [record])) else None


def _origins(
    tx: Tx,
    outbound: Outbound,
    workspace_id: str,
    terms: SinkTerms,
    lane: Lane,
    writes: Sequence[Logged],
    earlier: Sequence[Logged],
) -> Origins:
    """Whose values the sink held before ``writes``: ours of earlier writes, else the words of its own record."""
    origins: dict[str, list[tuple[Any, SentClaim]]] = {}
    for each in reversed(earlier):
        values = split(outbound.planner.facts(terms, each.left))
        for claim in each.intent.changed:
            if claim.atom in values:
                origins.setdefault(claim.atom, []).append((values[claim.atom], claim))
    view = reading.view(tx, workspace_id, lane.entity_id, together=False)
    if view is None:
        return origins
    known, sent = history.of_records(tx, view.events)
    versions = [version for version in known if version.seen_at < writes[0].written_at]
    causes = {cause for each in writes for cause in each.intent.causes}
    # Who came together and apart before was lent values before, which are no word of the record either.
    before = [value for value in sent if view.lent and causes.isdisjoint({value.event_id, value.relayed_by})]
    for atom, settled in fold(view.events, versions, before).atoms.items():
        for own in (settled.winner, *settled.losers):
            if own.data_source_id == terms.sink_id:
                origins.setdefault(atom, []).append((own.value, SentClaim.of(own)))
    return origins


def landed(tx: Tx, outbound: Outbound, workspace_id: str, lane: Lane, intent: Intent) -> None:
    """To be told when an inverse landed, in the transaction that says so."""
    # What is left there of what was rejected is asked about anew.
    naming_store.settle(tx, workspace_id, parting.STAGE, lane.lane_id, overtaken.REJECTED_MEANWHILE)
    asked = undo_store.open_request(tx, lane.lane_id)
    if asked is not None and intent.mapping_version == f"{MARK}{asked['undo_id']}":
        writes = logged(tx, outbound.sealer, workspace_id, lane, asked["intents"])
        plan = inverse([each.write for each in writes], intent.before or {})
        _left(tx, outbound, workspace_id, lane, asked, plan.skipped)
        undo_store.settle(
            tx,
            workspace_id,
            lane.lane_id,
            asked["undo_id"],
            status="undone",
            pieces=len(plan.restored),
            skipped=plan.skipped,
        )


def _left(tx: Tx, outbound: Outbound, workspace_id: str, lane: Lane, asked: Row, skipped: Mapping[str, str]) -> None:
    since = parting_store.landed_since(tx, workspace_id, lane.lane_id, asked["intents"]) if skipped else []
    later = logged(tx, outbound.sealer, workspace_id, lane, since) if since else []
    rewritten = {field_of(claim.atom) for each in later for claim in each.intent.changed}
    parting.left(tx, outbound.quarantine, workspace_id, lane, asked, skipped, rewritten, outbound.clock())


def values_to_hold(tx: Tx, writes: Sequence[Logged]) -> list[tuple[str, bytes, str]]:
    """What an undo of ``writes`` keeps from going again: (atom, digest of the value, mapping version)."""
    facts = undo_store.facts_of(tx, sorted({cause for each in writes for cause in each.intent.causes}))
    atoms = {event_id: split(found) for event_id, found in facts.items()}
    return [
        (claim.atom, exact_json.digest(atoms[claim.event_id][claim.atom]), each.intent.mapping_version)
        for each in writes
        for claim in each.intent.changed
        if claim.atom in atoms.get(claim.event_id, {})
    ]
