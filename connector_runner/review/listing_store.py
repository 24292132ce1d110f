"""SQL of the queue as people see it: a page of its items, and its figures. Read from indexes: items are wide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from connector_runner.infra.database import Row, Tx, one, rows

_FILTERS: Final = {
    "status": "status = ANY(CAST(:status AS text[]))",
    "kind": "kind = :kind",
    "entity_type": "entity_type = :entity_type",
    "priority": "priority <= :priority",
    "reason": "reason = :reason",
    "category": "category = :category",
    "assigned_to": "assigned_to = :assigned_to",
    "action": "completed_action = :action",
    "reviewed_by": "completed_by = :reviewed_by",
    "created_after": "created_at >= :created_after",
    "created_before": "created_at < :created_before",
    "completed_after": "completed_at >= :completed_after",
    "completed_before": "completed_at < :completed_before",
}
_STATUSES: Final = ("pending", "in_progress", "completed", "rejected", "expired")
_PLACES: Final = {
    # Status by status, in each of which the index has them in order.
    "priority": (
        "SELECT id, priority, created_at FROM unnest(CAST(:statuses AS text[])) AS of (one) CROSS JOIN LATERAL"
        " (SELECT id, priority, created_at FROM review_item WHERE {where} AND status = of.one"
        "  ORDER BY priority, created_at, id LIMIT :upto) i",
        "priority, created_at, id",
    ),
    "completed_at": (
        "SELECT id, completed_at FROM review_item WHERE {where} AND completed_at IS NOT NULL",
        "completed_at DESC, id DESC",
    ),
}
"""Order -> where its items stand, and by what they are ordered."""


def listed(
    tx: Tx, workspace_id: str, wanted: Mapping[str, Any], *, order: str, limit: int, offset: int
) -> tuple[list[Row], int]:
    """Items that meet every filter in ``wanted``, a page of them, and how many there are.

    ``order`` is ``priority``, then how long an item waits, or ``completed_at``: those that are over, the latest first.
    """
    where = " AND ".join(["workspace_id = :ws", *(_FILTERS[name] for name in wanted)])
    count = one(tx, f"SELECT count(*) AS n FROM review_item WHERE {where}", ws=workspace_id, **wanted)
    places, by = _PLACES[order]
    found = rows(
        tx,
        f"WITH page AS MATERIALIZED ({places.format(where=where)} ORDER BY {by} LIMIT :limit OFFSET :offset)"
        " SELECT i.* FROM page CROSS JOIN LATERAL (SELECT * FROM review_item WHERE workspace_id = :ws AND id = page.id"
        f"  OFFSET 0) i ORDER BY {', '.join(f'i.{column}' for column in by.split(', '))}",
        ws=workspace_id,
        statuses=list(wanted.get("status", _STATUSES)),
        limit=limit,
        offset=offset,
        upto=limit + offset,
        **wanted,
    )
    return found, int(count["n"]) if count else 0


def counts(tx: Tx, workspace_id: str, now: datetime) -> Row:
    """How many items there are in each state, and how long answers take."""
    found = one(
        tx,
        "SELECT count(*) FILTER (WHERE status = 'pending') AS pending,"
        " count(*) FILTER (WHERE status = 'in_progress') AS in_progress,"
        " count(*) FILTER (WHERE status = 'completed') AS completed,"
        " count(*) FILTER (WHERE status = 'rejected') AS rejected,"
        " count(*) FILTER (WHERE status = 'expired') AS expired,"
        " count(*) AS total_items,"
        " avg(extract(epoch FROM completed_at - created_at) / 60) FILTER (WHERE completed_action IS NOT NULL)"
        "  AS avg_review_minutes,"
        " count(*) FILTER (WHERE completed_action IN ('approved', 'corrected') AND completed_at >= :week)"
        "  AS approved_7d,"
        " count(*) FILTER (WHERE completed_action = 'rejected' AND completed_at >= :week) AS rejected_7d,"
        " count(*) FILTER (WHERE created_at >= :day) AS created_24h,"
        " count(*) FILTER (WHERE completed_action IS NOT NULL AND completed_at >= :day) AS completed_24h"
        " FROM review_item WHERE workspace_id = :ws",
        ws=workspace_id,
        week=now - timedelta(days=7),
        day=now - timedelta(days=1),
    )
    assert found is not None, "an aggregate has one row"
    return found


def open_counts(tx: Tx, workspace_id: str) -> list[Row]:
    """How many open items (``n``) there are of each priority, reason and category."""
    return rows(
        tx,
        "SELECT priority, reason, category, count(*) AS n FROM review_item WHERE workspace_id = :ws"
        " AND status IN ('pending', 'in_progress') GROUP BY priority, reason, category ORDER BY 1, 2, 3",
        ws=workspace_id,
    )
