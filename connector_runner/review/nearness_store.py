"""The next appointment of each patient whom a question is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Tx, id_array, rows
from connector_runner.kernel.clock import parse_instant
from connector_runner.world import reading

_PATIENT: Final = "patient"
_MOST: Final = 500
_OVER: Final = frozenset({"cancelled", "noshow", "fulfilled", "entered-in-error"})


def next_appointments(tx: Tx, workspace_id: str, entity_ids: Sequence[str], now: datetime) -> dict[str, datetime]:
    """Entity -> the start of the next appointment of the person that it is, or that it is about, or its own start."""
    if not entity_ids:
        return {}
    about = reading.targets(tx, workspace_id, entity_ids, _PATIENT)
    asked = [(entity, person) for entity in entity_ids for person in (entity, *about.get(entity, ()))]
    found = rows(
        tx,
        "WITH asked AS (SELECT DISTINCT a.entity_id, coalesce(r.entity_id, a.person_id) AS person_id"
        "  FROM unnest(CAST(:entities AS uuid[]), CAST(:people AS uuid[])) a (entity_id, person_id)"
        "  LEFT JOIN adopted_record r ON r.workspace_id = :ws AND r.record_id = a.person_id),"
        " people AS (SELECT entity_id, person_id FROM asked UNION"
        "  SELECT a.entity_id, n.entity_id FROM asked a JOIN cluster_member m ON m.workspace_id = :ws"
        "   AND m.entity_id = a.person_id JOIN cluster_member n ON n.workspace_id = :ws"
        "   AND n.cluster_id = m.cluster_id),"
        " named AS (SELECT entity_id, person_id AS target_id FROM people UNION"
        "  SELECT p.entity_id, r.record_id FROM people p JOIN adopted_record r ON r.workspace_id = :ws"
        "   AND r.entity_id = p.person_id),"
        " visits AS (SELECT entity_id, target_id AS visit_id FROM named UNION"
        "  SELECT n.entity_id, r.entity_id FROM named n CROSS JOIN LATERAL"
        "   (SELECT entity_id FROM relationship WHERE workspace_id = :ws AND target_id = n.target_id OFFSET 0) r)"
        " SELECT v.entity_id, p.state->>'start' AS start, p.state->>'status' AS status FROM visits v"
        " CROSS JOIN LATERAL (SELECT state FROM projection WHERE workspace_id = :ws AND entity_id = v.visit_id"
        "  AND entity_type = 'appointment' AND status = 'active' OFFSET 0) p LIMIT :most",
        ws=workspace_id,
        entities=id_array([entity for entity, _ in asked]),
        people=id_array([person for _, person in asked]),
        most=_MOST * len(entity_ids),
    )
    nearest: dict[str, datetime] = {}
    for row in found:
        start = parse_instant(row["start"] or "")
        if start is None or start < now or row["status"] in _OVER:
            continue
        if row["entity_id"] not in nearest or start < nearest[row["entity_id"]]:
            nearest[row["entity_id"]] = start
    return nearest
