"""SQL of the steps of one write: the lanes of what one cause made."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Row, Tx, id_array, rows
from connector_runner.kernel.ids import is_uuid


def events_of(tx: Tx, workspace_id: str, cause: str, limit: int) -> list[Row]:
    """The events of a correlation, or an event by its id, and all that were caused by those: id, entity, when."""
    return rows(
        tx,
        "WITH RECURSIVE made AS (SELECT id, entity_id, ingested_at FROM event WHERE workspace_id = :ws"
        "  AND (correlation_id = :cause OR id = CAST(:event AS uuid))"
        " UNION SELECT e.id, e.entity_id, e.ingested_at FROM event e JOIN made m ON e.caused_by = m.id"
        "  WHERE e.workspace_id = :ws)"
        " SELECT id, entity_id, ingested_at FROM made ORDER BY ingested_at, id LIMIT :limit",
        ws=workspace_id,
        cause=cause,
        event=cause if is_uuid(cause) else None,
        limit=limit,
    )


def lanes_of(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> list[Row]:
    """Each of these entities with its lanes; one that goes to no sink has a row without any."""
    return rows(
        tx,
        "SELECT e.entity_id, e.entity_type, e.canonical_id, e.state AS said, d.name AS sink, l.lane_id, l.state,"
        " l.reason, l.reason_detail, l.attempts, l.sink_ref, l.due_at, l.synced_at FROM entity e"
        " LEFT JOIN sync_lane l ON l.workspace_id = e.workspace_id AND l.entity_id = e.entity_id"
        " LEFT JOIN data_source d ON d.workspace_id = l.workspace_id AND d.data_source_id = l.sink_id"
        " WHERE e.workspace_id = :ws AND e.entity_id = ANY(CAST(:ids AS uuid[])) ORDER BY d.name, e.entity_id",
        ws=workspace_id,
        ids=id_array(entity_ids),
    )


def landed_at(tx: Tx, workspace_id: str, lane_ids: Sequence[str], event_ids: Sequence[str]) -> dict[str, Row]:
    """Per lane when the last write landed that carried one of these events."""
    found = rows(
        tx,
        "SELECT lane_id, max(written_at) AS landed_at FROM write_log WHERE workspace_id = :ws"
        " AND lane_id = ANY(CAST(:lanes AS uuid[])) AND outcome = 'landed' AND causes && CAST(:events AS uuid[])"
        " GROUP BY lane_id",
        ws=workspace_id,
        lanes=id_array(lane_ids),
        events=id_array(event_ids),
    )
    return {row["lane_id"]: row for row in found}


def records_of(tx: Tx, workspace_id: str, record_ids: Sequence[str]) -> dict[str, str]:
    """The entities that records were joined to."""
    found = rows(
        tx,
        "SELECT record_id, entity_id FROM adopted_record WHERE workspace_id = :ws"
        " AND record_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(record_ids),
    )
    return {row["record_id"]: row["entity_id"] for row in found}


def correlations_of(tx: Tx, workspace_id: str, entity_id: str, limit: int) -> list[str]:
    """What an entity's events were part of, the latest first."""
    found = rows(
        tx,
        "SELECT correlation_id, max(ingested_at) AS at FROM event WHERE workspace_id = :ws AND entity_id = :entity"
        " AND correlation_id IS NOT NULL GROUP BY correlation_id ORDER BY at DESC LIMIT :limit",
        ws=workspace_id,
        entity=entity_id,
        limit=limit,
    )
    return [row["correlation_id"] for row in found]
