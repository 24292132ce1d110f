"""SQL of entities that wait for a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from connector_runner.infra.database import Tx, execute, id_array, one, rows
from connector_runner.world.reading import STAMP

LEASE_S: Final = 120.0
"""How long whoever took an entity may judge it before another one does."""
OVERLAP: Final = timedelta(hours=1)
"""What a scan looks at again: a transaction that began before it may have committed after it, and clocks differ."""
SCANNED: Final = 5000
"""Events that one step of a scan looks at."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An entity that was taken to be judged. ``fence`` makes a late claimant's verdicts void."""

    entity_id: str
    generation: int
    fence: int
    attempts: int


def request(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> None:
    """Ask for entities to be judged; in id order, so that two who ask never wait for each other."""
    execute(
        tx,
        "INSERT INTO pending_review AS p (workspace_id, entity_id)"
        " SELECT :ws, id FROM unnest(CAST(:ids AS uuid[])) id ORDER BY id"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET generation = p.generation + 1",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )


def request_all(tx: Tx, workspace_id: str, *, but: Sequence[str]) -> None:
    """Ask for whom anything was said of in doubt that no verdict is about as a whole, as when others are looked at.

    ``but`` are entity types that nobody looks at.
    """
    execute(
        tx,
        "INSERT INTO pending_review AS p (workspace_id, entity_id)"
        " SELECT DISTINCT e.workspace_id, e.holder FROM (SELECT e.workspace_id, e.id, coalesce((SELECT a.entity_id"
        "  FROM adopted_record a WHERE a.workspace_id = :ws AND a.record_id = e.entity_id), e.entity_id) AS holder"
        f"  FROM event e WHERE {_IN_DOUBT} AND e.entity_type <> ALL(CAST(:but AS text[])) OFFSET 0) e"
        " WHERE NOT EXISTS (SELECT 1 FROM event v WHERE v.workspace_id = :ws AND v.caused_by = e.id"
        "  AND v.domain = 'review' AND NOT v.facts ?| ARRAY['fields', 'rests_on'] OFFSET 0)"
        " ORDER BY 2 ON CONFLICT (workspace_id, entity_id) DO UPDATE SET generation = p.generation + 1",
        ws=workspace_id,
        but=list(but),
    )


def take(tx: Tx, workspace_id: str, limit: int) -> list[Taken]:
    """Take up to ``limit`` entities that are due, those first that have waited longest. One that failed goes alone."""
    found = rows(
        tx,
        # Materialized, or the planner may run the locking query once a row and claim more than it returns.
        "WITH due AS MATERIALIZED (SELECT workspace_id, entity_id FROM pending_review WHERE workspace_id = :ws"
        "  AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :n FOR UPDATE SKIP LOCKED)"
        " UPDATE pending_review p SET due_at = clock_timestamp() + :lease * interval '1 second', fence = p.fence + 1,"
        "  attempts = p.attempts + 1 FROM due WHERE p.workspace_id = due.workspace_id AND p.entity_id = due.entity_id"
        " RETURNING p.entity_id, p.generation, p.fence, p.attempts",
        ws=workspace_id,
        n=limit,
        lease=LEASE_S,
    )
    return [Taken(**row) for row in sorted(found, key=lambda row: row["entity_id"])]


def held(tx: Tx, workspace_id: str, taken: Sequence[Taken]) -> set[str]:
    """Which of them are still ours; their rows are locked."""
    fences = {each.entity_id: each.fence for each in taken}
    found = rows(
        tx,
        "SELECT entity_id, fence FROM pending_review WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[])) ORDER BY entity_id FOR UPDATE",
        ws=workspace_id,
        ids=id_array(sorted(fences)),
    )
    return {row["entity_id"] for row in found if fences[row["entity_id"]] == row["fence"]}


def stamps(tx: Tx, entity_ids: Sequence[str]) -> dict[str, str]:
    """``EntityView.stamp`` of entities as they stand now."""
    found = rows(
        tx,
        f"SELECT i.id, s.stamp FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
        f" (SELECT {STAMP} AS stamp FROM entity e WHERE e.entity_id = i.id OFFSET 0) s",
        ids=id_array(sorted(entity_ids)),
    )
    return {row["id"]: row["stamp"] for row in found}


def settle(tx: Tx, workspace_id: str, done: Sequence[Taken], again: Sequence[Taken]) -> None:
    """Let those that are judged go, but for those of which more was said meanwhile; ``again`` are due at once."""
    execute(
        tx,
        "DELETE FROM pending_review p USING unnest(CAST(:ids AS uuid[]), CAST(:generations AS bigint[])) d (id, n)"
        " WHERE p.workspace_id = :ws AND p.entity_id = d.id AND p.generation = d.n",
        ws=workspace_id,
        ids=id_array([each.entity_id for each in done]),
        generations=[each.generation for each in done],
    )
    execute(
        tx,
        "UPDATE pending_review SET due_at = clock_timestamp(), attempts = 0 WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array([each.entity_id for each in (*done, *again)]),
    )


def due(tx: Tx, workspace_id: str) -> bool:
    """Whether any entity is due."""
    found = one(
        tx,
        "SELECT 1 FROM pending_review WHERE workspace_id = :ws AND due_at <= clock_timestamp() LIMIT 1",
        ws=workspace_id,
    )
    return found is not None


def workspaces_due(tx: Tx) -> list[str]:
    """Workspaces in which entities wait to be judged; for a sweep."""
    found = rows(
        tx,
        "SELECT DISTINCT workspace_id FROM pending_review WHERE due_at <= clock_timestamp() ORDER BY workspace_id",
    )
    return [row["workspace_id"] for row in found]


def workspaces(tx: Tx) -> list[str]:
    """Ids of active workspaces; for a sweep."""
    found = rows(tx, "SELECT workspace_id FROM workspace WHERE status = 'active' ORDER BY workspace_id")
    return [row["workspace_id"] for row in found]


def waiting(tx: Tx, workspace_id: str, now: datetime) -> tuple[int, float]:
    """How many entities wait to be judged, and for how many seconds the first of them has."""
    row = one(
        tx,
        "SELECT count(*) AS n, min(requested_at) AS since FROM pending_review WHERE workspace_id = :ws",
        ws=workspace_id,
    )
    if row is None or row["since"] is None:
        return 0, 0.0
    return int(row["n"]), max(0.0, (now - row["since"]).total_seconds())


def sessions(tx: Tx, workspace_id: str, event_ids: Sequence[str]) -> Mapping[str, str | None]:
    """Event -> the conversation that it came of, if any."""
    found = rows(
        tx,
        "SELECT id, correlation_id FROM event WHERE workspace_id = :ws AND id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(set(event_ids))),
    )
    return {row["id"]: row["correlation_id"] for row in found}


def scanned_until(tx: Tx, workspace_id: str) -> datetime | None:
    """From where a scan looks; None where there was none yet."""
    row = one(tx, "SELECT seen_until FROM review_scan WHERE workspace_id = :ws", ws=workspace_id)
    return row["seen_until"] - OVERLAP if row else None


def scan(
    tx: Tx, workspace_id: str, since: datetime | None, now: datetime, *, limit: int = SCANNED
) -> tuple[int, datetime | None]:
    """Ask for entities of which something was said in doubt after ``since``, should nobody have; how many.

    What the judge has passed, or a person was asked about, is left alone. One step is over about ``limit`` events;
    the second figure is where the next one begins, None after the last.
    """
    step = one(
        tx,
        f"SELECT ingested_at FROM event e WHERE {_DOUBTED} ORDER BY ingested_at OFFSET :limit LIMIT 1",
        ws=workspace_id,
        since=since,
        limit=limit,
    )
    until = step["ingested_at"] if step else None
    found = execute(tx, _MISSED, ws=workspace_id, since=since, until=until)
    execute(
        tx,
        "INSERT INTO review_scan (workspace_id, seen_until) VALUES (:ws, least(:seen, clock_timestamp()))"
        " ON CONFLICT (workspace_id) DO UPDATE SET seen_until = greatest(review_scan.seen_until, excluded.seen_until)",
        ws=workspace_id,
        seen=until or now,
    )
    return found, until


_IN_DOUBT: Final = "e.workspace_id = :ws AND e.confidence > 0 AND e.confidence < 0.8"
_DOUBTED: Final = f"{_IN_DOUBT} AND e.ingested_at > coalesce(CAST(:since AS timestamptz), '-infinity')"
# Event by event (OFFSET keeps the planner from joining): few are new, and the tables that tell of them are large.
_MISSED: Final = (
    "INSERT INTO pending_review (workspace_id, entity_id)"
    " SELECT DISTINCT e.workspace_id, e.holder FROM (SELECT e.workspace_id, e.id, coalesce((SELECT"
    "  a.entity_id FROM adopted_record a WHERE a.workspace_id = :ws AND a.record_id = e.entity_id), e.entity_id)"
    f"  AS holder FROM event e WHERE {_DOUBTED}"
    "  AND e.ingested_at <= coalesce(CAST(:until AS timestamptz), 'infinity') OFFSET 0) e"
    " WHERE NOT EXISTS (SELECT 1 FROM event v WHERE v.workspace_id = :ws AND v.caused_by = e.id"
    "  AND v.event_type = 'review.approved' AND v.facts->>'kind' = 'automated' OFFSET 0)"
    " AND NOT EXISTS (SELECT 1 FROM review_item i WHERE i.workspace_id = :ws AND i.entity_id = e.holder"
    "  AND e.id = ANY(i.event_ids) OFFSET 0)"
    " ORDER BY 2 ON CONFLICT DO NOTHING"
)
