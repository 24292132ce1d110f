"""SQL of imports: jobs, their files, the parts of stored files, and the names inside a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from connector_runner.infra.database import Row, Tx, copy_rows, execute, one, rows
from connector_runner.kernel import exact_json

LEASE_S = 60.0
ATTEMPTS = 5
"""How often a file may be taken up without a single chunk getting done."""
_FILE = "file_n, name, location, size_bytes, stored, position, byte_position, resume, counts, errors, attempts, fence"


@dataclass(slots=True)
class FileLease:
    """A file that this worker may work on while its fence stands."""

    workspace_id: str
    import_id: str
    file_n: int
    name: str
    location: str | None
    stored: bool
    position: int
    fence: int
    resume: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def workspace_of(tx: Tx, slug_or_id: str) -> str | None:
    """The id of the active workspace with that slug or id; for a sweep."""
    row = one(
        tx,
        "SELECT workspace_id FROM workspace WHERE status = 'active'"
        " AND (slug = :name OR CAST(workspace_id AS text) = :name)",
        name=slug_or_id,
    )
    return None if row is None else str(row["workspace_id"])


def workspaces(tx: Tx, limit: int) -> list[str]:
    """Ids of active workspaces; for a sweep."""
    found = rows(tx, "SELECT workspace_id FROM workspace WHERE status = 'active' LIMIT :limit", limit=limit)
    return [str(row["workspace_id"]) for row in found]


def add_job(tx: Tx, workspace_id: str, import_id: str, source_id: str, options: dict[str, Any]) -> None:
    """A job that no worker looks at before ``release_job``."""
    execute(
        tx,
        "INSERT INTO import_job (workspace_id, import_id, data_source_id, options, due_at)"
        " VALUES (:ws, :id, :source, CAST(:options AS jsonb), 'infinity')",
        ws=workspace_id,
        id=import_id,
        source=source_id,
        options=exact_json.dumps(options),
    )


def add_file(
    tx: Tx, workspace_id: str, import_id: str, file_n: int, name: str, location: str | None, size: int | None
) -> None:
    """One file of a job."""
    execute(
        tx,
        "INSERT INTO import_file (workspace_id, import_id, file_n, name, location, size_bytes)"
        " VALUES (:ws, :id, :n, :name, :location, :size)",
        ws=workspace_id,
        id=import_id,
        n=file_n,
        name=name,
        location=location,
        size=size,
    )


def add_part(tx: Tx, workspace_id: str, import_id: str, file_n: int, part_n: int, body: bytes) -> None:
    """One part of a stored file; to add it again changes nothing."""
    execute(
        tx,
        "INSERT INTO import_part (workspace_id, import_id, file_n, part_n, body) VALUES (:ws, :id, :n, :part, :body)"
        " ON CONFLICT DO NOTHING",
        ws=workspace_id,
        id=import_id,
        n=file_n,
        part=part_n,
        body=body,
    )


def parts(tx: Tx, import_id: str, file_n: int) -> int:
    """How many parts of a file are stored."""
    row = one(
        tx,
        "SELECT count(*) AS n FROM import_part WHERE import_id = :id AND file_n = :n",
        id=import_id,
        n=file_n,
    )
    return int(row["n"]) if row else 0


def part(tx: Tx, import_id: str, file_n: int, part_n: int) -> bytes:
    """One part, empty behind the last."""
    row = one(
        tx,
        "SELECT body FROM import_part WHERE import_id = :id AND file_n = :n AND part_n = :part",
        id=import_id,
        n=file_n,
        part=part_n,
    )
    return bytes(row["body"]) if row else b""


def set_stored(tx: Tx, import_id: str, file_n: int, size: int) -> None:
    """All parts of a file are there."""
    execute(
        tx,
        "UPDATE import_file SET stored = true, size_bytes = :size WHERE import_id = :id AND file_n = :n",
        id=import_id,
        n=file_n,
        size=size,
    )


def release_job(tx: Tx, import_id: str, due_at: datetime) -> None:
    """Let workers look at a job from ``due_at`` on."""
    execute(
        tx,
        "UPDATE import_job SET due_at = :due WHERE import_id = :id AND status IN ('pending', 'running')",
        id=import_id,
        due=due_at,
    )


def overdue(tx: Tx, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Workspace and id of jobs that a worker should look at now; for a sweep."""
    found = rows(
        tx,
        "SELECT workspace_id, import_id FROM import_job WHERE status IN ('pending', 'running') AND due_at <= :now"
        " ORDER BY due_at LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [(str(row["workspace_id"]), str(row["import_id"])) for row in found]


def claim_file(
    tx: Tx, workspace_id: str, import_id: str, owner: str, now: datetime, file_n: int | None = None
) -> FileLease | None:
    """Lease a file of a job that nobody works on, the first or a named one; None when there is none."""
    row = one(
        tx,
        # A CTE, for the planner may run a subquery in FROM several times over and so lease several files.
        "WITH c AS MATERIALIZED (SELECT file_n FROM import_file"
        "  WHERE import_id = :id AND status IN ('pending', 'running') AND (lease_until IS NULL OR lease_until < :now)"
        "  AND (CAST(:n AS integer) IS NULL OR file_n = CAST(:n AS integer))"
        "  ORDER BY file_n LIMIT 1 FOR UPDATE SKIP LOCKED)"
        " UPDATE import_file f SET status = 'running', fence = f.fence + 1, lease_owner = :owner,"
        " lease_until = :until, attempts = f.attempts + 1 FROM c"
        f" WHERE f.import_id = :id AND f.file_n = c.file_n RETURNING {', '.join('f.' + c for c in _FILE.split(', '))}",
        id=import_id,
        owner=owner,
        now=now,
        until=now + timedelta(seconds=LEASE_S),
        n=file_n,
    )
    if row is None:
        return None
    execute(
        tx,
        "UPDATE import_job SET status = 'running', started_at = coalesce(started_at, :now)"
        " WHERE import_id = :id AND status = 'pending'",
        id=import_id,
        now=now,
    )
    lease = _lease(workspace_id, import_id, row)
    if row["attempts"] > ATTEMPTS:
        lease.errors.append(f"{lease.name}: given up after {ATTEMPTS} attempts that ended without progress")
        end_file(tx, lease, "failed")
        return None
    return lease


def _lease(workspace_id: str, import_id: str, row: Row) -> FileLease:
    return FileLease(
        workspace_id,
        import_id,
        row["file_n"],
        row["name"],
        row["location"],
        row["stored"],
        row["position"],
        row["fence"],
        row["resume"],
        row["counts"],
        row["errors"],
    )


def hold(tx: Tx, lease: FileLease, now: datetime) -> bool:
    """Renew a lease and lock its row; False when another worker has the file."""
    return (
        execute(
            tx,
            "UPDATE import_file SET lease_until = :until"
            " WHERE import_id = :id AND file_n = :n AND fence = :fence AND status = 'running'",
            id=lease.import_id,
            n=lease.file_n,
            fence=lease.fence,
            until=now + timedelta(seconds=LEASE_S),
        )
        == 1
    )


def save_progress(tx: Tx, lease: FileLease) -> None:
    """Write how far a file is; in the transaction that landed the chunk."""
    execute(
        tx,
        "UPDATE import_file SET position = :position, byte_position = :byte, resume = CAST(:resume AS jsonb),"
        " counts = CAST(:counts AS jsonb), errors = CAST(:errors AS jsonb), attempts = 0"
        " WHERE import_id = :id AND file_n = :n",
        id=lease.import_id,
        n=lease.file_n,
        position=lease.position,
        byte=(lease.resume.get("state") or {}).get("byte", 0),
        resume=exact_json.dumps(lease.resume),
        counts=exact_json.dumps(lease.counts),
        errors=exact_json.dumps(lease.errors),
    )


def free_file(tx: Tx, lease: FileLease) -> None:
    """Give a lease back before its end."""
    execute(
        tx,
        "UPDATE import_file SET lease_until = NULL, lease_owner = NULL"
        " WHERE import_id = :id AND file_n = :n AND fence = :fence",
        id=lease.import_id,
        n=lease.file_n,
        fence=lease.fence,
    )


def end_file(tx: Tx, lease: FileLease, status: str) -> None:
    """Mark a file ``completed`` or ``failed`` and let go of what was stored of it."""
    save_progress(tx, lease)
    execute(
        tx,
        "UPDATE import_file SET status = :status, lease_until = NULL, lease_owner = NULL"
        " WHERE import_id = :id AND file_n = :n",
        id=lease.import_id,
        n=lease.file_n,
        status=status,
    )
    for table in ("import_part", "import_reference"):
        execute(tx, f"DELETE FROM {table} WHERE import_id = :id AND file_n = :n", id=lease.import_id, n=lease.file_n)


def open_files(tx: Tx, import_id: str, now: datetime) -> tuple[int, int]:
    """How many files of a job are not done, and how many of them nobody works on."""
    row = one(
        tx,
        "SELECT count(*) AS todo, count(*) FILTER (WHERE lease_until IS NULL OR lease_until < :now) AS free"
        " FROM import_file WHERE import_id = :id AND status IN ('pending', 'running')",
        id=import_id,
        now=now,
    )
    return (int(row["todo"]), int(row["free"])) if row else (0, 0)


def end_job(tx: Tx, import_id: str, now: datetime) -> None:
    """Finish a job of which no file is left: ``failed`` when every file failed."""
    execute(
        tx,
        "UPDATE import_job SET finished_at = :now, status = CASE WHEN EXISTS (SELECT 1 FROM import_file"
        " WHERE import_id = :id AND status = 'completed') THEN 'completed' ELSE 'failed' END"
        " WHERE import_id = :id AND status IN ('pending', 'running')",
        id=import_id,
        now=now,
    )


def abandon(tx: Tx, before: datetime) -> None:
    """Close jobs whose registration or whose own process ended midway: no worker could go on with them."""
    execute(
        tx,
        "UPDATE import_job j SET status = 'failed', error_code = 'abandoned', finished_at = now()"
        " WHERE status IN ('pending', 'running') AND due_at = 'infinity' AND created_at < :before"
        " AND NOT EXISTS (SELECT 1 FROM import_file f WHERE f.import_id = j.import_id AND f.lease_until > now())",
        before=before,
    )


def job(tx: Tx, import_id: str) -> Row | None:
    """A job's status, options and times."""
    return one(
        tx,
        "SELECT import_id, data_source_id, status, options, error_code, created_at, started_at, finished_at"
        " FROM import_job WHERE import_id = :id",
        id=import_id,
    )


def files(tx: Tx, import_id: str) -> list[Row]:
    """The files of a job in their order: name, status, position, counts and errors."""
    return rows(
        tx,
        "SELECT file_n, name, status, position, byte_position, size_bytes, counts, errors FROM import_file"
        " WHERE import_id = :id ORDER BY file_n",
        id=import_id,
    )


def add_names(tx: Tx, lease: FileLease, names: Iterable[tuple[str, str]]) -> None:
    """Remember full URLs of a file and what they stand for; the last one said stands."""
    execute(tx, "CREATE TEMPORARY TABLE arriving_name (n serial, full_url text, target text) ON COMMIT DROP")
    copy_rows(tx, "arriving_name", ("full_url", "target"), names)
    execute(
        tx,
        "INSERT INTO import_reference (workspace_id, import_id, file_n, full_url, target)"
        " SELECT DISTINCT ON (full_url) CAST(:ws AS uuid), CAST(:id AS uuid), CAST(:n AS integer), full_url, target"
        " FROM arriving_name ORDER BY full_url, n DESC"
        " ON CONFLICT (workspace_id, import_id, file_n, full_url) DO UPDATE SET target = excluded.target",
        ws=lease.workspace_id,
        id=lease.import_id,
        n=lease.file_n,
    )


def names_for(tx: Tx, lease: FileLease, urls: Sequence[str]) -> dict[str, str]:
    """What full URLs of a file stand for, as far as they are known."""
    if not urls:
        return {}
    found = rows(
        tx,
        "SELECT full_url, target FROM import_reference WHERE import_id = :id AND file_n = :n AND full_url = ANY(:urls)",
        id=lease.import_id,
        n=lease.file_n,
        urls=list(urls),
    )
    return {row["full_url"]: row["target"] for row in found}
