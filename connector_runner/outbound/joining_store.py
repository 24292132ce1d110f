"""SQL of lanes that go together: those that one to be created refers to, or that refer to it."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Tx, rows
from connector_runner.outbound.lanes import ALONE, DEPENDENCY, Lane
from connector_runner.outbound.store import LANE, NOW_ONCE, lane_in

_FREE = (
    f"((l.state = 'ready' AND l.due_at <= {NOW_ONCE}) OR (l.state = 'waiting' AND l.reason = :dependency))"
    " AND NOT coalesce(l.reason = ANY(:alone), false)"
    " AND NOT EXISTS (SELECT 1 FROM open_intent i WHERE i.workspace_id = l.workspace_id AND i.lane_id = l.lane_id)"
    " AND NOT EXISTS (SELECT 1 FROM undo_request u WHERE u.workspace_id = l.workspace_id AND u.lane_id = l.lane_id"
    " AND u.status = 'open')"
)
_OWN = "l.sink_ref IS NULL AND l.entity_id = ANY(CAST(:entities AS uuid[]))"
_REFERRING = (
    "l.entity_id IN (SELECT r.entity_id FROM relationship r WHERE r.workspace_id = :ws AND r.target_id IN"
    " (SELECT unnest(CAST(:entities AS uuid[])) UNION SELECT record_id FROM adopted_record"
    "  WHERE workspace_id = :ws AND entity_id = ANY(CAST(:entities AS uuid[]))))"
)


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
    found = rows(
        tx,
        "WITH free AS MATERIALIZED (SELECT l.workspace_id, l.lane_id FROM sync_lane l WHERE l.workspace_id = :ws"
        f" AND l.sink_id = :sink AND {_REFERRING if referring else _OWN} AND {_FREE}"
        " ORDER BY l.prio, l.due_at LIMIT :limit FOR UPDATE OF l SKIP LOCKED)"
        " UPDATE sync_lane l SET state = 'leased', fence = l.fence + 1, attempts = l.attempts + 1,"
        " lease_owner = :owner, lease_until = clock_timestamp() + :lease * interval '1 second',"
        " updated_at = clock_timestamp() FROM free"
        f" WHERE l.workspace_id = free.workspace_id AND l.lane_id = free.lane_id RETURNING {LANE}",
        ws=workspace_id,
        sink=sink_id,
        entities=list(entity_ids),
        dependency=DEPENDENCY,
        alone=list(ALONE),
        owner=owner,
        lease=lease_s,
        limit=limit,
    )
    return sorted((lane_in(row) for row in found), key=lambda lane: lane.lane_id)
