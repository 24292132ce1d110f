"""SQL of the sweep: looks across workspaces at tables without PHI, and writes within one."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Row, Tx, execute, rows
from connector_runner.outbound.lanes.store import NOW_ONCE
from connector_runner.outbound.planning.first_read import SINK_NOT_READ


def workspaces_with_expired_leases(tx: Tx, limit: int) -> list[str]:
    """Workspaces in which a lane's lease is over."""
    found = rows(
        tx,
        "SELECT DISTINCT workspace_id FROM sync_lane WHERE state = 'leased' AND lease_until < clock_timestamp()"
        " LIMIT :limit",
        limit=limit,
    )
    return [row["workspace_id"] for row in found]


def end_expired(tx: Tx, workspace_id: str, limit: int) -> int:
    """End the leases of a workspace that are over; how many. The fence moves when the lane is claimed again."""
    return execute(
        tx,
        "WITH e AS MATERIALIZED (SELECT workspace_id, lane_id FROM sync_lane WHERE workspace_id = :ws"
        "  AND state = 'leased' AND lease_until < clock_timestamp() LIMIT :limit FOR UPDATE SKIP LOCKED)"
        " UPDATE sync_lane l SET state = CASE WHEN i.lane_id IS NULL THEN 'ready' ELSE 'unknown' END,"
        " reason = CASE WHEN i.lane_id IS NULL THEN 'lease_expired' ELSE 'unknown' END,"
        " due_at = coalesce(i.resolve_after, clock_timestamp()),"
        " lease_owner = NULL, lease_until = NULL, updated_at = clock_timestamp()"
        " FROM e LEFT JOIN open_intent i ON i.workspace_id = e.workspace_id AND i.lane_id = e.lane_id"
        " WHERE l.workspace_id = e.workspace_id AND l.lane_id = e.lane_id",
        ws=workspace_id,
        limit=limit,
    )


_COMPARED = (
    "r.read_whole_at IS NOT NULL AND r.compared_whole_at IS NULL AND NOT EXISTS (SELECT 1 FROM pending_resolution p"
    " WHERE p.workspace_id = r.workspace_id AND p.requested_at <= r.read_whole_at)"
)
_KNOWN = "(r.compared_whole_at IS NOT NULL OR NOT r.enabled)"
_WAITS_FOR_IT = (
    "l.workspace_id = r.workspace_id AND l.sink_id = r.data_source_id AND l.reason_detail = r.resource_type"
    f" AND l.state = 'waiting' AND l.reason = '{SINK_NOT_READ}' AND l.due_at > {NOW_ONCE}"
)


def workspaces_read(tx: Tx) -> list[str]:
    """Workspaces in which a first reading has been compared by now, or lanes wait for one that is over."""
    found = rows(
        tx,
        f"SELECT DISTINCT r.workspace_id FROM source_resource r WHERE {_COMPARED}"
        f" OR {_KNOWN} AND EXISTS (SELECT 1 FROM sync_lane l WHERE {_WAITS_FOR_IT})",
    )
    return [row["workspace_id"] for row in found]


def note_compared(tx: Tx, workspace_id: str) -> None:
    """Of which record types all that landed with their first reading has been compared.

    Not of one that is being polled: who lands its pages has its row until they have.
    """
    execute(
        tx,
        "UPDATE source_resource u SET compared_whole_at = clock_timestamp() FROM (SELECT r.data_source_id,"
        f" r.resource_type FROM source_resource r WHERE r.workspace_id = :ws AND {_COMPARED}"
        "  ORDER BY r.data_source_id, r.resource_type FOR UPDATE OF r SKIP LOCKED) c WHERE u.workspace_id = :ws"
        " AND u.data_source_id = c.data_source_id AND u.resource_type = c.resource_type",
        ws=workspace_id,
    )


def wake_read(tx: Tx, workspace_id: str, limit: int) -> int:
    """Make lanes due that wait for a first reading that is over, or not wanted any more; how many, up to ``limit``."""
    return execute(
        tx,
        "UPDATE sync_lane SET due_at = clock_timestamp(), updated_at = clock_timestamp() WHERE workspace_id = :ws"
        f" AND lane_id IN (SELECT l.lane_id FROM source_resource r JOIN sync_lane l ON {_WAITS_FOR_IT}"
        f" WHERE r.workspace_id = :ws AND {_KNOWN} ORDER BY l.due_at LIMIT :limit FOR UPDATE OF l SKIP LOCKED)",
        ws=workspace_id,
        limit=limit,
    )


def pending_workspaces(tx: Tx, limit: int) -> list[str]:
    """Workspaces with entities that wait to be released."""
    found = rows(
        tx,
        "SELECT w.workspace_id FROM workspace w WHERE w.status = 'active' AND EXISTS"
        " (SELECT 1 FROM pending_release p WHERE p.workspace_id = w.workspace_id) LIMIT :limit",
        limit=limit,
    )
    return [row["workspace_id"] for row in found]


def due_sinks(tx: Tx, hint_every_s: float, limit: int) -> list[Row]:
    """Open sinks with lanes that are due and that were not hinted lately; the longest silent first."""
    return rows(
        tx,
        "SELECT d.workspace_id, w.slug, d.data_source_id AS sink_id, d.name FROM data_source d"
        " JOIN workspace w USING (workspace_id)"
        " WHERE w.status = 'active' AND d.sink_enabled AND d.enabled"
        " AND (d.sink_breaker_until IS NULL OR d.sink_breaker_until <= clock_timestamp())"
        " AND (d.sink_next_wake_at <= clock_timestamp()"
        "  OR d.sink_next_wake_at IS NULL AND d.sink_paused_reason IS NULL)"
        " AND (d.sink_hinted_at IS NULL"
        "  OR d.sink_hinted_at <= clock_timestamp() - :every * interval '1 second')"
        " AND (EXISTS (SELECT 1 FROM sync_lane l WHERE l.workspace_id = d.workspace_id"
        f"   AND l.sink_id = d.data_source_id AND l.state IN ('ready', 'waiting') AND l.due_at <= {NOW_ONCE})"
        "  OR EXISTS (SELECT 1 FROM sync_lane l WHERE l.workspace_id = d.workspace_id"
        f"   AND l.sink_id = d.data_source_id AND l.state = 'unknown' AND l.due_at <= {NOW_ONCE}))"
        " ORDER BY d.sink_hinted_at NULLS FIRST LIMIT :limit",
        every=hint_every_s,
        limit=limit,
    )


def hinted(tx: Tx, workspace_id: str, sink_ids: Sequence[str]) -> None:
    """Note that these sinks are hinted now."""
    execute(
        tx,
        "UPDATE data_source SET sink_hinted_at = clock_timestamp()"
        " WHERE workspace_id = :ws AND data_source_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=list(sink_ids),
    )
