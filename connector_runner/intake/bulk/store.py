"""SQL of exports: jobs, since when the next asks, members of groups, and deletes told of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from connector_runner.infra.database import Row, Tx, execute, one, rows
from connector_runner.kernel import exact_json

LEASE_S = 60.0
_OPEN = "state NOT IN ('completed', 'failed')"
_COLUMNS = (
    "workspace_id, export_id, data_source_id, import_id, scope, group_id, types, since, step, state, status_url,"
    " requires_token, progress, transaction_time, next_since, expires_at, restarts, looks, attempts,"
    " unanswered, complete, problems, error_code, due_at, lease_until, fence, created_at, finished_at"
)
_CHANGEABLE = frozenset(
    {"step", "state", "status_url", "requires_token", "progress", "transaction_time", "next_since", "expires_at",
     "restarts", "looks", "attempts", "unanswered", "complete", "problems", "error_code", "due_at", "finished_at"}
)  # fmt: skip


@dataclass(slots=True)
class Job:
    """An export as it stands; ``fence`` proves a lease on it."""

    workspace_id: str
    export_id: str
    data_source_id: str
    import_id: str
    scope: str
    group_id: str
    types: tuple[str, ...]
    since: datetime | None
    step: str
    state: str
    status_url: str | None
    requires_token: bool
    progress: float | None
    transaction_time: datetime | None
    next_since: datetime | None
    expires_at: datetime | None
    restarts: int
    looks: int
    attempts: int
    unanswered: bool
    complete: bool
    error_code: str | None
    due_at: datetime
    fence: int
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do."""
        return self.state not in ("completed", "failed")


def _job(row: Row) -> Job:
    kept = {name: row[name] for name in Job.__slots__ if name in row}
    for name in ("workspace_id", "export_id", "data_source_id", "import_id"):
        kept[name] = str(kept[name])
    return Job(**{**kept, "types": tuple(row["types"])})


def add_job(
    tx: Tx,
    workspace_id: str,
    export_id: str,
    *,
    data_source_id: str,
    import_id: str,
    scope: str,
    group_id: str,
    types: Sequence[str],
    since: datetime | None,
    due_at: datetime,
) -> None:
    """A new export. Raises Conflict where the source has one under way."""
    execute(
        tx,
        "INSERT INTO export_job (workspace_id, export_id, data_source_id, import_id, scope, group_id, types, since,"
        " due_at)"
        " VALUES (:ws, :id, :source, :import, :scope, :group, :types, :since, :due)",
        ws=workspace_id,
        id=export_id,
        source=data_source_id,
        **{"import": import_id},
        scope=scope,
        group=group_id,
        types=list(types),
        since=since,
        due=due_at,
    )


def open_job(tx: Tx, data_source_id: str, *, lock: bool = False) -> Job | None:
    """The export that a source has under way."""
    row = one(
        tx,
        f"SELECT {_COLUMNS} FROM export_job WHERE data_source_id = :source AND {_OPEN}{' FOR UPDATE' if lock else ''}",
        source=data_source_id,
    )
    return _job(row) if row else None


def job(tx: Tx, export_id: str) -> Job | None:
    """One export."""
    row = one(tx, f"SELECT {_COLUMNS} FROM export_job WHERE export_id = :id", id=export_id)
    return _job(row) if row else None


def widen(tx: Tx, export_id: str, types: Sequence[str], since: datetime | None) -> bool:
    """Let an export that was not asked for yet be of these types; False when it was asked for, or is being."""
    done = execute(
        tx,
        "UPDATE export_job SET types = :types, since = :since WHERE export_id = :id AND state = 'starting'"
        " AND step = 'main' AND status_url IS NULL AND NOT unanswered AND (lease_until IS NULL OR lease_until < now())",
        id=export_id,
        types=list(types),
        since=since,
    )
    return done == 1


def claim(tx: Tx, export_id: str, owner: str, now: datetime) -> Job | None:
    """Lease an export that is due and that nobody works on."""
    row = one(
        tx,
        "UPDATE export_job SET fence = fence + 1, lease_owner = :owner, lease_until = :until WHERE export_id = :id"
        f" AND {_OPEN} AND due_at <= :now AND (lease_until IS NULL OR lease_until < :now) RETURNING {_COLUMNS}",
        id=export_id,
        owner=owner,
        now=now,
        until=now + timedelta(seconds=LEASE_S),
    )
    return _job(row) if row else None


def save(tx: Tx, held: Job, **changes: Any) -> bool:
    """Change what a lease is held on, and give the lease back; False when another worker has it."""
    unknown = changes.keys() - _CHANGEABLE
    if unknown:
        raise AssertionError(f"not to be changed: {sorted(unknown)}")
    if "problems" in changes:
        changes["problems"] = exact_json.dumps(changes["problems"])
    casts = {"problems": "CAST(:problems AS jsonb)"}
    sets = "".join(f"{name} = {casts.get(name, ':' + name)}, " for name in sorted(changes))
    done = execute(
        tx,
        f"UPDATE export_job SET {sets}lease_until = NULL, lease_owner = NULL"
        " WHERE export_id = :the_export AND fence = :the_fence",
        the_export=held.export_id,
        the_fence=held.fence,
        **changes,
    )
    return done == 1


def hold(tx: Tx, held: Job, now: datetime) -> bool:
    """Renew the lease of an export; False when another worker has it."""
    done = execute(
        tx,
        "UPDATE export_job SET lease_until = :until WHERE export_id = :id AND fence = :fence",
        id=held.export_id,
        fence=held.fence,
        until=now + timedelta(seconds=LEASE_S),
    )
    return done == 1


def set_unanswered(tx: Tx, held: Job, value: bool) -> None:
    """An export is about to be asked for (True), or it is known that this began none."""
    execute(tx, "UPDATE export_job SET unanswered = :value WHERE export_id = :id", id=held.export_id, value=value)


def note(tx: Tx, export_id: str, problem: dict[str, Any], *, lacking: bool, most: int = 100) -> None:
    """Add a problem (codes and numbers) to an export; ``lacking``: something of it could not be had."""
    execute(
        tx,
        "UPDATE export_job SET complete = complete AND NOT CAST(:lacking AS boolean),"
        " problems = CASE WHEN jsonb_array_length(problems) < :most THEN problems || CAST(:problem AS jsonb)"
        " ELSE problems END WHERE export_id = :id",
        id=export_id,
        lacking=lacking,
        problem=exact_json.dumps([problem]),
        most=most,
    )


def overdue(tx: Tx, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Workspace and id of exports that a worker should look at; for a sweep."""
    found = rows(
        tx,
        f"SELECT workspace_id, export_id FROM export_job WHERE {_OPEN} AND due_at <= :now"
        " AND (lease_until IS NULL OR lease_until < :now) ORDER BY due_at LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [(str(row["workspace_id"]), str(row["export_id"])) for row in found]


def forget_old(tx: Tx, data_source_id: str, before: datetime) -> None:
    """Drop exports of a source that ended before then."""
    execute(
        tx,
        "DELETE FROM export_job WHERE data_source_id = :source AND finished_at < :before",
        source=data_source_id,
        before=before,
    )


def latest(tx: Tx, data_source_id: str, limit: int) -> list[Row]:
    """The latest exports of a source, for people."""
    return rows(
        tx,
        "SELECT export_id, import_id, scope, group_id, types, since, step, state, progress, next_since, restarts,"
        " complete, problems, error_code, created_at, finished_at FROM export_job WHERE data_source_id = :source"
        " ORDER BY created_at DESC LIMIT :limit",
        source=data_source_id,
        limit=limit,
    )


# -- since when


def marks(tx: Tx, data_source_id: str, scope: str, group_id: str) -> dict[str, datetime]:
    """By record type ('' for all) since when the next export of this scope asks."""
    found = rows(
        tx,
        "SELECT resource_type, since FROM export_mark WHERE data_source_id = :source AND scope = :scope"
        " AND group_id = :group",
        source=data_source_id,
        scope=scope,
        group=group_id,
    )
    return {row["resource_type"]: row["since"] for row in found}


def mark(tx: Tx, done: Job, since: datetime) -> None:
    """Everything up to ``since`` has been had of the types of an export.

    Not of those of which it asked since a later instant than what was had before went up to: a gap is left there.
    """
    execute(
        tx,
        "INSERT INTO export_mark (workspace_id, data_source_id, scope, group_id, resource_type, since)"
        " SELECT CAST(:ws AS uuid), CAST(:source AS uuid), :scope, :group, kind, :since"
        " FROM unnest(CAST(:types AS text[])) AS kind WHERE CAST(:asked AS timestamptz) IS NULL OR EXISTS"
        " (SELECT 1 FROM export_mark m WHERE m.workspace_id = CAST(:ws AS uuid) AND m.scope = :scope"
        " AND m.data_source_id = CAST(:source AS uuid) AND m.group_id = :group AND m.resource_type IN (kind, '')"
        " AND m.since >= CAST(:asked AS timestamptz))"
        " ON CONFLICT (workspace_id, data_source_id, scope, group_id, resource_type)"
        " DO UPDATE SET since = greatest(export_mark.since, excluded.since)",
        ws=done.workspace_id,
        source=done.data_source_id,
        scope=done.scope,
        group=done.group_id,
        types=list(done.types or ("",)),
        asked=done.since,
        since=since,
    )


def forget_marks(tx: Tx, of: Job) -> None:
    """Everything is asked for by the next export of this scope."""
    execute(
        tx,
        "DELETE FROM export_mark WHERE data_source_id = :source AND scope = :scope AND group_id = :group",
        source=of.data_source_id,
        scope=of.scope,
        group=of.group_id,
    )


# -- members


def add_roster(tx: Tx, workspace_id: str, export_id: str, patients: Iterable[str]) -> None:
    """Note members of the group of an export."""
    execute(
        tx,
        "INSERT INTO export_roster (workspace_id, export_id, patient_id)"
        " SELECT CAST(:ws AS uuid), CAST(:id AS uuid), unnest(CAST(:patients AS text[])) ON CONFLICT DO NOTHING",
        ws=workspace_id,
        id=export_id,
        patients=sorted(set(patients)),
    )


def has_roster(tx: Tx, export_id: str) -> bool:
    """Whether members are known for an export."""
    return one(tx, "SELECT 1 AS found FROM export_roster WHERE export_id = :id LIMIT 1", id=export_id) is not None


def newcomers(tx: Tx, of: Job) -> list[str]:
    """Members of the group of whom not everything of the types of an export was exported before."""
    found = rows(
        tx,
        "SELECT r.patient_id FROM export_roster r WHERE r.export_id = :id AND EXISTS (SELECT 1"
        " FROM unnest(CAST(:types AS text[])) AS kind WHERE NOT EXISTS (SELECT 1 FROM export_member m"
        " WHERE m.workspace_id = r.workspace_id AND m.data_source_id = :source AND m.group_id = :group"
        " AND m.patient_id = r.patient_id AND m.resource_type IN (kind, ''))) ORDER BY 1",
        id=of.export_id,
        types=list(of.types or ("",)),
        source=of.data_source_id,
        group=of.group_id,
    )
    return [row["patient_id"] for row in found]


def keep_members(tx: Tx, done: Job) -> None:
    """The members that an export found are those who are known now; who left and comes back is new again."""
    bound = {"source": done.data_source_id, "group": done.group_id, "id": done.export_id}
    execute(
        tx,
        "DELETE FROM export_member m WHERE data_source_id = :source AND group_id = :group AND NOT EXISTS"
        " (SELECT 1 FROM export_roster r WHERE r.workspace_id = m.workspace_id AND r.export_id = :id"
        " AND r.patient_id = m.patient_id)",
        **bound,
    )
    execute(
        tx,
        "INSERT INTO export_member (workspace_id, data_source_id, group_id, patient_id, resource_type)"
        " SELECT workspace_id, CAST(:source AS uuid), :group, patient_id, kind FROM export_roster"
        " CROSS JOIN unnest(CAST(:types AS text[])) AS kind WHERE export_id = :id ON CONFLICT DO NOTHING",
        types=list(done.types or ("",)),
        **bound,
    )


# -- deletes


def add_deletions(
    tx: Tx, workspace_id: str, export_id: str, deletions: Iterable[tuple[str, str, datetime | None]]
) -> None:
    """Note deletes that an export tells of: type, id, and since when."""
    for resource_type, record_id, at in deletions:
        execute(
            tx,
            "INSERT INTO export_deletion (workspace_id, export_id, resource_type, record_id, deleted_at)"
            " VALUES (:ws, :id, :type, :record, :at) ON CONFLICT (workspace_id, export_id, resource_type, record_id)"
            " DO UPDATE SET deleted_at = coalesce(greatest(export_deletion.deleted_at, excluded.deleted_at),"
            " export_deletion.deleted_at, excluded.deleted_at)",
            ws=workspace_id,
            id=export_id,
            type=resource_type,
            record=record_id,
            at=at,
        )


def deletions(tx: Tx, export_id: str) -> dict[str, list[tuple[str, datetime | None]]]:
    """Deletes that were told of and not worked off, by record type."""
    found: dict[str, list[tuple[str, datetime | None]]] = {}
    for row in rows(
        tx,
        "SELECT resource_type, record_id, deleted_at FROM export_deletion WHERE export_id = :id ORDER BY 1, 2",
        id=export_id,
    ):
        found.setdefault(row["resource_type"], []).append((row["record_id"], row["deleted_at"]))
    return found


def forget_deletions(tx: Tx, export_id: str, resource_type: str) -> None:
    """The deletes of one type are worked off."""
    execute(
        tx,
        "DELETE FROM export_deletion WHERE export_id = :id AND resource_type = :type",
        id=export_id,
        type=resource_type,
    )


def forget_details(tx: Tx, export_id: str) -> None:
    """An export that ended needs neither the addresses of its files nor its list of members any more."""
    execute(tx, "DELETE FROM export_roster WHERE export_id = :id", id=export_id)
    execute(tx, "DELETE FROM export_deletion WHERE export_id = :id", id=export_id)
    execute(tx, "UPDATE export_file SET url = '' WHERE export_id = :id", id=export_id)
