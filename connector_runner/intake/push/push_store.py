"""SQL of deliveries: keep one, take a source's turn, and settle what was worked off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from connector_runner.infra.database import Row, Tx, execute, hot, id_array, one, rows
from connector_runner.kernel.ids import new_id

REMEMBERED_DAYS: Final = 30
"""Deliveries and events are known for so long; senders repeat them for hours to days."""

# A repeat changes nothing, unless deliveries of this kind cannot be told apart: then it is worked off once more.
_KEEP: Final = (
    "WITH given AS (SELECT * FROM unnest(CAST(:sources AS uuid[]), CAST(:keys AS bytea[]), CAST(:ids AS uuid[]),"
    "  CAST(:sealed AS bytea[])) AS g (source, key, id, sealed)),"
    " kept AS (INSERT INTO push AS p (workspace_id, data_source_id, key, push_id)"
    "  SELECT CAST(:ws AS uuid), source, key, id FROM given ORDER BY source, key"
    "  ON CONFLICT (workspace_id, data_source_id, key) DO {} RETURNING data_source_id, key, push_id),"
    " bodies AS (INSERT INTO push_body (workspace_id, push_id, sealed)"
    "  SELECT CAST(:ws AS uuid), k.push_id, g.sealed FROM kept k JOIN given g ON g.source = k.data_source_id"
    "  AND g.key = k.key ON CONFLICT (workspace_id, push_id) DO UPDATE SET sealed = excluded.sealed)"
    " SELECT data_source_id, key FROM kept"
)
_ONCE: Final = hot(_KEEP.format("NOTHING"))
_AGAIN: Final = hot(
    _KEEP.format(
        "UPDATE SET state = 'pending', received_at = clock_timestamp(),"
        " due_at = least(p.due_at, clock_timestamp()), attempts = 0, settled_at = NULL"
    )
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A source's inbox in our hands; ``fence`` proves it."""

    workspace_id: str
    data_source_id: str
    fence: int
    failing: str | None


@dataclass(frozen=True, slots=True)
class New:
    """A delivery to keep. ``again``: one that is known already is to be worked off once more."""

    data_source_id: str
    key: bytes
    sealed: bytes
    again: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery that waits, its body still sealed. ``received_at`` moves when it comes again meanwhile."""

    push_id: str
    key: bytes
    sealed: bytes
    received_at: datetime
    attempts: int


def address(tx: Tx, slug: str) -> str | None:
    """In a sweep: the id of an active workspace."""
    row = one(tx, "SELECT workspace_id FROM workspace WHERE slug = :slug AND status = 'active'", slug=slug)
    return None if row is None else str(row["workspace_id"])


def keep(tx: Tx, workspace_id: str, deliveries: Sequence[New]) -> set[tuple[str, bytes]]:
    """Store deliveries; source and key of those that are to be worked off now. The others are known."""
    kept: set[tuple[str, bytes]] = set()
    for statement, again in ((_ONCE, False), (_AGAIN, True)):
        # The last of those that look alike stands for all; one statement may not touch a row twice.
        given = {(one.data_source_id, one.key): one for one in deliveries if one.again == again}
        if given:
            found = rows(
                tx,
                statement,
                ws=workspace_id,
                sources=id_array(source for source, _ in given),
                keys=[key for _, key in given],
                ids=id_array(new_id() for _ in given),
                sealed=[one.sealed for one in given.values()],
            )
            kept |= {(row["data_source_id"], bytes(row["key"])) for row in found}
    return kept


def take_turn(
    tx: Tx, workspace_id: str, data_source_id: str, *, owner: str, now: datetime, lease_until: datetime
) -> Turn | None:
    """Take the lease of a source's inbox; None when somebody else has it."""
    execute(
        tx,
        "INSERT INTO push_inbox (workspace_id, data_source_id) VALUES (:ws, :source) ON CONFLICT DO NOTHING",
        ws=workspace_id,
        source=data_source_id,
    )
    row = one(
        tx,
        "UPDATE push_inbox SET fence = fence + 1, lease_owner = :owner, lease_until = :until WHERE workspace_id = :ws"
        " AND data_source_id = :source AND (lease_until IS NULL OR lease_until <= :now) RETURNING fence, failing",
        ws=workspace_id,
        source=data_source_id,
        owner=owner,
        until=lease_until,
        now=now,
    )
    return None if row is None else Turn(workspace_id, data_source_id, row["fence"], row["failing"])


def hold(tx: Tx, turn: Turn, lease_until: datetime) -> bool:
    """Lock the inbox and renew the lease; False when it is no longer ours."""
    return _update(tx, turn, "lease_until = :until", until=lease_until)


def end_turn(tx: Tx, turn: Turn, failing: str | None) -> bool:
    """Give the lease back, and say why it could not be read, if it could not."""
    return _update(tx, turn, "lease_until = NULL, lease_owner = NULL, failing = :failing", failing=failing)


def _update(tx: Tx, turn: Turn, what: str, **bound: object) -> bool:
    done = execute(
        tx,
        f"UPDATE push_inbox SET {what} WHERE workspace_id = :ws AND data_source_id = :source AND fence = :fence",
        ws=turn.workspace_id,
        source=turn.data_source_id,
        fence=turn.fence,
        **bound,
    )
    return done == 1


def due(tx: Tx, turn: Turn, now: datetime, limit: int) -> list[Push]:
    """Deliveries that wait and are due, oldest first."""
    found = rows(
        tx,
        "SELECT p.push_id, p.key, b.sealed, p.received_at, p.attempts FROM push p"
        " JOIN push_body b ON b.workspace_id = p.workspace_id AND b.push_id = p.push_id"
        " WHERE p.workspace_id = :ws AND p.data_source_id = :source AND p.state = 'pending' AND p.due_at <= :now"
        " ORDER BY p.due_at, p.push_id LIMIT :limit",
        ws=turn.workspace_id,
        source=turn.data_source_id,
        now=now,
        limit=limit,
    )
    return [Push(r["push_id"], bytes(r["key"]), bytes(r["sealed"]), r["received_at"], r["attempts"]) for r in found]


def any_due(tx: Tx, workspace_id: str, data_source_id: str, now: datetime) -> bool:
    """Whether a delivery waits that is due."""
    row = one(
        tx,
        "SELECT 1 AS n FROM push WHERE workspace_id = :ws AND data_source_id = :source AND state = 'pending'"
        " AND due_at <= :now LIMIT 1",
        ws=workspace_id,
        source=data_source_id,
        now=now,
    )
    return row is not None


def settle(tx: Tx, turn: Turn, pushes: Sequence[Push], state: str, now: datetime, *, code: str | None = None) -> None:
    """Deliveries are ``done`` or ``dead``; their bodies go. One that came again meanwhile waits on."""
    if not pushes:
        return
    execute(
        tx,
        "WITH settled AS (UPDATE push SET state = :state, settled_at = :now, last_error_code = :code"
        "  WHERE workspace_id = :ws AND push_id = ANY(CAST(:ids AS uuid[])) AND state = 'pending'"
        "  AND received_at = ANY(CAST(:times AS timestamptz[])) RETURNING push_id)"
        " DELETE FROM push_body b USING settled s WHERE b.workspace_id = :ws AND b.push_id = s.push_id",
        ws=turn.workspace_id,
        ids=id_array(push.push_id for push in pushes),
        times=[push.received_at for push in pushes],
        state=state,
        now=now,
        code=code,
    )


def put_off(tx: Tx, turn: Turn, push: Push, *, due_at: datetime, code: str, counts: bool) -> None:
    """Try a delivery again later; ``counts``: it was an attempt."""
    execute(
        tx,
        "UPDATE push SET attempts = attempts + :counts, due_at = :due, last_error_code = :code"
        " WHERE workspace_id = :ws AND push_id = :id AND state = 'pending' AND received_at = :received",
        ws=turn.workspace_id,
        id=push.push_id,
        received=push.received_at,
        due=due_at,
        code=code,
        counts=int(counts),
    )


def put_off_others(tx: Tx, turn: Turn, due_at: datetime, now: datetime) -> None:
    """Let whatever else is due wait too; it was not an attempt."""
    execute(
        tx,
        "UPDATE push SET due_at = :due WHERE workspace_id = :ws AND data_source_id = :source AND state = 'pending'"
        " AND due_at <= :now",
        ws=turn.workspace_id,
        source=turn.data_source_id,
        due=due_at,
        now=now,
    )


def revive(tx: Tx, workspace_id: str, push_id: str, sealed: bytes) -> bool:
    """Put a dead delivery back to be worked off; False when it is not known any more."""
    found = execute(
        tx,
        "UPDATE push SET state = 'pending', attempts = 0, settled_at = NULL, received_at = clock_timestamp(),"
        " due_at = clock_timestamp() WHERE workspace_id = :ws AND push_id = CAST(:id AS uuid) AND state = 'dead'",
        ws=workspace_id,
        id=push_id,
    )
    if found:
        execute(
            tx,
            "INSERT INTO push_body (workspace_id, push_id, sealed) VALUES (:ws, :id, :sealed) ON CONFLICT DO NOTHING",
            ws=workspace_id,
            id=push_id,
            sealed=sealed,
        )
    return found == 1


def key_of(tx: Tx, workspace_id: str, push_id: str) -> tuple[str, bytes] | None:
    """The source and the key of a delivery."""
    row = one(
        tx,
        "SELECT data_source_id, key FROM push WHERE workspace_id = :ws AND push_id = CAST(:id AS uuid)",
        ws=workspace_id,
        id=push_id,
    )
    return None if row is None else (row["data_source_id"], bytes(row["key"]))


def deletes(tx: Tx, turn: Turn, resource_type: str, now: datetime) -> int:
    """How many records of a type went by pushes within the day that began with the first of them."""
    row = one(
        tx,
        "SELECT deleted FROM push_deletes WHERE workspace_id = :ws AND data_source_id = :source"
        " AND resource_type = :type AND since > :since",
        ws=turn.workspace_id,
        source=turn.data_source_id,
        type=resource_type,
        since=now - timedelta(days=1),
    )
    return 0 if row is None else int(row["deleted"])


def count_deletes(tx: Tx, turn: Turn, resource_type: str, number: int, now: datetime) -> None:
    """So many more went; a day after the first of them counting begins anew."""
    if number:
        execute(
            tx,
            "INSERT INTO push_deletes AS d (workspace_id, data_source_id, resource_type, since, deleted)"
            " VALUES (:ws, :source, :type, :now, :number)"
            " ON CONFLICT (workspace_id, data_source_id, resource_type) DO UPDATE SET"
            " since = CASE WHEN d.since > :day THEN d.since ELSE excluded.since END,"
            " deleted = excluded.deleted + CASE WHEN d.since > :day THEN d.deleted ELSE 0 END",
            ws=turn.workspace_id,
            source=turn.data_source_id,
            type=resource_type,
            number=number,
            now=now,
            day=now - timedelta(days=1),
        )


def known_events(tx: Tx, turn: Turn, keys: Sequence[bytes]) -> set[bytes]:
    """Those of ``keys`` whose events were worked off."""
    if not keys:
        return set()
    found = rows(
        tx,
        "SELECT key FROM push_event WHERE workspace_id = :ws AND data_source_id = :source AND key = ANY(:keys)",
        ws=turn.workspace_id,
        source=turn.data_source_id,
        keys=[*keys],
    )
    return {bytes(row["key"]) for row in found}


def remember_events(tx: Tx, turn: Turn, keys: Sequence[bytes], now: datetime) -> None:
    """Events were worked off."""
    if keys:
        execute(
            tx,
            "INSERT INTO push_event (workspace_id, data_source_id, key, seen_at)"
            " SELECT :ws, :source, unnest(CAST(:keys AS bytea[])), :now ON CONFLICT DO NOTHING",
            ws=turn.workspace_id,
            source=turn.data_source_id,
            keys=sorted(set(keys)),
            now=now,
        )


def forget(tx: Tx, workspace_id: str, now: datetime, limit: int = 5000) -> int:
    """Drop what was settled longer ago than it needs to be known; how much it was."""
    before = now - timedelta(days=REMEMBERED_DAYS)
    gone = execute(
        tx,
        "DELETE FROM push WHERE workspace_id = :ws AND (data_source_id, key) IN (SELECT data_source_id, key FROM push"
        " WHERE workspace_id = :ws AND state <> 'pending' AND settled_at < :before LIMIT :limit)",
        ws=workspace_id,
        before=before,
        limit=limit,
    )
    return gone + execute(
        tx,
        "DELETE FROM push_event WHERE workspace_id = :ws AND (data_source_id, key) IN (SELECT data_source_id, key"
        " FROM push_event WHERE workspace_id = :ws AND seen_at < :before LIMIT :limit)",
        ws=workspace_id,
        before=before,
        limit=limit,
    )


def sources_due(tx: Tx, now: datetime, limit: int) -> list[tuple[str, str]]:
    """In a sweep: workspace and id of sources with deliveries that are due and in nobody's hands."""
    found = rows(
        tx,
        "SELECT d.workspace_id, d.data_source_id FROM data_source d JOIN workspace w USING (workspace_id)"
        " LEFT JOIN push_inbox i USING (workspace_id, data_source_id)"
        " WHERE d.enabled AND w.status = 'active' AND d.settings ? 'push'"
        " AND (i.lease_until IS NULL OR i.lease_until <= :now)"
        " AND EXISTS (SELECT 1 FROM push p WHERE p.workspace_id = d.workspace_id"
        "  AND p.data_source_id = d.data_source_id AND p.state = 'pending' AND p.due_at <= :now) LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [(row["workspace_id"], row["data_source_id"]) for row in found]


def backlog(tx: Tx, workspace_id: str) -> list[Row]:
    """By source name: deliveries that wait, the age of the oldest in seconds, and those given up."""
    return rows(
        tx,
        "SELECT d.name AS source, count(p.push_id) FILTER (WHERE p.state = 'pending') AS pending,"
        " count(p.push_id) FILTER (WHERE p.state = 'dead') AS dead,"
        " coalesce(max(extract(epoch FROM now() - p.received_at)::float8) FILTER (WHERE p.state = 'pending'), 0)"
        "  AS oldest_s FROM data_source d LEFT JOIN push p ON p.workspace_id = d.workspace_id"
        "  AND p.data_source_id = d.data_source_id AND p.state <> 'done'"
        " WHERE d.workspace_id = :ws AND d.settings ? 'push' GROUP BY d.name ORDER BY d.name",
        ws=workspace_id,
    )
