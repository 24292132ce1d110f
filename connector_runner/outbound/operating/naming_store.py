"""SQL of records of a sink that name others than they should: whether that mends itself, and what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from connector_runner.infra.database import Tx, gather, hot, id_array, one, rows


def kinds(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[str, str]:
    """Entity -> its type, of those that are there."""
    found = rows(
        tx,
        "SELECT entity_id, entity_type FROM entity WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"]: row["entity_type"] for row in found}


def on_the_way(tx: Tx, workspace_id: str, sink_id: str, entity_ids: Sequence[str]) -> bool:
    """Whether any of these entities is, or may be, being made in a sink, or waits to be looked at."""
    found = one(
        tx,
        "SELECT 1 AS comes FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink"
        " AND entity_id = ANY(CAST(:ids AS uuid[])) AND (state IN ('ready', 'leased', 'waiting', 'unknown'))"
        " UNION ALL SELECT 1 FROM pending_release WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[])) LIMIT 1",
        ws=workspace_id,
        sink=sink_id,
        ids=id_array(entity_ids),
    )
    return found is not None


def seen_to(tx: Tx, workspace_id: str, stage: str, lane_id: str, code: str, names: str, should_name: str) -> bool:
    """Whether a person was asked this of a lane before, and put it away."""
    found = one(
        tx,
        "SELECT 1 AS seen FROM quarantine WHERE workspace_id = :ws AND stage = :stage AND subject = :lane"
        " AND code = :code AND status = 'discarded' AND context->>'names' = :names"
        " AND context->>'should_name' = :should LIMIT 1",
        ws=workspace_id,
        stage=stage,
        lane=lane_id,
        code=code,
        names=names,
        should=should_name,
    )
    return found is not None


_SETTLE: Final = hot(
    "UPDATE quarantine q SET status = 'replayed' FROM unnest(CAST(:ws AS uuid[]), CAST(:stage AS text[]),"
    " CAST(:lane AS text[]), CAST(:code AS text[])) s(ws, stage, lane, code) WHERE q.workspace_id = s.ws"
    " AND q.stage = s.stage AND q.subject = s.lane AND q.code = s.code AND q.status = 'open'"
)


def settle(tx: Tx, workspace_id: str, stage: str, lane_id: str, code: str) -> None:
    """Close what was asked of a lane, with the next statement."""
    gather(tx, _SETTLE, ws=workspace_id, stage=stage, lane=lane_id, code=code)
