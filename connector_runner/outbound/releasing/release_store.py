"""SQL of what sinks there are, and of what waits to be released to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from connector_runner.infra.database import Row, Tx, array_of, execute, hot, id_array, once, one, rows
from connector_runner.outbound.lanes.lane import BACKFILL, FRESH, State, Withheld
from connector_runner.outbound.lanes.store import withheld_json


def covered_types(tx: Tx, workspace_id: str) -> set[str]:
    """Entity types that any enabled sink of the workspace takes."""
    found = rows(
        tx,
        "SELECT DISTINCT jsonb_object_keys(settings->'sink'->'entity_types') AS entity_type FROM data_source"
        " WHERE workspace_id = :ws AND sink_enabled AND enabled"
        " AND jsonb_typeof(settings->'sink'->'entity_types') = 'object'",
        ws=workspace_id,
    )
    return {row["entity_type"] for row in found}


def source_ids(tx: Tx, workspace_id: str) -> dict[str, str]:
    """Name -> id of every data source, as of when the transaction first asked."""

    def ask() -> dict[str, str]:
        found = rows(tx, hot("SELECT name, data_source_id FROM data_source WHERE workspace_id = :ws"), ws=workspace_id)
        return {row["name"]: row["data_source_id"] for row in found}

    return once(tx, "sources", ask)


def enabled_sinks(tx: Tx, workspace_id: str) -> list[Row]:
    """Sinks that are switched on: ids, names and what stands for their settings."""
    return rows(
        tx,
        "SELECT data_source_id, name, md5(CAST(settings AS text)) AS settings FROM data_source"
        " WHERE workspace_id = :ws AND sink_enabled AND enabled ORDER BY name",
        ws=workspace_id,
    )


def forget_versions(tx: Tx, workspace_id: str, sink_id: str) -> None:
    """The versions at which a sink's records were written: each is read before it is written again.

    Who has a lane now has lost it: what is planned is not sent, and what was sent is looked for where the sink is now.
    """
    execute(
        tx,
        "UPDATE sync_lane SET sink_etag = NULL, fence = CASE WHEN state = 'leased' THEN fence + 1 ELSE fence END"
        " WHERE lane_id IN (SELECT lane_id FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink"
        "  AND (sink_etag IS NOT NULL OR state = 'leased') ORDER BY lane_id FOR UPDATE)",
        ws=workspace_id,
        sink=sink_id,
    )


_ASKED_AGAIN = (
    " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET generation = p.generation + 1,"
    " prio = least(p.prio, excluded.prio)"
)


def request_release(tx: Tx, workspace_id: str, entity_ids: Sequence[str], *, prio: int = FRESH) -> None:
    """Ask for a look at entities that changed, and at all that are one with them; in id order, so that two who ask
    never wait for each other.

    ``prio`` is of lanes: who asks behind FRESH is served behind, and so are the lanes that it makes ready.
    """
    execute(
        tx,
        "INSERT INTO pending_release AS p (workspace_id, entity_id, prio)"
        " SELECT :ws, t.id, :prio FROM (SELECT unnest(CAST(:ids AS uuid[])) AS id UNION"
        "  SELECT n.entity_id FROM unnest(CAST(:ids AS uuid[])) i(id) CROSS JOIN LATERAL"
        "   (SELECT cluster_id FROM cluster_member WHERE workspace_id = :ws AND entity_id = i.id OFFSET 0) m"
        "   CROSS JOIN LATERAL (SELECT entity_id FROM cluster_member"
        f"    WHERE workspace_id = :ws AND cluster_id = m.cluster_id OFFSET 0) n) t ORDER BY t.id{_ASKED_AGAIN}",
        ws=workspace_id,
        ids=sorted(set(entity_ids)),
        prio=prio,
    )


def request_release_of_types(tx: Tx, workspace_id: str, entity_types: Sequence[str]) -> int:
    """Ask for a look at all entities of some types, behind what is fresh; how many."""
    return execute(
        tx,
        "INSERT INTO pending_release AS p (workspace_id, entity_id, prio)"
        " SELECT workspace_id, entity_id, :prio FROM entity WHERE workspace_id = :ws"
        f" AND entity_type = ANY(CAST(:types AS text[])) ORDER BY entity_id{_ASKED_AGAIN}",
        ws=workspace_id,
        types=list(entity_types),
        prio=BACKFILL,
    )


class Pending(NamedTuple):
    """An entity that waits for its release; ``generation`` counts who asked, ``prio`` is as of lanes."""

    entity_id: str
    generation: int
    prio: int


def take_pending(tx: Tx, workspace_id: str, limit: int) -> list[Pending]:
    """Lock the entities that are served first: by priority, then by how long they wait."""
    found = rows(
        tx,
        "SELECT entity_id, generation, prio FROM pending_release WHERE workspace_id = :ws"
        " ORDER BY prio, requested_at LIMIT :limit FOR UPDATE SKIP LOCKED",
        ws=workspace_id,
        limit=limit,
    )
    return [Pending(**row) for row in found]


def released(tx: Tx, workspace_id: str, taken: Sequence[Pending]) -> int:
    """Forget requests that were served, unless they were made anew meanwhile; how many."""
    return execute(
        tx,
        "DELETE FROM pending_release p USING unnest(CAST(:ids AS uuid[]), CAST(:generations AS bigint[]))"
        " t(entity_id, generation) WHERE p.workspace_id = :ws AND p.entity_id = t.entity_id"
        " AND p.generation = t.generation",
        ws=workspace_id,
        ids=[pending.entity_id for pending in taken],
        generations=[pending.generation for pending in taken],
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a lane belongs: ``state`` is idle, ready or waiting.

    ``fence`` and ``seen``, how much was desired of it, are of the lane when it was looked at; 0 where there was none,
    and the fence where something was under way.
    """

    sink_id: str
    lane_id: str
    entity_id: str
    entity_type: str
    client_ref: str
    state: State
    prio: int
    policy: str
    revision: int
    delay_s: float = 0.0
    reason: str | None = None
    detail: str | None = None
    withheld: Sequence[Withheld] = ()
    sink_ref: str | None = None
    fence: int = 0
    seen: int = 0


# What a lane holds may have changed with every claim since it was looked at, and what it waits for may have come:
# then it is looked at again. What was seen to be desired comes in a column that a lane without writes has at 0.
_OUTDATED: Final = (
    "excluded.state = 'idle' AND (l.fence <> excluded.fence OR l.desired_revision <> excluded.synced_revision)"
)
_WANT: Final = hot(
    "INSERT INTO sync_lane AS l (workspace_id, sink_id, lane_id, entity_id, entity_type, client_ref, state,"
    " prio, policy, due_at, desired_revision, reason, reason_detail, withheld, sink_ref, fence, synced_revision,"
    " wanted_at)"
    " SELECT :ws, w.sink, w.lane, w.entity, w.type, w.client, w.state, w.prio, w.policy,"
    " clock_timestamp() + w.delay * interval '1 second', w.revision, w.reason, w.detail, CAST(w.withheld AS jsonb),"
    " w.ref, w.fence, w.seen, clock_timestamp() FROM unnest(CAST(:sinks AS uuid[]), CAST(:lanes AS uuid[]),"
    " CAST(:entities AS uuid[]), CAST(:types AS text[]), CAST(:clients AS text[]), CAST(:states AS text[]),"
    " CAST(:prios AS int[]), CAST(:policies AS text[]), CAST(:delays AS float8[]), CAST(:revisions AS bigint[]),"
    " CAST(:reasons AS text[]), CAST(:details AS text[]), CAST(:withheld AS text[]), CAST(:refs AS text[]),"
    " CAST(:fences AS bigint[]), CAST(:seen AS bigint[])) w(sink, lane, entity, type, client, state, prio, policy,"
    " delay, revision, reason, detail, withheld, ref, fence, seen)"
    " ON CONFLICT (workspace_id, lane_id) DO UPDATE SET"
    " desired_revision = greatest(l.desired_revision + 1, excluded.desired_revision),"
    " wanted_at = CASE WHEN l.state IN ('idle', 'waiting') AND excluded.state = 'ready' THEN excluded.wanted_at"
    "  ELSE l.wanted_at END,"
    " state = CASE WHEN l.state NOT IN ('idle', 'ready', 'waiting') THEN l.state"
    f"  WHEN {_OUTDATED} THEN 'ready' ELSE excluded.state END,"
    " due_at = CASE WHEN l.state NOT IN ('idle', 'ready', 'waiting') THEN l.due_at"
    f"  WHEN {_OUTDATED} THEN clock_timestamp() ELSE excluded.due_at END,"
    " prio = CASE WHEN l.state = 'idle' THEN excluded.prio ELSE least(l.prio, excluded.prio) END,"
    " reason = CASE WHEN l.state IN ('idle', 'ready', 'waiting') THEN excluded.reason ELSE l.reason END,"
    " reason_detail = CASE WHEN l.state IN ('idle', 'ready', 'waiting') THEN excluded.reason_detail"
    "  ELSE l.reason_detail END,"
    " withheld = excluded.withheld, sink_ref = coalesce(l.sink_ref, excluded.sink_ref),"
    " updated_at = clock_timestamp()"
    " RETURNING l.lane_id, l.state"
)


def want(tx: Tx, workspace_id: str, wishes: Sequence[Wish]) -> dict[str, State]:
    """Bring lanes to where they belong, unless something is under way there; lane -> where it is now.

    Under way are a lease, an unknown outcome, a quarantine and a pause: they learn only that more is desired, by a
    number that grows with every call. In the order in which everybody locks lanes.
    """
    if not wishes:
        return {}
    ordered = sorted(wishes, key=lambda wish: wish.lane_id)
    found = rows(
        tx,
        _WANT,
        ws=workspace_id,
        sinks=id_array(wish.sink_id for wish in ordered),
        lanes=id_array(wish.lane_id for wish in ordered),
        entities=id_array(wish.entity_id for wish in ordered),
        types=array_of(wish.entity_type for wish in ordered),
        clients=array_of(wish.client_ref for wish in ordered),
        states=array_of(str(wish.state) for wish in ordered),
        prios=array_of(wish.prio for wish in ordered),
        policies=array_of(wish.policy for wish in ordered),
        delays=array_of(wish.delay_s for wish in ordered),
        revisions=array_of(wish.revision for wish in ordered),
        reasons=array_of(wish.reason for wish in ordered),
        details=array_of(wish.detail for wish in ordered),
        withheld=array_of(withheld_json(wish.withheld) for wish in ordered),
        refs=array_of(wish.sink_ref for wish in ordered),
        fences=array_of(wish.fence for wish in ordered),
        seen=array_of(wish.seen for wish in ordered),
    )
    if len(found) != len(ordered):
        raise LookupError("a lane is not visible in this transaction")
    return {row["lane_id"]: State(row["state"]) for row in found}


def content_refused_at(tx: Tx, workspace_id: str, lane_id: str) -> datetime | None:
    """When a lane was last put aside for what it had to say; None when it was for anything else as well.

    400 and 422 are about the body (R4, http.html#create); ``invalid_*`` is what our own validation says of one.
    """
    row = one(
        tx,
        "SELECT max(last_seen_at) AS at FROM quarantine WHERE workspace_id = :ws AND stage = 'outbound'"
        " AND subject = :lane AND status IN ('open', 'discarded')"
        " HAVING bool_and(starts_with(code, 'invalid_') OR context->>'status' IN ('400', '422'))",
        ws=workspace_id,
        lane=lane_id,
    )
    return None if row is None else row["at"]
