"""SQL of gaps: which fields an entity lacks before it can be created in a sink."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Row, Tx, execute, rows


def note(tx: Tx, workspace_id: str, sink_id: str, entity_id: str, fields: Sequence[str]) -> None:
    """``fields`` are what is missing now, and no others; one that was missing before keeps its time."""
    names = {"ws": workspace_id, "sink": sink_id, "entity": entity_id, "fields": list(fields)}
    execute(
        tx,
        "DELETE FROM gap WHERE workspace_id = :ws AND entity_id = :entity AND sink_id = :sink"
        " AND NOT field = ANY(CAST(:fields AS text[]))",
        **names,
    )
    execute(
        tx,
        "INSERT INTO gap (workspace_id, entity_id, sink_id, field)"
        " SELECT :ws, :entity, :sink, f FROM unnest(CAST(:fields AS text[])) f ON CONFLICT DO NOTHING",
        **names,
    )


def gaps(tx: Tx, workspace_id: str, *, entity_id: str | None = None, limit: int = 100) -> list[Row]:
    """What is missing, the longest known first: entity, type, field, the sink that asks for it, and since when."""
    return rows(
        tx,
        "SELECT g.entity_id, e.entity_type, e.canonical_id, g.field, d.name AS sink, g.noticed_at FROM gap g"
        " JOIN entity e ON e.workspace_id = g.workspace_id AND e.entity_id = g.entity_id"
        " JOIN data_source d ON d.workspace_id = g.workspace_id AND d.data_source_id = g.sink_id"
        " WHERE g.workspace_id = :ws AND (CAST(:entity AS uuid) IS NULL OR g.entity_id = CAST(:entity AS uuid))"
        " ORDER BY g.noticed_at, g.entity_id, g.field LIMIT :limit",
        ws=workspace_id,
        entity=entity_id,
        limit=limit,
    )
