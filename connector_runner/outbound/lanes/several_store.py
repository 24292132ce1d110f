"""SQL of several lanes at once: a statement for all of them where each would cost as much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.infra.database import Tx, hot, id_array, rows
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.lanes.store import LANE, LEASE, NOW_ONCE, lane_in

_CLAIM_MORE: Final = hot(
    # Materialized: inlined, the planner may run the locking query more than once and lease others.
    "WITH due AS MATERIALIZED (SELECT lane_id FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink"
    f" AND state IN ('ready', 'waiting') AND due_at <= {NOW_ONCE}"
    " ORDER BY prio, due_at LIMIT :limit FOR UPDATE SKIP LOCKED)"
    f" UPDATE sync_lane l SET {LEASE} WHERE l.workspace_id = :ws AND l.lane_id = ANY(ARRAY(SELECT lane_id FROM due))"
    f" RETURNING {LANE}"
)
_OURS: Final = (
    # One by one, in the order in which everybody locks lanes.
    "SELECT l.lane_id FROM unnest(CAST(:lanes AS uuid[]), CAST(:fences AS bigint[])) AS c (lane_id, fence)"
    " CROSS JOIN LATERAL (SELECT lane_id FROM sync_lane WHERE lane_id = c.lane_id AND fence = c.fence"
    "  AND state = 'leased' FOR UPDATE) l"
)
_LOCK: Final = hot(_OURS)
_EXTEND: Final = hot(
    f"WITH ours AS MATERIALIZED ({_OURS}) UPDATE sync_lane"
    " SET lease_until = clock_timestamp() + :lease * interval '1 second'"
    " WHERE lane_id = ANY(ARRAY(SELECT lane_id FROM ours)) RETURNING lane_id"
)


def claim_more(tx: Tx, workspace_id: str, sink_id: str, *, owner: str, lease_s: float, limit: int) -> list[Lane]:
    """Lease the lanes that are due next, by priority, and that nobody else holds."""
    found = rows(tx, _CLAIM_MORE, ws=workspace_id, sink=sink_id, owner=owner, lease=lease_s, limit=limit)
    return sorted((lane_in(row) for row in found), key=lambda lane: lane.lane_id)


def lock(tx: Tx, lanes: Sequence[Lane]) -> set[str]:
    """Lock the rows of claimed lanes; the ids of those whose claim is ours still."""
    return {row["lane_id"] for row in rows(tx, _LOCK, **_claims(lanes))}


def extend(tx: Tx, lanes: Sequence[Lane], lease_s: float) -> set[str]:
    """Hold claimed lanes for so long from now; the ids of those whose claim is ours still."""
    return {row["lane_id"] for row in rows(tx, _EXTEND, lease=lease_s, **_claims(lanes))}


def _claims(lanes: Sequence[Lane]) -> dict[str, str]:
    ordered = sorted(lanes, key=lambda lane: lane.lane_id)
    return {
        "lanes": id_array(lane.lane_id for lane in ordered),
        "fences": id_array(str(lane.fence) for lane in ordered),
    }
