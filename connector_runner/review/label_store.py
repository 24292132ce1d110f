"""SQL of what people said of claims: labels of the judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Tx, execute, rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import new_ids
from connector_runner.review.calibration import Label


@dataclass(frozen=True, slots=True)
class Said:
    """One answer about one atom of an event. Without the judge's word it labels nobody. ``field`` is without values."""

    entity_id: str
    event_id: str
    field: str
    category: str
    holds: bool
    verdict: str | None = None
    by: str | None = None
    score: float | None = None
    version: str | None = None
    weight: float = 1.0


def add(
    tx: Tx,
    workspace_id: str,
    said: Sequence[Said],
    *,
    actor: str,
    reason: str,
    item_id: str | None,
    now: datetime,
) -> None:
    """Keep answers, for good."""
    ids = new_ids()
    records = [
        {
            "id": next(ids), "one": each.entity_id, "event_id": each.event_id, "field": each.field,
            "category": each.category, "holds": each.holds, "verdict": each.verdict, "rule": each.by,
            "score": each.score, "version": each.version, "weight": each.weight,
        }
        for each in said
    ]  # fmt: skip
    execute(
        tx,
        "INSERT INTO label (workspace_id, id, kind, one, event_id, field, category, holds, verdict, rule, score,"
        " version, weight, actor, reason, item_id, at)"
        " SELECT :ws, id, 'claim', one, event_id, field, category, holds, verdict, rule, score, version, weight,"
        "  :actor, :reason, :item, :now FROM jsonb_to_recordset(CAST(:said AS jsonb)) AS s (id uuid, one uuid,"
        "  event_id uuid, field text, category text, holds boolean, verdict text, rule text, score float,"
        "  version text, weight float)",
        ws=workspace_id,
        said=exact_json.dumps(records),
        actor=actor,
        reason=reason,
        item=item_id,
        now=now,
    )


def labels(
    tx: Tx, workspace_id: str, *, category: str | None = None, version: str | None = None, since: datetime | None = None
) -> list[Label]:
    """Answers about claims that the judge had judged, the same ones counted. Of each claim the latest word counts."""
    found = rows(
        tx,
        "SELECT version, category, verdict, score, weight, holds, count(*) AS times FROM ("
        " SELECT DISTINCT ON (event_id, field, item_id) version, category, verdict, score, weight, holds FROM label"
        " WHERE workspace_id = :ws AND kind = 'claim' AND verdict IS NOT NULL"
        " AND (CAST(:category AS text) IS NULL OR category = :category)"
        " AND (CAST(:version AS text) IS NULL OR version = :version)"
        " AND (CAST(:since AS timestamptz) IS NULL OR at > :since)"
        " ORDER BY event_id, field, item_id, at DESC, id DESC) l GROUP BY 1, 2, 3, 4, 5, 6",
        ws=workspace_id,
        category=category,
        version=version,
        since=since,
    )
    return [
        Label(
            row["version"],
            row["category"],
            row["verdict"],
            float(row["score"]),
            float(row["weight"]),
            row["holds"],
            row["times"],
        )
        for row in found
    ]
