"""The SQL of the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from connector_runner.audit.chain import Anchor, Entry, Read, genesis
from connector_runner.infra.database import Row, Tx, execute, gather, hot, id_array, later, one, rows
from connector_runner.kernel import exact_json

_BATCH = 1000
_AT_ONCE = 100
"""Entries of one statement: each step along its chain looks through all of them."""
_LOWEST = -(1 << 63)
"""Below every number, those too that nobody but an intruder gives."""
# It locks the row that is there: WHERE comes too late to spare it that (PostgreSQL manual, INSERT, ON CONFLICT).
_LOCK_HEAD = hot(
    "INSERT INTO audit_head (workspace_id, n, hash) VALUES (:ws, 0, :hash)"
    " ON CONFLICT (workspace_id) DO UPDATE SET n = audit_head.n WHERE false"
)
# A statement of its own: once the head is locked, this sees it as whoever had it before has left it.
_CHAIN = hot(
    "WITH RECURSIVE said AS MATERIALIZED (SELECT i, content, CAST(content AS jsonb) AS it"
    "  FROM unnest(CAST(:contents AS text[])) WITH ORDINALITY AS s (content, i)),"
    " chain AS (SELECT CAST(0 AS bigint) AS i, n, CAST(NULL AS bytea) AS previous, hash FROM audit_head"
    "   WHERE workspace_id = :ws"
    "  UNION ALL SELECT s.i, c.n + 1, c.hash, sha256(c.hash || convert_to('[\"' || CAST(:ws AS text) || '\",'"
    "   || (c.n + 1) || ',' || substr(s.content, 2, length(s.content) - 2) || ',' || txid_current() || ']', 'UTF8'))"
    "  FROM chain c JOIN said s ON s.i = c.i + 1),"
    " written AS (INSERT INTO audit_log (workspace_id, n, at, actor, action, object, detail, txid, previous_hash, hash)"
    "  SELECT :ws, c.n, CAST(it->>0 AS timestamptz), it->>1, it->>2, it->>3, it->4, txid_current(), c.previous, c.hash"
    "  FROM chain c JOIN said s ON s.i = c.i)"
    " UPDATE audit_head h SET n = c.n, hash = c.hash FROM (SELECT n, hash FROM chain ORDER BY i DESC LIMIT 1) c"
    " WHERE h.workspace_id = :ws"
)

_NOTE = hot(
    "INSERT INTO audit_read (workspace_id, read_id, at, actor, action, object, detail) SELECT * FROM unnest("
    "CAST(:ws AS uuid[]), CAST(:id AS uuid[]), CAST(:at AS timestamptz[]), CAST(:actor AS text[]),"
    " CAST(:action AS text[]), CAST(:object AS text[]), CAST(:detail AS jsonb[]))"
)


def lock_head(tx: Tx, workspace_id: str) -> tuple[int, bytes]:
    """Lock the head of the chain, which begins with it where there is none; its number and its hash."""
    later(tx, _LOCK_HEAD, ws=workspace_id, hash=genesis(workspace_id))
    found = head(tx, workspace_id)
    if found is None:
        raise LookupError("the head of the audit log is not visible in this transaction")
    return found


def chain(tx: Tx, workspace_id: str, contents: Sequence[str]) -> None:
    """Write entries of which each says what ``chain.content`` made, and move the head to the last.

    With the next statement, so that the head is locked for no answer of ours. The hash is ``chain.entry_hash``.
    """
    later(tx, _LOCK_HEAD, ws=workspace_id, hash=genesis(workspace_id))
    for at in range(0, len(contents), _AT_ONCE):
        later(tx, _CHAIN, ws=workspace_id, contents=list(contents[at : at + _AT_ONCE]))


def head(tx: Tx, workspace_id: str) -> tuple[int, bytes] | None:
    """The number and hash of the last entry, or None when nothing was ever written."""
    row = one(tx, "SELECT n, hash FROM audit_head WHERE workspace_id = :ws", ws=workspace_id)
    return (row["n"], bytes(row["hash"])) if row is not None else None


def surplus(tx: Tx, workspace_id: str) -> int | None:
    """The number of the first entry beyond the head, or None; head and entries are looked at in one moment."""
    row = one(
        tx,
        "SELECT min(n) AS n FROM audit_log WHERE workspace_id = :ws"
        # Not by coalesce: under row-level security no index finds anything by that, and the whole log would be read.
        " AND n > greatest((SELECT n FROM audit_head WHERE workspace_id = :ws), 0)",
        ws=workspace_id,
    )
    return row["n"] if row is not None else None


def walk(tx: Tx, workspace_id: str, up_to: int, *, after: int = _LOWEST) -> Iterator[tuple[Entry, bytes, bytes]]:
    """Entries to number ``up_to`` in order, each with its previous hash and its hash, in bounded memory."""
    while True:
        found = rows(
            tx,
            "SELECT n, at, actor, action, object, detail, txid, previous_hash, hash FROM audit_log"
            " WHERE workspace_id = :ws AND n <= :up_to AND n > :after"
            " ORDER BY n LIMIT :batch",
            ws=workspace_id,
            up_to=up_to,
            after=after,
            batch=_BATCH,
        )
        for row in found:
            yield _entry(row), bytes(row["previous_hash"]), bytes(row["hash"])
        if len(found) < _BATCH:
            return
        after = found[-1]["n"]


def entries(tx: Tx, workspace_id: str, *, after: int, limit: int) -> Sequence[Entry]:
    """Entries with a number over ``after``, in order."""
    found = rows(
        tx,
        "SELECT n, at, actor, action, object, detail, txid FROM audit_log"
        " WHERE workspace_id = :ws AND n > :after ORDER BY n LIMIT :limit",
        ws=workspace_id,
        after=after,
        limit=limit,
    )
    return [_entry(row) for row in found]


def add_read(tx: Tx, workspace_id: str, read: Read) -> None:
    """Write an access, not yet part of the chain, with all others of the transaction's next message."""
    gather(
        tx,
        _NOTE,
        ws=workspace_id,
        id=read.read_id,
        at=read.at.isoformat(),
        actor=read.actor,
        action=read.action,
        object=read.object,
        detail=exact_json.dumps(read.detail),
    )


def open_reads(tx: Tx, workspace_id: str, limit: int) -> list[Read]:
    """Accesses that no entry stands for yet, oldest id first, locked."""
    found = rows(
        tx,
        "SELECT read_id, at, actor, action, object, detail FROM audit_read"
        " WHERE workspace_id = :ws AND sealed_by IS NULL ORDER BY read_id LIMIT :limit FOR UPDATE",
        ws=workspace_id,
        limit=limit,
    )
    return [_read(row) for row in found]


def has_open_reads(tx: Tx, workspace_id: str) -> bool:
    """Whether an access waits to be sealed."""
    sql = "SELECT 1 FROM audit_read WHERE workspace_id = :ws AND sealed_by IS NULL LIMIT 1"
    return one(tx, sql, ws=workspace_id) is not None


def reads_sealed_by(tx: Tx, workspace_id: str, n: int, read_ids: tuple[str, str]) -> list[Read]:
    """The notes that entry ``n`` stands for, whose ids lie between the two."""
    found = rows(
        tx,
        "SELECT read_id, at, actor, action, object, detail FROM audit_read WHERE workspace_id = :ws"
        " AND read_id BETWEEN CAST(:first AS uuid) AND CAST(:last AS uuid) AND sealed_by = :n",
        ws=workspace_id,
        n=n,
        first=read_ids[0],
        last=read_ids[1],
    )
    return [_read(row) for row in found]


def miscounted(tx: Tx, workspace_id: str) -> int | None:
    """The first entry, or number of none, that has other than the notes that it counts; None where all agree."""
    row = one(
        tx,
        "SELECT min(r.sealed_by) AS n FROM (SELECT sealed_by, count(*) AS notes FROM audit_read"
        " WHERE workspace_id = :ws AND sealed_by IS NOT NULL GROUP BY sealed_by) r"
        " LEFT JOIN audit_log l ON l.workspace_id = :ws AND l.n = r.sealed_by AND l.action = 'reads.sealed'"
        " WHERE l.n IS NULL OR l.detail->'count' IS DISTINCT FROM to_jsonb(r.notes)",
        ws=workspace_id,
    )
    return row["n"] if row is not None else None


def unsealed(tx: Tx, workspace_id: str) -> tuple[int, float]:
    """How many notes no entry stands for yet, and for how many seconds the oldest has waited."""
    row = one(
        tx,
        "SELECT count(*) AS n, coalesce(extract(epoch FROM clock_timestamp() - min(noted_at)), 0) AS age"
        " FROM audit_read WHERE workspace_id = :ws AND sealed_by IS NULL",
        ws=workspace_id,
    )
    return (row["n"], max(float(row["age"]), 0.0)) if row is not None else (0, 0.0)


def unanchored(tx: Tx, workspace_id: str) -> float:
    """The age in seconds of the oldest entry that no anchor stands for; 0 where there is none."""
    row = one(
        tx,
        "SELECT extract(epoch FROM clock_timestamp() - at) AS age FROM audit_log WHERE workspace_id = :ws"
        # What follows an anchor is the entry about it.
        " AND n > greatest((SELECT max(n) + 1 FROM audit_anchor WHERE workspace_id = :ws), 0) ORDER BY n LIMIT 1",
        ws=workspace_id,
    )
    return max(float(row["age"]), 0.0) if row is not None else 0.0


def with_open_reads(tx: Tx) -> list[str]:
    """Ids of the workspaces that have something to seal; ``tx`` is a sweep."""
    sql = (
        "SELECT workspace_id FROM workspace w WHERE EXISTS (SELECT 1 FROM audit_read r"
        " WHERE r.workspace_id = w.workspace_id AND r.sealed_by IS NULL)"
    )
    return [row["workspace_id"] for row in rows(tx, sql)]


def with_entries(tx: Tx) -> list[str]:
    """Ids of the workspaces that have a log; ``tx`` is a sweep."""
    return [row["workspace_id"] for row in rows(tx, "SELECT workspace_id FROM audit_head ORDER BY workspace_id")]


def add_anchor(tx: Tx, anchor: Anchor) -> None:
    """Keep an anchor."""
    execute(
        tx,
        "INSERT INTO audit_anchor (workspace_id, n, hash, made_at, mac) VALUES (:ws, :n, :hash, :at, :mac)",
        ws=anchor.workspace_id,
        n=anchor.n,
        hash=anchor.hash,
        at=anchor.made_at,
        mac=anchor.mac,
    )


def anchors(tx: Tx, workspace_id: str) -> list[Anchor]:
    """All anchors, the oldest first."""
    found = rows(tx, "SELECT * FROM audit_anchor WHERE workspace_id = :ws ORDER BY n", ws=workspace_id)
    return [_anchor(row) for row in found]


def last_anchor(tx: Tx, workspace_id: str) -> Anchor | None:
    """The latest anchor."""
    row = one(tx, "SELECT * FROM audit_anchor WHERE workspace_id = :ws ORDER BY n DESC LIMIT 1", ws=workspace_id)
    return _anchor(row) if row is not None else None


def mark_sealed(tx: Tx, workspace_id: str, read_ids: Sequence[str], n: int) -> None:
    """Say which entry stands for these accesses."""
    execute(
        tx,
        "UPDATE audit_read SET sealed_by = :n WHERE workspace_id = :ws AND read_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        n=n,
        ids=id_array(read_ids),
    )


def _entry(row: Row) -> Entry:
    return Entry(row["n"], row["at"], row["actor"], row["action"], row["object"], row["detail"], row["txid"])


def _read(row: Row) -> Read:
    return Read(row["read_id"], row["at"], row["actor"], row["action"], row["object"], row["detail"])


def _anchor(row: Row) -> Anchor:
    return Anchor(row["workspace_id"], row["n"], bytes(row["hash"]), row["made_at"], bytes(row["mac"]))
