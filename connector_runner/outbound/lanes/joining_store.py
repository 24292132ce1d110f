"""SQL of lanes that go together: those that one to be created refers to, or that refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.infra.database import Tx, id_array, rows
from connector_runner.outbound.lanes.lane import ALONE, DEPENDENCY, Lane, lane_id
from connector_runner.outbound.lanes.store import LANE, NOW_ONCE, lane_in

_FREE = (
    # A CASE, since the few are known by key: the index of all that is due would be a long way in.
    f"CASE l.state WHEN 'ready' THEN l.due_at <= {NOW_ONCE} WHEN 'waiting' THEN l.reason = :dependency ELSE false END"
    " AND NOT coalesce(l.reason = ANY(:alone), false)"
    " AND NOT EXISTS (SELECT 1 FROM open_intent i WHERE i.workspace_id = l.workspace_id AND i.lane_id = l.lane_id)"
    " AND NOT EXISTS (SELECT 1 FROM undo_request u WHERE u.workspace_id = l.workspace_id AND u.lane_id = l.lane_id"
    " AND u.status = 'open')"
)
_REFERRING = (
    "SELECT r.entity_id FROM relationship r WHERE r.workspace_id = :ws AND r.target_id IN"
    " (SELECT unnest(CAST(:entities AS uuid[])) UNION SELECT record_id FROM adopted_record"
    "  WHERE workspace_id = :ws AND entity_id = ANY(CAST(:entities AS uuid[]))) LIMIT :most"
)
_LOOKED_AT: Final = 200
"""Of those that refer to a record: the whole of a practice refers to its organization, and need not go with it."""


def join(
    tx: Tx,
    workspace_id: str,
    sink_id: str,
    entity_ids: Sequence[str],
    *,
    referring: bool,
    owner: str,
    lease_s: float,
    limit: int,
) -> list[Lane]:
    """Lease lanes of these entities that are creates, or (``referring``) of those that refer to them.

    Only such as are due, or wait for a record to be there; one that another worker holds is passed over.
    """
    entities = list(entity_ids)
    if referring:
        near = rows(tx, _REFERRING, ws=workspace_id, entities=id_array(entities), most=_LOOKED_AT)
        entities = sorted({row["entity_id"] for row in near})
        if not entities:
            return []
    found = rows(
        tx,
        "WITH free AS MATERIALIZED (SELECT l.workspace_id, l.lane_id FROM sync_lane l WHERE l.workspace_id = :ws"
        f" AND l.lane_id = ANY(CAST(:lanes AS uuid[])) AND {'true' if referring else 'l.sink_ref IS NULL'} AND {_FREE}"
        " ORDER BY l.prio, l.due_at LIMIT :limit FOR UPDATE OF l SKIP LOCKED)"
        " UPDATE sync_lane l SET state = 'leased', fence = l.fence + 1, attempts = l.attempts + 1,"
        " lease_owner = :owner, lease_until = clock_timestamp() + :lease * interval '1 second',"
        " updated_at = clock_timestamp() FROM free"
        f" WHERE l.workspace_id = free.workspace_id AND l.lane_id = free.lane_id RETURNING {LANE}",
        ws=workspace_id,
        lanes=id_array(lane_id(sink_id, entity) for entity in entities),
        dependency=DEPENDENCY,
        alone=list(ALONE),
        owner=owner,
        lease=lease_s,
        limit=limit,
    )
    return sorted((lane_in(row) for row in found), key=lambda lane: lane.lane_id)
