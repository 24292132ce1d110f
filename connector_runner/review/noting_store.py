"""SQL of entities of which a judge passed something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.infra.database import Tx, id_array, rows

# Of the entity ``n``, and of the records that it adopted; looked up one by one.
_PASSED: Final = (
    "EXISTS (SELECT 1 FROM (SELECT n.entity_id AS id UNION ALL"
    " SELECT record_id FROM adopted_record WHERE workspace_id = :ws AND entity_id = n.entity_id) r"
    " CROSS JOIN LATERAL (SELECT 1 FROM event WHERE workspace_id = :ws AND entity_id = r.id"
    "  AND event_type = 'review.approved' AND facts->>'kind' = 'automated' OFFSET 0) v)"
)


def passed_of(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> set[str]:
    """Those of the entities of which a judge passed something."""
    found = rows(
        tx,
        f"SELECT n.entity_id FROM unnest(CAST(:ids AS uuid[])) AS n (entity_id) WHERE {_PASSED}",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"] for row in found}


def passed_beside(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> set[str]:
    """Others that are the same as one of the entities, and of which a judge passed something."""
    found = rows(
        tx,
        "SELECT DISTINCT n.entity_id FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
        " (SELECT cluster_id FROM cluster_member WHERE workspace_id = :ws AND entity_id = i.id OFFSET 0) m"
        " CROSS JOIN LATERAL (SELECT entity_id FROM cluster_member WHERE workspace_id = :ws"
        "  AND cluster_id = m.cluster_id OFFSET 0) n"
        f" WHERE n.entity_id <> i.id AND {_PASSED}",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"] for row in found}
