"""A copy that outlives its record: a source deleted the record, and what sinks were told of it stays there.

Nothing is said in it any more, but for one thing. While its entity was one with others, it was made of what they said
too, and kept in step with those who are there still. That is none of its affair once they are apart: it is brought back
to what it would say then, the last that its record said.
"""

from __future__ import annotations

from collections.abc import Callable

from connector_runner.infra.database import Tx
from connector_runner.kernel.ids import canonical_id, entity_id_of
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.planning import member_store
from connector_runner.outbound.planning.plans import NOT_ACTIVE, Nothing, Plan, Wait, Wanted
from connector_runner.resolution.service import KINDS
from connector_runner.world import reading
from connector_runner.world.reading import EntityView


def plan(
    tx: Tx,
    workspace_id: str,
    sink: str,
    view: EntityView,
    lane: Lane,
    nothing: Nothing,
    of: Callable[[EntityView], Plan],
) -> Plan:
    """What is owed to the copy of an entity that is not there any more; ``nothing`` where nothing is.

    ``of`` plans for the entity as it once stood.
    """
    if lane.sink_ref is None or view.entity_type not in KINDS:
        return nothing
    found = reading.before_deletion(tx, view)
    if found is None:
        return nothing
    record = entity_id_of(workspace_id, canonical_id(sink, *lane.sink_ref.split("/", 1)))
    if record not in view.lent and not member_store.written_since(tx, workspace_id, lane.lane_id, found[1]):
        return nothing
    owed = of(found[0])
    if isinstance(owed, Wait) or (isinstance(owed, Wanted) and owed.desired_hash != lane.synced_hash):
        return owed
    return owed if isinstance(owed, Nothing) and owed.reason == NOT_ACTIVE else nothing
