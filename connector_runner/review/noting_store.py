"""SQL of entities that a change concerns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.infra.database import Tx, hot, id_array, rows

# Of the entity ``n``, or of a record that it adopted; looked up one by one.
_DOUBTED: Final = (
    "EXISTS (SELECT 1 FROM (SELECT n.entity_id AS id UNION ALL"
    " SELECT record_id FROM adopted_record WHERE workspace_id = :ws AND entity_id = n.entity_id) r"
    " CROSS JOIN LATERAL (SELECT 1 FROM event WHERE workspace_id = :ws AND entity_id = r.id"
    "  AND confidence > 0 AND confidence < 0.8 OFFSET 0) d)"
)

# For a few, as every write asks, the plan is kept.
_CONCERNED: Final = (
    "SELECT o.entity_id FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
    " (SELECT entity_id FROM review_item WHERE workspace_id = :ws AND kind = 'events' AND entity_id = i.id"
    "  AND status IN ('pending', 'in_progress') OFFSET 0) o"
    " UNION SELECT n.entity_id FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
    " (SELECT cluster_id FROM cluster_member WHERE workspace_id = :ws AND entity_id = i.id OFFSET 0) m"
    " CROSS JOIN LATERAL (SELECT entity_id FROM cluster_member WHERE workspace_id = :ws"
    "  AND cluster_id = m.cluster_id OFFSET 0) n"
    f" WHERE n.entity_id <> i.id AND {_DOUBTED}"
)
_FEW: Final = 16


def doubted(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> set[str]:
    """Those of the entities of which anything was ever said in doubt, whatever became of it."""
    found = rows(
        tx,
        f"SELECT n.entity_id FROM unnest(CAST(:ids AS uuid[])) AS n (entity_id) WHERE {_DOUBTED}",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"] for row in found}


def concerned(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> set[str]:
    """Those of the entities that people are asked about, and others that are the same, and doubted."""
    few = len(entity_ids) <= _FEW
    found = rows(tx, hot(_CONCERNED) if few else _CONCERNED, ws=workspace_id, ids=id_array(sorted(set(entity_ids))))
    return {row["entity_id"] for row in found}
