"""A record of the sink that goes on naming somebody whom what we know of it does not name: a person is asked.

As an appointment that was written while two patients were held for one, and whose own patient may not be made there.
Nobody is asked while the right record is on its way: the appointment is written anew when it has landed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes import intents
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.operating import naming_store
from connector_runner.outbound.operating.parting import STAGE
from connector_runner.outbound.planning.plans import IN_STEP, Nothing, Plan, Wait, Wanted
from connector_runner.resolution import evidence_store
from connector_runner.unification.model import Dependency
from connector_runner.world import store as world_store
from connector_runner.world.atoms import field_of
from connector_runner.world.reading import EntityView

NAMES_ANOTHER: Final = "names_another"


def look(
    tx: Tx, outbound: Outbound, workspace_id: str, terms: SinkTerms, view: EntityView, lane: Lane | None, plan: Plan
) -> None:
    """Ask about an entity of which nothing is written now, though the sink's record names others than it does."""
    if lane is None or lane.sink_ref is None or lane.last_sent is None or isinstance(plan, Wanted):
        return
    mapping = outbound.planner.mappings.outbound(terms.system, view.entity_type)
    if mapping is None or (isinstance(plan, Nothing) and plan.reason == IN_STEP):
        return
    meant = mapping.dependencies(view.now)
    confirmed = intents.open_confirmed(tx, outbound.sealer, lane) if meant else None
    if confirmed is None:
        return
    written = {field_of(atom) for atom in confirmed.atoms}
    try:
        held = mapping.dependencies(outbound.planner.facts(terms, confirmed.body))
    except BadRecord:
        # What cannot be read names nobody; whoever reads it next says so.
        return
    lacking = _fields(each for each in meant if each.field in written and each not in held)
    extra = _fields(each for each in held if each.field in written and each not in meant)
    wrong = _exchanged(tx, workspace_id, extra, lacking) if lacking and extra else None
    if wrong is None:
        return
    if naming_store.seen_to(tx, workspace_id, STAGE, lane.lane_id, NAMES_ANOTHER, wrong.names, wrong.should):
        return
    if isinstance(plan, Wait) and naming_store.on_the_way(tx, workspace_id, terms.sink_id, wrong.members):
        return
    _ask(tx, outbound, workspace_id, lane, wrong)


def _fields(dependencies: Iterable[Dependency]) -> dict[str, set[str]]:
    """Record -> the fields that name it."""
    found: dict[str, set[str]] = {}
    for each in dependencies:
        found.setdefault(each.canonical_id, set()).add(each.field)
    return found


@dataclass(frozen=True, slots=True)
class Wrong:
    """The entity that fields of the sink's record names, and that which it should; ``members`` are one with that."""

    fields: str
    names: str
    should: str
    members: Sequence[str]


def _exchanged(
    tx: Tx, workspace_id: str, extra: Mapping[str, set[str]], lacking: Mapping[str, set[str]]
) -> Wrong | None:
    """One that is named and should not be, in place of one of its kind that should be; None where all are right."""
    records = {name: entity_id_of(workspace_id, name) for name in (*extra, *lacking)}
    adopted = world_store.adopted(tx, sorted(records.values()))
    entities = {name: adopted.get(record, record) for name, record in records.items()}
    together = evidence_store.together(tx, workspace_id, entities.values())
    one = {name: frozenset(together.get(entity, {entity})) for name, entity in entities.items()}
    kinds = naming_store.kinds(tx, workspace_id, entities.values())
    right = {name for a in extra for b in lacking if one[a] & one[b] for name in (a, b)}
    for named in sorted(extra.keys() - right):
        for meant in sorted(lacking.keys() - right):
            fields = extra[named] & lacking[meant]
            if fields and kinds.get(entities[named]) == kinds.get(entities[meant]):
                return Wrong(", ".join(sorted(fields)), entities[named], entities[meant], sorted(one[meant]))
    return None


def _ask(tx: Tx, outbound: Outbound, workspace_id: str, lane: Lane, wrong: Wrong) -> None:
    outbound.quarantine.put(
        tx,
        workspace_id,
        stage=STAGE,
        subject=lane.lane_id,
        code=NAMES_ANOTHER,
        message="the record names another than it should, who may not be made in the sink: change or cancel it there",
        place=wrong.fields,
        data_source_id=lane.sink_id,
        body=None,
        context={
            "lane_id": lane.lane_id,
            "entity_id": lane.entity_id,
            "sink_ref": lane.sink_ref,
            "names": wrong.names,
            "should_name": wrong.should,
        },
        now=outbound.clock(),
    )


def landed(tx: Tx, workspace_id: str, lane: Lane) -> None:
    """To be told when an update landed: the record names whom it should, and nobody is asked any more."""
    if lane.sink_ref is not None:
        naming_store.settle(tx, workspace_id, STAGE, lane.lane_id, NAMES_ANOTHER)
