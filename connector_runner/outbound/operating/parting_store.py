"""SQL of what lanes wrote because of events that are not of their entity, or of any that it is one with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from connector_runner.infra.database import Tx, id_array, rows
from connector_runner.outbound.operating.undo_store import MARK

# The write before, taken back while those that the entity was ever linked with, directly or not, were as they are.
_TAKEN_BACK = (
    "WITH RECURSIVE near (id) AS (SELECT i.entity_id UNION SELECT CASE WHEN l.one = near.id THEN l.other ELSE l.one END"
    "  FROM near JOIN link_event l ON l.workspace_id = :ws AND near.id IN (l.one, l.other) AND l.action = 'made')"
    " SELECT 1 FROM undo_request u JOIN write_log w ON w.workspace_id = :ws AND w.lane_id = u.lane_id"
    "  AND w.intent_id = ANY(u.intents) AND w.phase = 'intent' WHERE u.workspace_id = :ws AND u.lane_id = o.lane_id"
    "  AND w.causes = i.causes AND w.written_at < i.written_at AND NOT EXISTS (SELECT 1 FROM link_event l"
    "   WHERE l.workspace_id = :ws AND l.action = 'made' AND l.at BETWEEN w.written_at AND i.written_at"
    "    AND (l.one IN (SELECT id FROM near) OR l.other IN (SELECT id FROM near)))"
)


def lent(
    tx: Tx, workspace_id: str, lane_id: str, event_ids: Sequence[str], operation: str, relays: Collection[str] = ()
) -> list[str]:
    """Intents of a lane that landed and were caused by any other event than these, the oldest first.

    Without those that were asked to be undone before, whatever came of it, and those that undid. ``relays`` are events
    of the entity that once stood for another's word. What they caused, was taken back, and was written again with no
    link made in between is the entity's own by all that is known: it would be taken back and written for ever.
    """
    found = rows(
        tx,
        "SELECT o.intent_id, min(o.written_at) AS at FROM write_log o JOIN write_log i ON i.workspace_id = :ws"
        " AND i.lane_id = o.lane_id AND i.intent_id = o.intent_id AND i.phase = 'intent'"
        " WHERE o.workspace_id = :ws AND o.lane_id = :lane AND o.phase = 'outcome' AND o.outcome = 'landed'"
        f" AND o.operation = :operation AND NOT starts_with(coalesce(o.mapping_version, ''), '{MARK}')"
        " AND NOT i.causes <@ CAST(:events AS uuid[])"
        f" AND NOT (i.causes <@ CAST(:own AS uuid[]) AND EXISTS ({_TAKEN_BACK}))"
        " AND NOT EXISTS (SELECT 1 FROM undo_request u"
        "  WHERE u.workspace_id = :ws AND u.lane_id = o.lane_id AND o.intent_id = ANY(u.intents))"
        " GROUP BY o.intent_id ORDER BY 2",
        ws=workspace_id,
        lane=lane_id,
        operation=operation,
        events=id_array(event_ids),
        own=id_array([*event_ids, *relays]),
    )
    return [row["intent_id"] for row in found]


def landed_since(tx: Tx, workspace_id: str, lane_id: str, intent_ids: Sequence[str]) -> list[str]:
    """Intents of a lane that landed after the first of these and are none of them, without those that undid."""
    found = rows(
        tx,
        "SELECT DISTINCT intent_id FROM write_log WHERE workspace_id = :ws AND lane_id = :lane AND phase = 'outcome'"
        f" AND outcome = 'landed' AND NOT starts_with(coalesce(mapping_version, ''), '{MARK}')"
        " AND intent_id <> ALL(CAST(:ids AS uuid[])) AND written_at > (SELECT min(written_at) FROM write_log"
        "  WHERE workspace_id = :ws AND lane_id = :lane AND intent_id = ANY(CAST(:ids AS uuid[])))",
        ws=workspace_id,
        lane=lane_id,
        ids=id_array(intent_ids),
    )
    return [row["intent_id"] for row in found]


def asked_since(tx: Tx, workspace_id: str, stage: str, lane_id: str, code: str, since: datetime) -> bool:
    """Whether a person was asked this of a lane then or later, whatever came of it."""
    found = rows(
        tx,
        "SELECT 1 AS asked FROM quarantine WHERE workspace_id = :ws AND stage = :stage AND subject = :lane"
        " AND code = :code AND last_seen_at >= :since LIMIT 1",
        ws=workspace_id,
        stage=stage,
        lane=lane_id,
        code=code,
        since=since,
    )
    return bool(found)
