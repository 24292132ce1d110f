"""SQL of marks: which patients' records bear a sensitivity label, or have the number of a test caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector_runner.infra.database import Row, Tx, execute, hot, id_array, rows
from connector_runner.outbound.gating.consent_store import PATIENT, Mark


def looked(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> list[Row]:
    """Of patients that bear anything, or bore anything: ``labels``, ``telecom``, and what is noted of them.

    Ways to reach them count only where the workspace has test callers: mostly nothing is answered.
    """
    return rows(
        tx,
        hot(
            "SELECT CAST(i.id AS text) AS entity_id, p.labels, p.telecom, m.labels AS known_labels, m.test_caller"
            " FROM unnest(CAST(:ids AS uuid[])) AS i (id) LEFT JOIN LATERAL (SELECT e.state -> 'security_labels'"
            "  AS labels, CASE WHEN EXISTS (SELECT 1 FROM workspace_policy WHERE workspace_id = :ws"
            "   AND body ? 'test_callers') THEN e.state -> 'telecom' END AS telecom FROM projection e"
            "  WHERE e.entity_id = i.id AND e.status = 'active' OFFSET 0) p ON true LEFT JOIN LATERAL"
            " (SELECT labels, test_caller FROM patient_mark WHERE workspace_id = :ws AND entity_id = i.id OFFSET 0) m"
            " ON true WHERE p.labels IS NOT NULL OR p.telecom IS NOT NULL OR m.test_caller IS NOT NULL"
        ),
        ws=workspace_id,
        ids=id_array(entity_ids),
    )


def put(tx: Tx, workspace_id: str, marks: Sequence[Mark]) -> None:
    """Set these marks; one that says nothing goes."""
    for mark in marks:
        names: dict[str, Any] = {"ws": workspace_id, "id": mark.entity_id}
        if not mark.labels and not mark.test_caller:
            execute(tx, "DELETE FROM patient_mark WHERE workspace_id = :ws AND entity_id = :id", **names)
            continue
        execute(
            tx,
            "INSERT INTO patient_mark AS m (workspace_id, entity_id, labels, test_caller)"
            " VALUES (:ws, :id, CAST(:labels AS text[]), :tester) ON CONFLICT (workspace_id, entity_id) DO UPDATE"
            " SET labels = excluded.labels, test_caller = excluded.test_caller",
            labels=list(mark.labels),
            tester=mark.test_caller,
            **names,
        )


def page(tx: Tx, workspace_id: str, after: str | None, limit: int) -> list[str]:
    """Patients in id order."""
    found = rows(
        tx,
        "SELECT entity_id FROM entity WHERE workspace_id = :ws AND entity_type = :kind"
        " AND (CAST(:after AS uuid) IS NULL OR entity_id > CAST(:after AS uuid)) ORDER BY entity_id LIMIT :limit",
        ws=workspace_id,
        kind=PATIENT,
        after=after,
        limit=limit,
    )
    return [row["entity_id"] for row in found]
