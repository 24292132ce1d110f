"""SQL of the files of exports: what is to be fetched, by whom, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector_runner.infra.database import Row, Tx, execute, one, rows
from connector_runner.intake.bulk.store import LEASE_S, Job

ATTEMPTS = 5


@dataclass(slots=True)
class FileLease:
    """A file that this worker may fetch while its fence stands."""

    export_id: str
    step: str
    file_n: int
    kind: str
    resource_type: str
    url: str
    expected: int | None
    position: int
    lines: int
    etag: str | None
    attempts: int
    fence: int


def add(tx: Tx, of: Job, files: Iterable[tuple[str, str, str, int | None]]) -> None:
    """Note the files of a manifest: kind, record type, address and lines; to note them again changes nothing."""
    known = one(
        tx,
        "SELECT count(*) AS n FROM export_file WHERE export_id = :id AND step = :step",
        id=of.export_id,
        step=of.step,
    )
    first = int(known["n"]) if known else 0
    for n, (kind, resource_type, url, expected) in enumerate(files):
        execute(
            tx,
            "INSERT INTO export_file (workspace_id, export_id, step, file_n, kind, resource_type, url, expected)"
            " VALUES (:ws, :id, :step, :n, :kind, :type, :url, :expected) ON CONFLICT DO NOTHING",
            ws=of.workspace_id,
            id=of.export_id,
            step=of.step,
            n=first + n,
            kind=kind,
            type=resource_type,
            url=url,
            expected=expected,
        )


def drop(tx: Tx, of: Job) -> None:
    """The files of a step are to be had anew, from a new export."""
    execute(tx, "DELETE FROM export_file WHERE export_id = :id AND step = :step", id=of.export_id, step=of.step)


def claim(tx: Tx, of: Job, owner: str, now: datetime, limit: int) -> list[FileLease]:
    """Lease files that nobody fetches, in the order of the manifest."""
    found = rows(
        tx,
        "WITH c AS MATERIALIZED (SELECT file_n FROM export_file WHERE export_id = :id AND step = :step"
        "  AND state IN ('pending', 'running') AND due_at <= :now AND (lease_until IS NULL OR lease_until < :now)"
        "  ORDER BY file_n LIMIT :limit FOR UPDATE SKIP LOCKED)"
        " UPDATE export_file f SET state = 'running', fence = f.fence + 1, lease_owner = :owner, lease_until = :until"
        " FROM c WHERE f.export_id = :id AND f.step = :step AND f.file_n = c.file_n"
        " RETURNING f.file_n, f.kind, f.resource_type, f.url, f.expected, f.position, f.lines,"
        " f.etag, f.attempts, f.fence",
        id=of.export_id,
        step=of.step,
        owner=owner,
        now=now,
        until=now + timedelta(seconds=LEASE_S),
        limit=limit,
    )
    leases = [FileLease(export_id=of.export_id, step=of.step, **row) for row in found]
    return sorted(leases, key=lambda lease: lease.file_n)


def hold(tx: Tx, lease: FileLease, now: datetime) -> bool:
    """Renew a lease and lock its row; False when another worker has the file."""
    return _changed(tx, lease, "lease_until = :until", until=now + timedelta(seconds=LEASE_S))


def advance(tx: Tx, lease: FileLease) -> bool:
    """Write how far a file is stored."""
    return _changed(
        tx,
        lease,
        "position = :position, lines = :lines, etag = :etag, attempts = 0",
        position=lease.position,
        lines=lease.lines,
        etag=lease.etag,
    )


def finish(tx: Tx, leases: Sequence[FileLease]) -> None:
    """These files are stored whole."""
    for lease in leases:
        _changed(
            tx,
            lease,
            "state = 'fetched', position = :position, lines = :lines, lease_until = NULL, error_code = NULL",
            position=lease.position,
            lines=lease.lines,
        )


def postpone(tx: Tx, lease: FileLease, code: str, due_at: datetime, *, counts: bool) -> None:
    """Give a file back until ``due_at``; what counts as an attempt and was the last one makes it failed."""
    attempts = lease.attempts + (1 if counts else 0)
    _changed(
        tx,
        lease,
        "state = :state, attempts = :attempts, error_code = :code, due_at = :due, lease_until = NULL",
        state="failed" if attempts >= ATTEMPTS else "pending",
        attempts=attempts,
        code=code,
        due=due_at,
    )
    lease.attempts = attempts


def give_back(tx: Tx, leases: Sequence[FileLease]) -> None:
    """Files that were not begun."""
    for lease in leases:
        _changed(tx, lease, "state = 'pending', lease_until = NULL")


def _changed(tx: Tx, lease: FileLease, sets: str, **values: object) -> bool:
    done = execute(
        tx,
        f"UPDATE export_file SET {sets} WHERE export_id = :the_export AND step = :the_step AND file_n = :the_n"
        " AND fence = :the_fence AND state = 'running'",
        the_export=lease.export_id,
        the_step=lease.step,
        the_n=lease.file_n,
        the_fence=lease.fence,
        **values,
    )
    return done == 1


def todo(tx: Tx, of: Job) -> tuple[int, datetime | None]:
    """How many files of a step are to be fetched yet, and when the first of them may be."""
    row = one(
        tx,
        "SELECT count(*) AS n, min(greatest(due_at, coalesce(lease_until, due_at))) AS due FROM export_file"
        " WHERE export_id = :id AND step = :step AND state IN ('pending', 'running')",
        id=of.export_id,
        step=of.step,
    )
    return (int(row["n"]), row["due"]) if row else (0, None)


def counts(tx: Tx, export_id: str) -> Row:
    """Files and lines of an export, for people."""
    row = one(
        tx,
        "SELECT count(*) AS files, count(*) FILTER (WHERE state = 'fetched') AS fetched,"
        " count(*) FILTER (WHERE state = 'failed') AS failed, coalesce(sum(lines), 0) AS lines,"
        " coalesce(sum(expected), 0) AS expected, coalesce(sum(position), 0) AS bytes"
        " FROM export_file WHERE export_id = :id",
        id=export_id,
    )
    return {name: int(value) for name, value in row.items()} if row else {}


def unlanded_bytes(tx: Tx, import_id: str) -> int:
    """How much of an import is stored and has not landed."""
    row = one(
        tx,
        "SELECT coalesce(sum(size_bytes - byte_position), 0) AS n FROM import_file"
        " WHERE import_id = :id AND status IN ('pending', 'running')",
        id=import_id,
    )
    return int(row["n"]) if row else 0


def not_landed(tx: Tx, import_id: str) -> int:
    """How many files of an import were given up."""
    row = one(tx, "SELECT count(*) AS n FROM import_file WHERE import_id = :id AND status = 'failed'", id=import_id)
    return int(row["n"]) if row else 0


def next_file(tx: Tx, import_id: str) -> int:
    """The number of the next file of an import; its job's row is locked, so that no two get the same."""
    one(tx, "SELECT 1 AS found FROM import_job WHERE import_id = :id FOR UPDATE", id=import_id)
    row = one(tx, "SELECT coalesce(max(file_n), -1) + 1 AS n FROM import_file WHERE import_id = :id", id=import_id)
    return int(row["n"]) if row else 0
