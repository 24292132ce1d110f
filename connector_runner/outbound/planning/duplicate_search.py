"""Before a patient whom we know from conversations alone is created: is the sink's own record of them there?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from connector_runner.audit import log as audit
from connector_runner.connectors.sinks import POSSIBLE_DUPLICATE, Capabilities, Found, Json, Outcome, Reply
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.kernel.errors import BadRecord, RunnerError
from connector_runner.kernel.ids import canonical_id, entity_id_of
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating.choosing import OUR_IDENTIFIER, home_of
from connector_runner.outbound.lanes import store
from connector_runner.outbound.lanes.intents import Intent
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.planning import duplicate_store
from connector_runner.outbound.planning.dependency_store import wake_dependents
from connector_runner.outbound.planning.duplicate_store import Decision
from connector_runner.outbound.planning.duplicates import SEARCHED, judge
from connector_runner.outbound.planning.strangers import OTHER_PERSON
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.resolution import evidence_store, possible_store
from connector_runner.resolution import service as resolution
from connector_runner.resolution.clusters import pair
from connector_runner.resolution.store import lock_kind
from connector_runner.world import store as world_store

log = get_logger(__name__)

_OUR_SYSTEM: Final = OUR_IDENTIFIER.removeprefix("identifier[")
_ACTOR: Final = "connector_runner"
_SHOWN: Final = 5


class Searchable(Protocol):
    """The part of a sink that is searched."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def candidates(self, body: Json) -> Found:
        """Resources that could be the record of ``body``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Before anything is searched for: whether the entity is another system's record, and what a person decided."""

    elsewhere: bool
    decided: Decision | None


def standing(tx: Tx, workspace_id: str, named: Mapping[str, str]) -> dict[str, Standing]:
    """Of lanes whose entities are not in the sink: lane -> canonical id of the entity."""
    decided = duplicate_store.decisions(tx, list(named))
    sources = sink_store.source_ids(tx, workspace_id)
    return {lane: Standing(home_of(name, sources) is not None, decided.get(lane)) for lane, name in named.items()}


def search(
    outbound: Outbound,
    workspace_id: str,
    terms: SinkTerms,
    lane: Lane,
    intent: Intent,
    sink: Searchable,
    known: Standing | None = None,
) -> Reply | str | None:
    """The ``Type/id`` to go on with, None to create, or the reply that says why it cannot be told.

    What the search finds to be the same is adopted. Raises BadRecord (``possible_duplicate``) where a person must
    decide.
    """
    found = look(outbound, workspace_id, terms, lane, intent, sink, known)
    if not isinstance(found, Looked):
        return found
    if found.ref is None or found.decided:
        return found.ref
    ref = found.ref

    def adopt(tx: Tx) -> bool:
        # What people say of who is the same waits for this, or was said before.
        lock_kind(tx, workspace_id, lane.entity_type, shared=True)
        if _in_doubt(tx, workspace_id, terms, lane, [ref]):
            return False
        _adopt(tx, outbound, terms, lane, ref, _ACTOR)
        return True

    if not outbound.database.retrying(workspace_id, adopt):
        return search(outbound, workspace_id, terms, lane, intent, sink, known)
    log.info("record_adopted", lane_id=lane.lane_id, sink=terms.name)
    return ref


@dataclass(frozen=True, slots=True)
class Looked:
    """The record to go on with, None where there is none. ``decided``: a person said so."""

    ref: str | None
    decided: bool = False


def look(
    outbound: Outbound,
    workspace_id: str,
    terms: SinkTerms,
    lane: Lane,
    intent: Intent,
    sink: Searchable,
    known: Standing | None = None,
) -> Reply | Looked:
    """As ``search``, and changes nothing."""
    if lane.entity_type not in SEARCHED or not sink.capabilities.search:
        return Looked(None)
    if known is None:
        with outbound.database.begin(workspace_id) as tx:
            name = duplicate_store.name_of(tx, lane.entity_id)
            known = None if name is None else standing(tx, workspace_id, {lane.lane_id: name})[lane.lane_id]
    # Another system's record is known by its name.
    if known is None or known.elsewhere:
        return Looked(None)
    if known.decided is not None:
        return Looked(known.decided.ref, decided=True)
    found: dict[str, Json] = {}
    for body in _questions(intent.body):
        answer = sink.candidates(body)
        if answer.reply.outcome is Outcome.ABSENT:
            continue
        if answer.reply.outcome is not Outcome.LANDED:
            return answer.reply
        found |= {f"{item['resourceType']}/{item['id']}": item for item in answer.resources if item.get("id")}
    if not found:
        return Looked(None)
    with outbound.database.begin(workspace_id) as tx:
        doubts = _in_doubt(tx, workspace_id, terms, lane, found)
    found = {ref: item for ref, item in found.items() if doubts.get(ref) is not Doubt.TOLD_APART}
    judged = judge(
        outbound.planner.facts(terms, {**intent.body, "id": lane.client_ref}),
        [(ref, outbound.planner.facts(terms, item)) for ref, item in found.items()],
    )
    if judged.possible:
        named = ", ".join(judged.possible[:_SHOWN])
        raise BadRecord(f"may be the same as {named} of the sink", code=POSSIBLE_DUPLICATE, where=named)
    if judged.same is not None:
        with outbound.database.begin(workspace_id) as tx:
            taken = _adopter(tx, workspace_id, terms, lane, judged.same) is not None
        if taken or judged.same in doubts:
            raise BadRecord(f"may be the same as {judged.same} of the sink", code=POSSIBLE_DUPLICATE, where=judged.same)
    return Looked(judged.same)


def _adopter(tx: Tx, workspace_id: str, terms: SinkTerms, lane: Lane, ref: str) -> str | None:
    """Another entity that a record of the sink was joined to before: it counts for one only, so the two are one, or
    it is not the record of the lane's entity."""
    record = entity_id_of(workspace_id, canonical_id(terms.name, *ref.split("/", 1)))
    holder = world_store.adopted(tx, [record]).get(record)
    return None if holder == lane.entity_id else holder


class Doubt(Enum):
    """What people said, or are asked, of whether a record of the sink is that of a lane's entity."""

    TOLD_APART = "told_apart"
    ASKED = "asked"


def _in_doubt(tx: Tx, workspace_id: str, terms: SinkTerms, lane: Lane, refs: Collection[str]) -> dict[str, Doubt]:
    """Which of these records count for somebody whom a person told apart from whoever is one with the lane's entity,
    or of whom a person is asked whether they are the same.

    An adopted record is not given back by a later word, so no word that was said is passed over for it.
    """
    records = {ref: entity_id_of(workspace_id, canonical_id(terms.name, *ref.split("/", 1))) for ref in refs}
    adopted = world_store.adopted(tx, sorted(records.values()))
    owners = {ref: adopted.get(record, record) for ref, record in records.items()}
    together = evidence_store.together(tx, workspace_id, {lane.entity_id, *owners.values()})
    us = together.get(lane.entity_id, {lane.entity_id})
    them = {owner: together.get(owner, {owner}) for owner in owners.values()}
    decided = evidence_store.decisions_among(tx, workspace_id, us.union(*them.values()))
    words = dict.fromkeys(possible_store.open_pairs(tx, workspace_id, sorted(us)), Doubt.ASKED)
    words |= {two: Doubt.TOLD_APART for two, same in decided.items() if not same}
    found: dict[str, Doubt] = {}
    for ref, owner in owners.items():
        said = {words[two] for a in us for b in them[owner] - {a} if (two := pair(a, b)) in words}
        if said:
            found[ref] = Doubt.TOLD_APART if Doubt.TOLD_APART in said else Doubt.ASKED
    return found


def decide(outbound: Outbound, workspace_id: str, lane_id: str, ref: str | None, *, actor: str) -> None:
    """A person's word on a possible duplicate: go on with ``Type/id`` of the sink, or (None) create all the same.

    Of a record that was taken for somebody else's by now: that it is the entity's all the same.

    Where that record counts for another entity, the two are linked, which can be taken back.
    The lane is put back; audited. Raises BadRecord (``no_such_lane``, ``not_in_question``, ``reference``).
    """
    if ref is not None and ref.count("/") != 1:
        raise BadRecord("a record of the sink is named Type/id", code="reference")

    def work(tx: Tx) -> None:
        lane = store.lane_by_id(tx, lane_id)
        if lane is None:
            raise BadRecord("there is no such lane in this workspace", code="no_such_lane", where=lane_id)
        stranger = lane.reason == OTHER_PERSON and ref is not None and ref == lane.sink_ref
        if lane.reason != POSSIBLE_DUPLICATE and not stranger:
            raise BadRecord("nobody asks this of the lane", code="not_in_question", where=lane_id)
        terms = next((t for t in outbound.sinks.terms(tx, workspace_id) if t.sink_id == lane.sink_id), None)
        if terms is None:
            raise RunnerError("the sink is switched off", code="disabled", where=lane.sink_id)
        if stranger:
            duplicate_store.forget_confirmed(tx, lane_id)
        adopter = _adopter(tx, workspace_id, terms, lane, ref) if ref is not None else None
        duplicate_store.decide(tx, workspace_id, lane_id, ref if adopter is None else None, actor)
        if adopter is not None:
            now = outbound.clock()
            resolution.decide(
                tx, workspace_id, lane.entity_id, adopter, same=True, actor=actor, reason=POSSIBLE_DUPLICATE, now=now
            )
        elif ref is not None:
            _adopt(tx, outbound, terms, lane, ref, actor)
        else:
            _audit(tx, outbound, lane, "outbound.not_a_duplicate", {"lane_id": lane_id}, actor)
        outbound.quarantine.settle(tx, workspace_id, "outbound", [lane_id])

    outbound.database.retrying(workspace_id, work)


def _questions(body: Json) -> list[Json]:
    """What to search for: by numbers that others gave out, and by what people are known by."""
    held = body.get("identifier")
    numbers = [
        item
        for item in (held if isinstance(held, list) else [])
        if not (isinstance(item, dict) and str(item.get("system")).startswith(_OUR_SYSTEM))
    ]
    plain = {key: value for key, value in body.items() if key != "identifier"}
    return [{**plain, "identifier": numbers}, plain] if numbers else [plain]


def _adopt(tx: Tx, outbound: Outbound, terms: SinkTerms, lane: Lane, ref: str, actor: str) -> None:
    """Join the sink's record to the entity: from now on it is the one that is written, and that others refer to."""
    key = canonical_id(terms.name, *ref.split("/", 1))
    outbound.world.adopt(tx, lane.workspace_id, key, lane.entity_id, terms.sink_id, now=outbound.clock())
    duplicate_store.go_on_with(tx, lane.lane_id, ref)
    wake_dependents(tx, lane.workspace_id, lane.sink_id, [lane.entity_id])
    detail = {"lane_id": lane.lane_id, "entity_id": lane.entity_id, "sink": terms.name, "ref": ref}
    _audit(tx, outbound, lane, "outbound.adopted", detail, actor)


def _audit(tx: Tx, outbound: Outbound, lane: Lane, action: str, detail: Json, actor: str) -> None:
    audit.append(
        tx,
        lane.workspace_id,
        actor=actor,
        action=action,
        object=lane.entity_id,
        detail=detail,
        now=outbound.clock(),
    )
