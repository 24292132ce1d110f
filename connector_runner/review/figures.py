"""How the human queue goes: at a glance, by person, and day by day. Ids, codes and counts alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from connector_runner.infra.database import Row, Tx
from connector_runner.review import figures_store, queue, showing

_RECENT: Final = 10
_MINUTES: Final = ("avg_review_minutes", "avg_claimed_minutes")


def dashboard(tx: Tx, workspace_id: str, *, now: datetime) -> dict[str, Any]:
    """What waits and why, and what was answered last."""
    found = queue.stats(tx, workspace_id, now=now)
    decided, _ = queue.listing(
        tx, workspace_id, order="completed_at", limit=_RECENT, status=["completed", "rejected"]
    )  # fmt: skip
    return {
        "stats": {name: found[name] for name in ("pending", "completed", "rejected", "avg_review_minutes")},
        "completion_rate_24h": found["completion_rate_24h"],
        "pending_by_priority": found["pending_by_priority"],
        "pending_by_reason": [{"reason": name, "count": n} for name, n in found["pending_by_reason"].items()],
        "recent_completed": [showing.summary(workspace_id, item) for item in decided],
    }


def performance(tx: Tx, workspace_id: str, *, days: int, now: datetime) -> dict[str, Any]:
    """What people answered in the last so many days: all of them, and each."""
    each = [_rounded(row) for row in figures_store.by_reviewer(tx, workspace_id, now - timedelta(days=days))]
    counts = {name: sum(row[name] for row in each) for name in ("decided", "approved", "rejected", "corrected")}
    spent = sum(row["avg_review_minutes"] * row["decided"] for row in each)
    mean = round(spent / counts["decided"], 2) if counts["decided"] else None
    return {"days": days, **counts, "avg_review_minutes": mean, "by_reviewer": each}


def trends(tx: Tx, workspace_id: str, *, days: int, now: datetime) -> dict[str, Any]:
    """What was asked, answered and expired on each of the last so many days (UTC), also on those without any."""
    first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    known = {row.pop("day"): row for row in map(_rounded, figures_store.by_day(tx, workspace_id, first))}
    nothing = dict.fromkeys(("created", "decided", "approved", "rejected", "corrected", "expired"), 0)
    each = [(first + timedelta(days=n)).date() for n in range(days)]
    return {
        "days": [{"day": day.isoformat(), **nothing, "avg_review_minutes": None, **known.get(day, {})} for day in each]
    }


def _rounded(row: Row) -> dict[str, Any]:
    return {
        name: round(float(value), 2) if name in _MINUTES and value is not None else value for name, value in row.items()
    }
