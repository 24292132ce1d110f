"""SQL of reconciliation: marks of what release looked at, walks over entities, and what stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector_runner.infra.database import Row, Tx, execute, id_array, one, rows
from connector_runner.outbound.lanes.store import NOW_ONCE

NO_ID = "00000000-0000-0000-0000-000000000000"


def mark(tx: Tx, workspace_id: str, looked_at: Sequence[tuple[str, int, int | None]]) -> None:
    """Note the entities that release looked at: id, revision, mark of the terms; those without terms are left out."""
    wanted = sorted((entity, revision, terms) for entity, revision, terms in looked_at if terms is not None)
    if not wanted:
        return
    execute(
        tx,
        "INSERT INTO release_mark AS m (workspace_id, entity_id, revision, terms) SELECT :ws, t.* FROM"
        " unnest(CAST(:ids AS uuid[]), CAST(:revisions AS bigint[]), CAST(:terms AS bigint[])) t"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET revision = excluded.revision, terms = excluded.terms"
        " WHERE m.revision <> excluded.revision OR m.terms <> excluded.terms",
        ws=workspace_id,
        ids=id_array(entity for entity, _, _ in wanted),
        revisions=[revision for _, revision, _ in wanted],
        terms=[terms for _, _, terms in wanted],
    )


def know_sinks(tx: Tx) -> list[Row]:
    """Sinks that are switched on and have no walk yet; ``tx`` is a sweep."""
    return rows(
        tx,
        "SELECT d.workspace_id, d.data_source_id AS sink_id FROM data_source d JOIN workspace w USING (workspace_id)"
        " WHERE w.status = 'active' AND d.sink_enabled AND d.enabled AND NOT EXISTS (SELECT 1 FROM reconcile_walk r"
        " WHERE r.workspace_id = d.workspace_id AND r.sink_id = d.data_source_id) ORDER BY 1, 2",
    )


def add_walk(tx: Tx, workspace_id: str, sink_id: str) -> None:
    """A walk for a sink that has none: due now."""
    execute(
        tx,
        "INSERT INTO reconcile_walk (workspace_id, sink_id) SELECT workspace_id, data_source_id FROM data_source"
        " WHERE workspace_id = :ws AND data_source_id = :sink ON CONFLICT DO NOTHING",
        ws=workspace_id,
        sink=sink_id,
    )


def due(tx: Tx, limit: int) -> list[Row]:
    """Sinks whose walk or sample is due and that nobody works on, the longest due first; ``tx`` is a sweep."""
    return rows(
        tx,
        "SELECT r.workspace_id, w.slug, r.sink_id, d.name,"
        " r.due_at <= clock_timestamp() AND (r.lease_until IS NULL OR r.lease_until <= clock_timestamp()) AS walk,"
        " r.sample_due_at <= clock_timestamp() AS sample"
        " FROM reconcile_walk r JOIN workspace w USING (workspace_id)"
        " JOIN data_source d ON d.workspace_id = r.workspace_id AND d.data_source_id = r.sink_id"
        " WHERE w.status = 'active' AND d.sink_enabled AND d.enabled"
        " AND least(r.due_at, r.sample_due_at) <= clock_timestamp()"
        " ORDER BY least(r.due_at, r.sample_due_at) LIMIT :limit",
        limit=limit,
    )


@dataclass(frozen=True, slots=True)
class Walk:
    """A claimed walk: ``fence`` proves the claim, the other two say where it goes on."""

    fence: int
    entity_type: str
    after_id: str


def claim(tx: Tx, workspace_id: str, sink_id: str, owner: str, lease_s: float) -> Walk | None:
    """Take a walk that is due; None when it is not, or somebody has it. A new one begins at the beginning."""
    row = one(
        tx,
        "UPDATE reconcile_walk SET lease_owner = :owner, fence = fence + 1,"
        " lease_until = clock_timestamp() + :lease * interval '1 second',"
        " looked = CASE WHEN entity_type = '' THEN 0 ELSE looked END,"
        " asked = CASE WHEN entity_type = '' THEN 0 ELSE asked END,"
        " started_at = CASE WHEN entity_type = '' THEN clock_timestamp() ELSE started_at END"
        " WHERE workspace_id = :ws AND sink_id = :sink AND due_at <= clock_timestamp()"
        " AND (lease_until IS NULL OR lease_until <= clock_timestamp()) RETURNING fence, entity_type, after_id",
        ws=workspace_id,
        sink=sink_id,
        owner=owner,
        lease=lease_s,
    )
    return None if row is None else Walk(**row)


def go_on(
    tx: Tx, workspace_id: str, sink_id: str, walk: Walk, *, entity_type: str, after_id: str, looked: int, asked: int
) -> bool:
    """Note how far a walk is; False when the claim is no longer ours."""
    return (
        execute(
            tx,
            "UPDATE reconcile_walk SET entity_type = :type, after_id = :after, looked = looked + :looked,"
            " asked = asked + :asked WHERE workspace_id = :ws AND sink_id = :sink AND fence = :fence",
            ws=workspace_id,
            sink=sink_id,
            fence=walk.fence,
            type=entity_type,
            after=after_id,
            looked=looked,
            asked=asked,
        )
        == 1
    )


def let_go(tx: Tx, workspace_id: str, sink_id: str, walk: Walk, wait_s: float) -> None:
    """End the claim in the middle of a walk; it goes on after ``wait_s`` seconds."""
    execute(
        tx,
        "UPDATE reconcile_walk SET lease_owner = NULL, lease_until = NULL,"
        " due_at = clock_timestamp() + :wait * interval '1 second'"
        " WHERE workspace_id = :ws AND sink_id = :sink AND fence = :fence",
        ws=workspace_id,
        sink=sink_id,
        fence=walk.fence,
        wait=wait_s,
    )


def finish(tx: Tx, workspace_id: str, sink_id: str, walk: Walk, every_s: float) -> None:
    """The walk is at its end; the next begins ``every_s`` seconds after this one began."""
    execute(
        tx,
        "UPDATE reconcile_walk SET lease_owner = NULL, lease_until = NULL, entity_type = '', after_id = :none,"
        " finished_at = clock_timestamp(),"
        " due_at = greatest(clock_timestamp(), coalesce(started_at, clock_timestamp()) + :every * interval '1 second')"
        " WHERE workspace_id = :ws AND sink_id = :sink AND fence = :fence",
        ws=workspace_id,
        sink=sink_id,
        fence=walk.fence,
        none=NO_ID,
        every=every_s,
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a walk: how many entities it has, the last one's id, and which are to be looked at again, why."""

    looked: int
    last_id: str | None
    behind: tuple[tuple[str, str], ...]


def look(tx: Tx, workspace_id: str, sink_id: str, entity_type: str, after_id: str, terms: int, limit: int) -> Part:
    """The next ``limit`` entities of a type: whose lane or mark is behind them or the time, and wait for no release."""
    bounds = one(
        tx,
        "SELECT count(*) AS n, (array_agg(entity_id ORDER BY entity_id DESC))[1] AS last FROM (SELECT entity_id"
        " FROM entity WHERE workspace_id = :ws AND entity_type = :type AND entity_id > :after"
        " ORDER BY entity_id LIMIT :limit) part",
        ws=workspace_id,
        type=entity_type,
        after=after_id,
        limit=limit,
    )
    if bounds is None or not bounds["n"]:
        return Part(0, None, ())
    found = rows(
        tx,
        # The range is said of each table, so that all three can be read side by side where types are not sparse.
        "SELECT e.entity_id, CASE WHEN m.entity_id IS NULL THEN 'never_looked_at'"
        "  WHEN m.revision < e.revision THEN 'changed' WHEN m.terms <> :terms THEN 'other_terms'"
        "  WHEN l.desired_revision < e.revision THEN 'lane_behind' ELSE 'time_passed' END AS why"
        " FROM entity e"
        " LEFT JOIN release_mark m ON m.workspace_id = :ws AND m.entity_id = e.entity_id"
        "  AND m.entity_id > :after AND m.entity_id <= :last"
        " LEFT JOIN sync_lane l ON l.workspace_id = :ws AND l.sink_id = :sink AND l.entity_id = e.entity_id"
        "  AND l.entity_id > :after AND l.entity_id <= :last"
        " WHERE e.workspace_id = :ws AND e.entity_type = :type AND e.entity_id > :after AND e.entity_id <= :last"
        " AND (m.entity_id IS NULL OR m.revision < e.revision OR m.terms <> :terms"
        "  OR l.desired_revision < e.revision"
        # An idle lane that is due later than it was left has something that ends with time.
        "  OR (l.state = 'idle' AND l.due_at > l.updated_at AND l.due_at <= clock_timestamp()))"
        # One by one (OFFSET): joined, all who wait may be read for each of those who do not.
        " AND NOT EXISTS (SELECT 1 FROM pending_release p WHERE p.workspace_id = :ws AND p.entity_id = e.entity_id"
        "  OFFSET 0)",
        ws=workspace_id,
        sink=sink_id,
        type=entity_type,
        after=after_id,
        last=bounds["last"],
        terms=terms,
    )
    return Part(bounds["n"], bounds["last"], tuple((row["entity_id"], row["why"]) for row in found))


def end_endless_leases(tx: Tx, workspace_id: str, sink_id: str, longest_s: float) -> int:
    """Let leases that have no end, or one further away than any lease may, end now; how many. The sweep does the rest.

    A holder that still works finds its claim void by the fence, as after any lease.
    """
    return execute(
        tx,
        "UPDATE sync_lane SET lease_until = clock_timestamp(), updated_at = clock_timestamp()"
        " WHERE workspace_id = :ws AND sink_id = :sink AND state = 'leased'"
        " AND (lease_until IS NULL OR lease_until > clock_timestamp() + :longest * interval '1 second')",
        ws=workspace_id,
        sink=sink_id,
        longest=longest_s,
    )


def overdue_lanes(tx: Tx, workspace_id: str, sink_id: str, late_s: float, limit: int) -> int:
    """How many lanes have been due for ``late_s`` seconds and nobody took them, counted up to ``limit``."""
    row = one(
        tx,
        "SELECT count(*) AS n FROM ((SELECT 1 FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink"
        f" AND state = 'unknown' AND due_at <= {NOW_ONCE} - :late * interval '1 second' LIMIT :limit) UNION ALL"
        " (SELECT 1 FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink AND state IN ('ready', 'waiting')"
        f" AND due_at <= {NOW_ONCE} - :late * interval '1 second' LIMIT :limit) LIMIT :limit) due",
        ws=workspace_id,
        sink=sink_id,
        late=late_s,
        limit=limit,
    )
    return int(row["n"]) if row is not None else 0


def pending(tx: Tx, workspace_id: str, late_s: float, limit: int) -> Row:
    """``waiting``: entities that wait for their release, counted up to ``limit``; ``late``: any for ``late_s``."""
    row = one(
        tx,
        "SELECT (SELECT count(*) FROM (SELECT 1 FROM pending_release WHERE workspace_id = :ws LIMIT :limit) p)"
        " AS waiting, EXISTS (SELECT 1 FROM pending_release WHERE workspace_id = :ws"
        " AND requested_at <= clock_timestamp() - :late * interval '1 second') AS late",
        ws=workspace_id,
        late=late_s,
        limit=limit,
    )
    assert row is not None
    return row


def take_sample_turn(tx: Tx, workspace_id: str, sink_id: str, every_s: float) -> bool:
    """Whether a sample of the sink is due; then the next one is due ``every_s`` seconds from now, whoever asks."""
    return (
        execute(
            tx,
            "UPDATE reconcile_walk SET sample_due_at = clock_timestamp() + :every * interval '1 second'"
            " WHERE workspace_id = :ws AND sink_id = :sink AND sample_due_at <= clock_timestamp()",
            ws=workspace_id,
            sink=sink_id,
            every=every_s,
        )
        == 1
    )


def to_verify(tx: Tx, workspace_id: str, sink_id: str, limit: int, settled_s: float) -> list[str]:
    """Lanes to be read back, confirmed at least ``settled_s`` seconds ago: half of them never read back since, and
    those whose last time is longest ago; where one kind is short, more of the other."""
    lane = (
        "SELECT lane_id FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink AND state = 'idle'"
        " AND last_sent IS NOT NULL AND sink_ref IS NOT NULL"
    )
    settled = "synced_at <= clock_timestamp() - :settled * interval '1 second' LIMIT :limit"
    values = {"ws": workspace_id, "sink": sink_id, "limit": limit, "settled": settled_s}
    never = [row["lane_id"] for row in rows(tx, f"{lane} AND verified_at IS NULL AND {settled}", **values)]
    again = rows(tx, f"{lane} AND verified_at IS NOT NULL ORDER BY verified_at LIMIT :limit", **values)
    known = [row["lane_id"] for row in again]
    share = max(limit - len(known), (limit + 1) // 2)
    return (never[:share] + known)[:limit]


def verified(
    tx: Tx,
    workspace_id: str,
    lane_id: str,
    fence: int,
    *,
    drift: str | None,
    detail: str | None = None,
    forget: bool = False,
    aside: bool = False,
) -> bool:
    """Note what a read-back found; False, and nothing done, where the lane has moved since it was read.

    ``drift`` None: as confirmed. ``forget``: what the sink confirmed is not so any more, so the next plan looks
    there first. ``aside``: quarantined.
    """
    return (
        execute(
            tx,
            "UPDATE sync_lane SET verified_at = clock_timestamp(), drift = :drift,"
            " reason = CASE WHEN CAST(:drift AS text) IS NOT NULL THEN :drift WHEN reason = drift THEN 'verified'"
            "  ELSE reason END,"
            " reason_detail = CASE WHEN CAST(:drift AS text) IS NOT NULL THEN CAST(:detail AS text)"
            "  WHEN reason = drift THEN NULL ELSE reason_detail END,"
            " synced_hash = CASE WHEN :forget THEN NULL ELSE synced_hash END,"
            " sink_etag = CASE WHEN :forget THEN NULL ELSE sink_etag END,"
            " state = CASE WHEN :aside THEN 'quarantined' ELSE state END, updated_at = clock_timestamp()"
            " WHERE workspace_id = :ws AND lane_id = :lane AND fence = :fence AND state = 'idle'",
            ws=workspace_id,
            lane=lane_id,
            fence=fence,
            drift=drift,
            detail=detail,
            forget=forget,
            aside=aside,
        )
        == 1
    )


def drift_of_lane(tx: Tx, workspace_id: str, lane_id: str) -> str | None:
    """What a read-back found last."""
    row = one(tx, "SELECT drift FROM sync_lane WHERE workspace_id = :ws AND lane_id = :id", ws=workspace_id, id=lane_id)
    return None if row is None else row["drift"]


def state_of_sinks(tx: Tx, workspace_id: str) -> dict[str, Row]:
    """Per sink: ``drift`` (what read-backs found -> lanes), the last walk's ``looked``, ``asked`` and end."""
    found = rows(
        tx,
        "SELECT r.sink_id, r.looked, r.asked, r.finished_at, coalesce((SELECT jsonb_object_agg(d.drift, d.n) FROM"
        " (SELECT drift, count(*) AS n FROM sync_lane l WHERE l.workspace_id = :ws AND l.sink_id = r.sink_id"
        " AND drift IS NOT NULL GROUP BY drift) d), '{}') AS drift FROM reconcile_walk r WHERE r.workspace_id = :ws",
        ws=workspace_id,
    )
    return {row.pop("sink_id"): row for row in found}
