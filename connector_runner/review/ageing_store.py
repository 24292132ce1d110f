"""SQL of what time does to questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Row, Tx, execute, id_array, rows

_OPEN: Final = "status IN ('pending', 'in_progress')"


def stale(tx: Tx, workspace_id: str, before: datetime, limit: int) -> list[Row]:
    """Open items that nobody changed or claimed since ``before``, locked; none that is being decided just now."""
    return rows(
        tx,
        f"SELECT id, entity_id, kind FROM review_item WHERE workspace_id = :ws AND {_OPEN} AND changed_at < :before"
        " ORDER BY changed_at, id LIMIT :n FOR UPDATE SKIP LOCKED",
        ws=workspace_id,
        before=before,
        n=limit,
    )


def lapse(tx: Tx, workspace_id: str, before: datetime) -> list[Row]:
    """Give items back to everybody that were claimed before then, as old as they are; each with who had it."""
    return rows(
        tx,
        "WITH held AS MATERIALIZED (SELECT id, assigned_to FROM review_item WHERE workspace_id = :ws"
        "  AND status = 'in_progress' AND claimed_at < :before ORDER BY id FOR UPDATE SKIP LOCKED)"
        " UPDATE review_item i SET status = 'pending', assigned_to = NULL, claimed_at = NULL, seen = NULL"
        " FROM held WHERE i.workspace_id = :ws AND i.id = held.id RETURNING i.id, held.assigned_to",
        ws=workspace_id,
        before=before,
    )


def reopen(tx: Tx, workspace_id: str, item_id: str, now: datetime) -> None:
    """Put an expired item back into the queue."""
    execute(
        tx,
        "UPDATE review_item SET status = 'pending', ended_because = NULL, completed_at = NULL, assigned_to = NULL,"
        " claimed_at = NULL, seen = NULL, changed_at = :now WHERE workspace_id = :ws AND id = :id"
        " AND status = 'expired'",
        ws=workspace_id,
        id=item_id,
        now=now,
    )


def waiting(tx: Tx, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Open items about events, by id, from beyond ``after``."""
    return rows(
        tx,
        "SELECT id, entity_id, category, priority FROM review_item WHERE workspace_id = :ws AND kind = 'events'"
        f" AND {_OPEN} AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :n",
        ws=workspace_id,
        after=after,
        n=limit,
    )


def save_priorities(tx: Tx, workspace_id: str, priorities: Mapping[str, int], seen: Sequence[Row]) -> int:
    """Give open items their priorities, of those that have still the category and priority in ``seen``; how many."""
    was = {row["id"]: row for row in seen}
    return execute(
        tx,
        "UPDATE review_item i SET priority = p.priority FROM unnest(CAST(:ids AS uuid[]),"
        " CAST(:priorities AS integer[]), CAST(:was AS integer[]), CAST(:categories AS text[]))"
        " AS p (id, priority, was, category)"
        f" WHERE i.workspace_id = :ws AND i.id = p.id AND i.priority = p.was AND i.category = p.category AND i.{_OPEN}",
        ws=workspace_id,
        ids=id_array(list(priorities)),
        priorities=list(priorities.values()),
        was=[was[item]["priority"] for item in priorities],
        categories=[was[item]["category"] for item in priorities],
    )
