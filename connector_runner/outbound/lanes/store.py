"""SQL of lanes. Leases and due times are on the database's clock.

Every change to a leased lane is fenced: it counts only while the lane carries the number of the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.connectors.terms_store import MARK
from connector_runner.infra.database import Row, Tx, array_of, execute, gather, hot, id_array, one, rows
from connector_runner.kernel import exact_json
from connector_runner.outbound.lanes.lane import Lane, State, Withheld, legal
from connector_runner.world.reading import STAMP

LANE = (
    "l.workspace_id, l.sink_id, l.lane_id, l.entity_id, l.entity_type, l.state, l.fence, l.attempts, l.client_ref,"
    " l.desired_revision, l.synced_revision, l.synced_hash, l.last_sent, l.sink_ref, l.sink_etag, l.reason,"
    " l.wanted_at, l.lease_owner AS owner, l.withheld,"
    " EXISTS (SELECT 1 FROM open_intent i WHERE i.workspace_id = l.workspace_id AND i.lane_id = l.lane_id)"
    " AS open_intent,"
    " EXISTS (SELECT 1 FROM undo_request u WHERE u.workspace_id = l.workspace_id AND u.lane_id = l.lane_id"
    " AND u.status = 'open') AS undo_asked,"
    " EXISTS (SELECT 1 FROM held_back h WHERE h.workspace_id = l.workspace_id AND h.lane_id = l.lane_id)"
    " AS holds_back"
)


# Read once a statement: compared with a clock that may move in between, no index could bound what is read.
NOW_ONCE = "(SELECT clock_timestamp())"


def lane_in(row: Row) -> Lane:
    """The lane in a row of ``LANE``."""
    return Lane(
        **{
            **row,
            "state": State(row["state"]),
            "synced_hash": None if row["synced_hash"] is None else bytes(row["synced_hash"]),
            "last_sent": None if row["last_sent"] is None else bytes(row["last_sent"]),
        }
    )


LEASE = (
    "state = 'leased', fence = l.fence + 1, attempts = l.attempts + 1, lease_owner = :owner,"
    " lease_until = clock_timestamp() + :lease * interval '1 second', updated_at = clock_timestamp()"
)
_DUE = (
    "SELECT * FROM (SELECT lane_id FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink AND {}"
    " LIMIT 1 FOR UPDATE SKIP LOCKED)"
)
_CLAIM = (
    # Materialized: inlined, the planner may run the locking query more than once and lease several. The second part
    # is not begun, and locks nothing, where the first has a lane.
    "WITH due AS MATERIALIZED ("
    + _DUE.format(f"state = 'unknown' AND due_at <= {NOW_ONCE} ORDER BY due_at")
    + " u UNION ALL "
    + _DUE.format(f"state IN ('ready', 'waiting') AND due_at <= {NOW_ONCE} ORDER BY prio, due_at")
    + f" r LIMIT 1) UPDATE sync_lane l SET {LEASE}"
    # By key: joined, and planned while the table was small, this would read every lane of the workspace.
    f" WHERE l.workspace_id = :ws AND l.lane_id = ANY(ARRAY(SELECT lane_id FROM due)) RETURNING {LANE}"
)


def claim(tx: Tx, workspace_id: str, sink_id: str, *, owner: str, lease_s: float) -> Lane | None:
    """Lease the lane that is due first: an unknown one whose quiet period is over, else by priority.

    None when nothing is due that nobody else holds.
    """
    row = one(tx, hot(_CLAIM), ws=workspace_id, sink=sink_id, owner=owner, lease=lease_s)
    return None if row is None else lane_in(row)


def lane_by_id(tx: Tx, lane_id: str) -> Lane | None:
    """One lane."""
    row = one(tx, f"SELECT {LANE} FROM sync_lane l WHERE l.lane_id = :id", id=lane_id)
    return None if row is None else lane_in(row)


def lane_of(tx: Tx, sink_id: str, entity_id: str) -> Lane | None:
    """The lane of an entity in a sink."""
    row = one(
        tx,
        hot(f"SELECT {LANE} FROM sync_lane l WHERE l.sink_id = :sink AND l.entity_id = :entity"),
        sink=sink_id,
        entity=entity_id,
    )
    return None if row is None else lane_in(row)


def lanes_by_id(tx: Tx, lane_ids: Sequence[str]) -> dict[str, Lane]:
    """Several lanes by their ids, of those that there are."""
    found = rows(
        tx, hot(f"SELECT {LANE} FROM sync_lane l WHERE l.lane_id = ANY(CAST(:ids AS uuid[]))"), ids=id_array(lane_ids)
    )
    return {row["lane_id"]: lane_in(row) for row in found}


def lock_lane(tx: Tx, lane: Lane) -> bool:
    """Lock a claimed lane's row; False when the claim is no longer ours."""
    row = one(
        tx,
        hot("SELECT 1 FROM sync_lane WHERE lane_id = :lane AND fence = :fence AND state = 'leased' FOR UPDATE"),
        lane=lane.lane_id,
        fence=lane.fence,
    )
    return row is not None


def more_desired(tx: Tx, lane: Lane) -> bool:
    """Lock a claimed lane's row; whether more is desired of it by now, and the claim is ours."""
    row = one(
        tx,
        "SELECT desired_revision > :seen AS more FROM sync_lane WHERE lane_id = :lane AND fence = :fence"
        " AND state = 'leased' FOR UPDATE",
        lane=lane.lane_id,
        fence=lane.fence,
        seen=lane.desired_revision,
    )
    return row is not None and bool(row["more"])


def give_back(
    tx: Tx,
    lane: Lane,
    to: State,
    *,
    reason: str | None,
    detail: str | None = None,
    delay_s: float = 0.0,
    counts: bool = True,
    status: int | None = None,
    withheld: Sequence[Withheld] | None = None,
    forget_version: bool = False,
) -> bool:
    """Move a claimed lane to where it goes next; False when the claim is no longer ours.

    ``counts`` is whether this was an attempt. Where the entity changed since the lane was read, a lane that would
    be idle is ready instead. ``forget_version``: the ETag is no longer true.
    """
    if not legal(State.LEASED, to):
        raise ValueError(f"a lane never moves from leased to {to}")
    found = execute(
        tx,
        hot(
            "UPDATE sync_lane SET state = CASE WHEN :to = 'idle' AND desired_revision > :seen THEN 'ready'"
            " ELSE CAST(:to AS text) END, reason = :reason, reason_detail = :detail,"
            " due_at = clock_timestamp() + :delay * interval '1 second',"
            " attempts = CASE WHEN :to = 'idle' THEN 0 WHEN :counts THEN attempts ELSE greatest(attempts - 1, 0) END,"
            " last_status = coalesce(:status, last_status),"
            " withheld = coalesce(CAST(:withheld AS jsonb), withheld),"
            " sink_etag = CASE WHEN :forget THEN NULL ELSE sink_etag END,"
            " lease_owner = NULL, lease_until = NULL, updated_at = clock_timestamp()"
            " WHERE lane_id = :lane AND fence = :fence AND state = 'leased'"
        ),
        to=str(to),
        seen=lane.desired_revision,
        reason=reason,
        detail=detail,
        delay=delay_s,
        counts=counts,
        status=status,
        withheld=None if withheld is None else withheld_json(withheld),
        forget=forget_version,
        lane=lane.lane_id,
        fence=lane.fence,
    )
    return found == 1


_CONFIRM: Final = hot(
    "UPDATE sync_lane l SET state = CASE WHEN c.again OR l.desired_revision > c.revision"
    "  OR (l.next_more AND l.next_hash = c.hash) THEN 'ready' ELSE 'idle' END,"
    " sent_upto = CASE WHEN l.next_hash = c.hash THEN l.next_upto ELSE l.sent_upto END,"
    " reason = c.reason, reason_detail = NULL, attempts = 0, due_at = clock_timestamp(),"
    " synced_hash = c.hash, synced_revision = c.revision, last_sent = c.sent,"
    " sink_ref = coalesce(c.ref, l.sink_ref), sink_etag = c.etag, last_status = coalesce(c.status, l.last_status),"
    " withheld = coalesce(CAST(c.withheld AS jsonb), l.withheld),"
    # What was written is yet to be found there; where nothing was, what was last found still counts.
    " verified_at = CASE WHEN c.status IS NULL THEN l.verified_at END, drift = CASE WHEN c.status IS NULL THEN l.drift"
    " END, synced_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL, updated_at = clock_timestamp()"
    " FROM unnest(CAST(:lane AS uuid[]), CAST(:fence AS bigint[]), CAST(:again AS bool[]), CAST(:revision AS bigint[]),"
    " CAST(:hash AS bytea[]), CAST(:reason AS text[]), CAST(:sent AS bytea[]), CAST(:ref AS text[]),"
    " CAST(:etag AS text[]), CAST(:status AS int[]), CAST(:withheld AS text[]))"
    " c(lane, fence, again, revision, hash, reason, sent, ref, etag, status, withheld)"
    # By key, whatever the planner makes of the join.
    " WHERE l.lane_id = ANY(CAST(:lane AS uuid[])) AND l.lane_id = c.lane AND l.fence = c.fence AND l.state = 'leased'"
)


def confirm(
    tx: Tx,
    lane: Lane,
    *,
    reason: str,
    synced_hash: bytes | None,
    revision: int,
    last_sent: bytes | None,
    sink_ref: str | None,
    sink_etag: str | None,
    status: int | None,
    again: bool = False,
    withheld: Sequence[Withheld] | None = None,
    unasked: bool = False,
) -> bool:
    """A write landed: keep what the sink holds now; False when the claim is no longer ours.

    The lane is idle, or ready where the entity changed meanwhile or ``again`` is asked. ``unasked``: its row is locked
    and the claim ours, so that it goes with the next statement.
    """
    values = {
        "again": again,
        "withheld": None if withheld is None else withheld_json(withheld),
        "reason": reason,
        "hash": synced_hash,
        "revision": revision,
        "sent": last_sent,
        "ref": sink_ref,
        "etag": sink_etag,
        "status": status,
        "lane": lane.lane_id,
        "fence": lane.fence,
    }
    if unasked:
        gather(tx, _CONFIRM, **values)
        return True
    return execute(tx, _CONFIRM, **{name: array_of([value]) for name, value in values.items()}) == 1


def withheld_json(withheld: Sequence[Withheld]) -> str:
    """As the lane's column holds it."""
    return exact_json.dumps([{"atom": item.atom, "code": item.code} for item in dict.fromkeys(withheld)])


def extend_lease(tx: Tx, lane: Lane, lease_s: float) -> bool:
    """Hold a claimed lane for so long from now; False when the claim is no longer ours."""
    found = execute(
        tx,
        hot(
            "UPDATE sync_lane SET lease_until = clock_timestamp() + :lease * interval '1 second'"
            " WHERE lane_id = :lane AND fence = :fence AND state = 'leased'"
        ),
        lease=lease_s,
        lane=lane.lane_id,
        fence=lane.fence,
    )
    return found == 1


def stamps_of(tx: Tx, lanes: Sequence[Lane]) -> tuple[str, dict[str, str | None]]:
    """The mark of a sink's terms, and for lanes of it the stamp of each one's entity with all that are one with it: the
    same stamp, the same view. None where an undo is asked, or there is no such entity."""
    found = rows(
        tx,
        hot(
            f"SELECT c.lane_id, e.stamp, {MARK} AS mark FROM unnest(CAST(:lanes AS uuid[]), CAST(:entities AS uuid[]))"
            f" AS c (lane_id, entity_id) LEFT JOIN LATERAL (SELECT {STAMP} AS stamp FROM entity e"
            "  WHERE e.entity_id = c.entity_id"
            "  AND NOT EXISTS (SELECT 1 FROM undo_request u WHERE u.workspace_id = :ws AND u.lane_id = c.lane_id"
            "   AND u.status = 'open') OFFSET 0) e ON true"
        ),
        ws=lanes[0].workspace_id,
        sink=lanes[0].sink_id,
        lanes=id_array(lane.lane_id for lane in lanes),
        entities=id_array(lane.entity_id for lane in lanes),
    )
    return found[0]["mark"], {row["lane_id"]: row["stamp"] for row in found}


def others_landed(tx: Tx, lane: Lane, within_s: float) -> bool:
    """Whether a write of another lane of the sink landed in the last ``within_s`` seconds."""
    row = one(
        tx,
        "SELECT 1 FROM write_log WHERE workspace_id = :ws AND sink_id = :sink AND lane_id <> :lane"
        f" AND outcome = 'landed' AND written_at > {NOW_ONCE} - :within * interval '1 second' LIMIT 1",
        ws=lane.workspace_id,
        sink=lane.sink_id,
        lane=lane.lane_id,
        within=within_s,
    )
    return row is not None


def in_flight(tx: Tx, workspace_id: str, sink_id: str) -> list[tuple[str, float]]:
    """Who may have a request to a sink under way, and for how many seconds at most: the holders of its leases."""
    found = rows(
        tx,
        "SELECT lease_owner, extract(epoch FROM lease_until - clock_timestamp())::float8 AS left_s FROM sync_lane"
        " WHERE workspace_id = :ws AND sink_id = :sink AND state = 'leased' AND lease_until > clock_timestamp()",
        ws=workspace_id,
        sink=sink_id,
    )
    return [(row["lease_owner"], row["left_s"]) for row in found]


def due_count(tx: Tx, workspace_id: str, sink_id: str, limit: int) -> int:
    """How many lanes of a sink are due now, counted up to ``limit``."""
    row = one(
        tx,
        # Each part by an index of its own, which together they could not use.
        "SELECT count(*) AS n FROM ((SELECT 1 FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink"
        f" AND state = 'unknown' AND due_at <= {NOW_ONCE} LIMIT :limit) UNION ALL"
        " (SELECT 1 FROM sync_lane WHERE workspace_id = :ws AND sink_id = :sink"
        f" AND state IN ('ready', 'waiting') AND due_at <= {NOW_ONCE} LIMIT :limit) LIMIT :limit) due",
        ws=workspace_id,
        sink=sink_id,
        limit=limit,
    )
    return int(row["n"]) if row is not None else 0
