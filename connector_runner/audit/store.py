"""The SQL of the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import text

from connector_runner.audit.chain import Entry, Read, genesis
from connector_runner.infra.database import Row, Tx, execute, one, rows
from connector_runner.kernel import exact_json

_BATCH = 1000


def lock_head(tx: Tx, workspace_id: str) -> tuple[int, bytes, int]:
    """Lock the head of the chain; its number, its hash and the id of this transaction."""
    sql = "SELECT n, hash, txid_current() AS txid FROM audit_head WHERE workspace_id = :ws FOR UPDATE"
    row = one(tx, sql, ws=workspace_id)
    if row is None:
        execute(
            tx,
            "INSERT INTO audit_head (workspace_id, n, hash) VALUES (:ws, 0, :hash) ON CONFLICT DO NOTHING",
            ws=workspace_id,
            hash=genesis(workspace_id),
        )
        row = one(tx, sql, ws=workspace_id)
    if row is None:
        raise LookupError("the head of the audit log is not visible in this transaction")
    return row["n"], bytes(row["hash"]), row["txid"]


def add(tx: Tx, workspace_id: str, entry: Entry, previous: bytes, digest: bytes) -> None:
    """Write an entry and move the head to it."""
    execute(
        tx,
        "INSERT INTO audit_log (workspace_id, n, at, actor, action, object, detail, txid, previous_hash, hash)"
        " VALUES (:ws, :n, :at, :actor, :action, :object, CAST(:detail AS jsonb), :txid, :previous, :hash)",
        ws=workspace_id,
        n=entry.n,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        object=entry.object,
        detail=exact_json.dumps(entry.detail),
        txid=entry.txid,
        previous=previous,
        hash=digest,
    )
    execute(
        tx,
        "UPDATE audit_head SET n = :n, hash = :hash WHERE workspace_id = :ws",
        ws=workspace_id,
        n=entry.n,
        hash=digest,
    )


def head(tx: Tx, workspace_id: str) -> tuple[int, bytes] | None:
    """The number and hash of the last entry, or None when nothing was ever written."""
    row = one(tx, "SELECT n, hash FROM audit_head WHERE workspace_id = :ws", ws=workspace_id)
    return (row["n"], bytes(row["hash"])) if row is not None else None


def surplus(tx: Tx, workspace_id: str) -> int | None:
    """The number of the first entry beyond the head, or None; head and entries are looked at in one moment."""
    row = one(
        tx,
        "SELECT min(n) AS n FROM audit_log WHERE workspace_id = :ws"
        " AND n > coalesce((SELECT n FROM audit_head WHERE workspace_id = :ws), 0)",
        ws=workspace_id,
    )
    return row["n"] if row is not None else None


def walk(tx: Tx, workspace_id: str, up_to: int) -> Iterator[tuple[Entry, bytes, bytes]]:
    """Entries to number ``up_to`` in order, each with its previous hash and its hash, in bounded memory."""
    after = None
    while True:
        found = rows(
            tx,
            "SELECT n, at, actor, action, object, detail, txid, previous_hash, hash FROM audit_log"
            " WHERE workspace_id = :ws AND n <= :up_to AND (CAST(:after AS bigint) IS NULL OR n > :after)"
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


def add_reads(tx: Tx, workspace_id: str, reads: Sequence[Read]) -> None:
    """Write accesses, not yet part of the chain."""
    parameters: list[dict[str, Any]] = [
        {
            "ws": workspace_id,
            "id": read.read_id,
            "at": read.at,
            "actor": read.actor,
            "action": read.action,
            "object": read.object,
            "detail": exact_json.dumps(read.detail),
        }
        for read in reads
    ]
    tx.execute(
        text(
            "INSERT INTO audit_read (workspace_id, read_id, at, actor, action, object, detail)"
            " VALUES (:ws, :id, :at, :actor, :action, :object, CAST(:detail AS jsonb))"
        ),
        parameters,
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
    """The accesses that entry ``n`` stands for, whose ids lie between the two."""
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


def mark_sealed(tx: Tx, workspace_id: str, read_ids: Sequence[str], n: int) -> None:
    """Say which entry stands for these accesses."""
    execute(
        tx,
        "UPDATE audit_read SET sealed_by = :n WHERE workspace_id = :ws AND read_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        n=n,
        ids=list(read_ids),
    )


def _entry(row: Row) -> Entry:
    return Entry(row["n"], row["at"], row["actor"], row["action"], row["object"], row["detail"], row["txid"])


def _read(row: Row) -> Read:
    return Read(row["read_id"], row["at"], row["actor"], row["action"], row["object"], row["detail"])
