"""SQL behind explaining an entity: where events came from, how lanes stand, what became of the last write."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Row, Tx, id_array, rows


def origins(tx: Tx, event_ids: Sequence[str]) -> dict[str, Row]:
    """Per event where it came from: its raw record, its source and who wrote it."""
    found = rows(
        tx,
        "SELECT e.id, e.event_type, e.fhir_resource_type, e.record_key, e.mapping_version, e.ingested_at, e.actor,"
        " e.raw_id, e.raw_position, e.facts, e.data_source_id, d.name AS source_name,"
        " d.settings->>'mapping' AS system, d.settings->>'base_url' AS base_url,"
        " coalesce(d.settings->>'default_region', 'US') AS region"
        " FROM event e LEFT JOIN data_source d ON d.workspace_id = e.workspace_id"
        " AND d.data_source_id = e.data_source_id WHERE e.id = ANY(CAST(:ids AS uuid[]))",
        ids=id_array(event_ids),
    )
    return {row["id"]: row for row in found}


def lanes(tx: Tx, entity_id: str, sink: str | None) -> list[Row]:
    """Where the entity's way into each sink stands, or into one."""
    return rows(
        tx,
        "SELECT d.name AS sink, l.sink_id, l.lane_id, l.state, l.reason, l.reason_detail, l.withheld, l.sink_ref,"
        " l.sink_etag, l.attempts, l.last_status, l.synced_at, l.due_at, l.desired_revision, l.synced_revision,"
        " EXISTS (SELECT 1 FROM open_intent i WHERE i.workspace_id = l.workspace_id AND i.lane_id = l.lane_id)"
        " AS open_intent FROM sync_lane l JOIN data_source d ON d.workspace_id = l.workspace_id"
        " AND d.data_source_id = l.sink_id WHERE l.entity_id = :id"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink) ORDER BY d.name",
        id=entity_id,
        sink=sink,
    )


def last_writes(tx: Tx, lane_ids: Sequence[str]) -> dict[str, Row]:
    """Per lane the latest entry of the write log that tells an outcome."""
    found = rows(
        tx,
        "SELECT lane_id, write_id, intent_id, operation, outcome, code, http_status, sink_ref, sink_etag,"
        " mapping_version, attempt, written_at FROM unnest(CAST(:ids AS uuid[])) AS lane(id)"
        " CROSS JOIN LATERAL (SELECT * FROM write_log w WHERE w.lane_id = lane.id AND w.phase = 'outcome'"
        " ORDER BY w.written_at DESC LIMIT 1) w",
        ids=id_array(lane_ids),
    )
    return {row["lane_id"]: row for row in found}
