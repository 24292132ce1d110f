"""SQL behind the views of lanes and of the write log."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Row, Tx, rows
from connector_runner.outbound.operating.undo_store import MAPPING_IS, MARK, Selection

_LANE = (
    "l.lane_id, d.name AS sink, l.entity_id, l.entity_type, l.state, l.prio, l.due_at, l.attempts, l.reason,"
    " l.reason_detail, l.withheld, l.sink_ref, l.sink_etag, l.last_status, l.desired_revision, l.synced_revision,"
    " l.wanted_at, l.synced_at, l.updated_at"
)


def sinks(tx: Tx, workspace_id: str) -> list[Row]:
    """Every data source that has an outbound side, or had one."""
    return rows(
        tx,
        "SELECT data_source_id, name, enabled, sink_enabled, sink_paused_reason,"
        " CASE WHEN sink_breaker_until > clock_timestamp() THEN sink_breaker_until END AS breaker_until"
        " FROM data_source d WHERE workspace_id = :ws AND (sink_enabled OR EXISTS"
        " (SELECT 1 FROM sync_lane l WHERE l.workspace_id = :ws AND l.sink_id = d.data_source_id)) ORDER BY name",
        ws=workspace_id,
    )


def lane_counts(tx: Tx, workspace_id: str) -> list[Row]:
    """Lanes by sink and state; how many of them a sink has confirmed, and how many fail for what they refer to."""
    return rows(
        tx,
        "SELECT sink_id, state, count(*) AS lanes, count(synced_at) AS synced,"
        " count(*) FILTER (WHERE state = 'idle' AND reason = 'dependency_below_threshold') AS failed FROM sync_lane"
        " WHERE workspace_id = :ws GROUP BY sink_id, state",
        ws=workspace_id,
    )


def lanes(tx: Tx, workspace_id: str, *, sink: str | None, state: str | None, limit: int) -> list[Row]:
    """Lanes, those that need somebody first."""
    return rows(
        tx,
        f"SELECT {_LANE} FROM sync_lane l JOIN data_source d ON d.workspace_id = l.workspace_id"
        " AND d.data_source_id = l.sink_id WHERE l.workspace_id = :ws"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink)"
        " AND (CAST(:state AS text) IS NULL OR l.state = :state)"
        " ORDER BY array_position(ARRAY['quarantined', 'unknown', 'paused', 'waiting', 'ready', 'leased', 'idle'],"
        " l.state), l.updated_at DESC LIMIT :limit",
        ws=workspace_id,
        sink=sink,
        state=state,
        limit=limit,
    )


def lanes_of_entity(tx: Tx, workspace_id: str, entity_id: str) -> list[Row]:
    """The lanes of one entity."""
    return rows(
        tx,
        f"SELECT {_LANE} FROM sync_lane l JOIN data_source d ON d.workspace_id = l.workspace_id"
        " AND d.data_source_id = l.sink_id WHERE l.workspace_id = :ws AND l.entity_id = :entity ORDER BY d.name",
        ws=workspace_id,
        entity=entity_id,
    )


def log_entries(tx: Tx, workspace_id: str, chosen: Selection, *, outcome: str | None, limit: int) -> list[Row]:
    """Entries without their sealed bodies, the latest first; an intent only while it has no outcome (``open``).

    ``undone_by`` is the command that took the write back; ``undo_id`` is that of an inverse write itself.
    """
    return rows(
        tx,
        "SELECT w.write_id, w.written_at, d.name AS sink, w.entity_id, w.lane_id, w.intent_id, w.phase, w.operation,"
        " w.attempt, coalesce(w.outcome, 'open') AS outcome, w.http_status, w.code, w.sink_ref, w.sink_etag,"
        " w.precondition, w.mapping_version, w.idempotency_key, w.causes,"
        f" CASE WHEN starts_with(w.mapping_version, '{MARK}') THEN substr(w.mapping_version, {len(MARK) + 1}) END"
        " AS undo_id, (SELECT u.undo_id FROM undo_request u WHERE u.workspace_id = w.workspace_id"
        "  AND u.lane_id = w.lane_id AND u.status = 'undone' AND w.intent_id = ANY(u.intents) LIMIT 1) AS undone_by"
        " FROM write_log w JOIN data_source d ON d.workspace_id = w.workspace_id"
        " AND d.data_source_id = w.sink_id WHERE w.workspace_id = :ws"
        " AND (w.phase = 'outcome' OR NOT EXISTS (SELECT 1 FROM write_log o WHERE o.workspace_id = w.workspace_id"
        "  AND o.lane_id = w.lane_id AND o.intent_id = w.intent_id AND o.phase = 'outcome'))"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink)"
        " AND (CAST(:entity AS uuid) IS NULL OR w.entity_id = CAST(:entity AS uuid))"
        f" AND {MAPPING_IS}"
        " AND (CAST(:outcome AS text) IS NULL OR coalesce(w.outcome, 'open') = :outcome)"
        " AND (CAST(:since AS timestamptz) IS NULL OR w.written_at >= :since)"
        " AND (CAST(:until AS timestamptz) IS NULL OR w.written_at < :until)"
        " ORDER BY w.written_at DESC, w.write_id DESC LIMIT :limit",
        ws=workspace_id,
        sink=chosen.sink,
        entity=chosen.entity_id,
        mapping=chosen.mapping,
        outcome=outcome,
        since=chosen.since,
        until=chosen.until,
        limit=limit,
    )


def put_back(tx: Tx, workspace_id: str, *, lane_ids: Sequence[str] | None, sink: str | None) -> list[Row]:
    """Make quarantined, unknown and paused lanes due: ready, or unknown while an intent is open."""
    return rows(
        tx,
        "UPDATE sync_lane l SET attempts = 0, due_at = clock_timestamp(), updated_at = clock_timestamp(),"
        " state = CASE WHEN EXISTS (SELECT 1 FROM open_intent i WHERE i.workspace_id = l.workspace_id"
        "  AND i.lane_id = l.lane_id) THEN 'unknown' ELSE 'ready' END"
        " FROM data_source d WHERE l.workspace_id = :ws AND d.workspace_id = l.workspace_id"
        " AND d.data_source_id = l.sink_id AND l.state IN ('quarantined', 'unknown', 'paused')"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink)"
        " AND (CAST(:ids AS uuid[]) IS NULL OR l.lane_id = ANY(CAST(:ids AS uuid[])))"
        " RETURNING l.lane_id, l.sink_id, l.entity_id",
        ws=workspace_id,
        sink=sink,
        ids=None if lane_ids is None else list(lane_ids),
    )
