"""SQL of how the human queue goes, over days."""

from __future__ import annotations

from datetime import datetime

from connector_runner.infra.database import Row, Tx, rows

_ANSWERS = (
    "count(*) FILTER (WHERE completed_action IS NOT NULL) AS decided,"
    " count(*) FILTER (WHERE completed_action = 'approved') AS approved,"
    " count(*) FILTER (WHERE completed_action = 'rejected') AS rejected,"
    " count(*) FILTER (WHERE completed_action = 'corrected') AS corrected,"
    " avg(extract(epoch FROM completed_at - created_at) / 60) FILTER (WHERE completed_action IS NOT NULL)"
    "  AS avg_review_minutes"
)


def by_reviewer(tx: Tx, workspace_id: str, since: datetime) -> list[Row]:
    """What each person answered since then, who answered most first; ``avg_claimed_minutes`` are from the claim on."""
    return rows(
        tx,
        f"SELECT completed_by AS reviewer, {_ANSWERS},"
        " avg(extract(epoch FROM completed_at - claimed_at) / 60) AS avg_claimed_minutes FROM review_item"
        " WHERE workspace_id = :ws AND completed_at >= :since AND completed_action IS NOT NULL"
        " GROUP BY completed_by ORDER BY decided DESC, reviewer",
        ws=workspace_id,
        since=since,
    )


def by_day(tx: Tx, workspace_id: str, since: datetime) -> list[Row]:
    """What was asked, answered and expired on each day (UTC) since then."""
    return rows(
        tx,
        "WITH made AS (SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS created FROM review_item"
        "  WHERE workspace_id = :ws AND created_at >= :since GROUP BY 1),"
        f" ended AS (SELECT (completed_at AT TIME ZONE 'UTC')::date AS day, {_ANSWERS},"
        "  count(*) FILTER (WHERE status = 'expired' AND ended_because = 'stale') AS expired FROM review_item"
        "  WHERE workspace_id = :ws AND completed_at >= :since GROUP BY 1)"
        " SELECT day, coalesce(created, 0) AS created, coalesce(decided, 0) AS decided,"
        " coalesce(approved, 0) AS approved, coalesce(rejected, 0) AS rejected, coalesce(corrected, 0) AS corrected,"
        " coalesce(expired, 0) AS expired, avg_review_minutes FROM made FULL JOIN ended USING (day) ORDER BY day",
        ws=workspace_id,
        since=since,
    )
