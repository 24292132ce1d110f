"""SQL of quarrels between systems: since when they count, and letting one begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from connector_runner.infra.database import Row, Tx, one, rows


def settled_at(tx: Tx, lane_id: str) -> datetime | None:
    """When an operator last let the systems of a lane try again; None for never."""
    found = one(tx, "SELECT settled_at FROM sync_lane WHERE lane_id = :lane", lane=lane_id)
    return None if found is None else found["settled_at"]


def settle(tx: Tx, workspace_id: str, *, lane_ids: Sequence[str] | None, sink: str | None) -> list[Row]:
    """Forget what was seen so far on lanes that stand in a quarrel: those named, or all of a sink (its name).

    Answers (lane_id, sink_id, entity_id); ask for a release of the entities afterwards.
    """
    return rows(
        tx,
        "UPDATE sync_lane l SET settled_at = clock_timestamp(), updated_at = clock_timestamp() FROM data_source d"
        " WHERE l.workspace_id = :ws AND d.workspace_id = l.workspace_id AND d.data_source_id = l.sink_id"
        ' AND l.withheld @> \'[{"code": "ping_pong"}]\''
        " AND (CAST(:ids AS uuid[]) IS NULL OR l.lane_id = ANY(CAST(:ids AS uuid[])))"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink)"
        " RETURNING l.lane_id, l.sink_id, l.entity_id",
        ws=workspace_id,
        ids=None if lane_ids is None else list(lane_ids),
        sink=sink,
    )
