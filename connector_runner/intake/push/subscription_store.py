"""SQL of subscriptions: how each is, what was heard through it, and whose turn it is to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector_runner.connectors.push import Kept
from connector_runner.infra.database import Row, Tx, execute, one, rows
from connector_runner.intake.push.numbers import Numbers

_COLUMNS = (
    "name, ours, remote_id, wanted, status, ends_at, numbered, contiguous, highest, ahead, gap_since, asked_at, gaps,"
    " notified_at, looked_at, restarts, failures, last_error_code"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The subscriptions of one source."""

    workspace_id: str
    data_source_id: str

    @property
    def bound(self) -> dict[str, str]:
        """As the statements here take it."""
        return {"ws": self.workspace_id, "source": self.data_source_id}


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription; ``name`` is its record type, or the server's id of one that we did not make."""

    name: str
    ours: bool
    remote_id: str | None
    wanted: bytes | None
    status: str
    ends_at: datetime | None
    numbers: Numbers
    gap_since: datetime | None
    asked_at: datetime | None
    gaps: int
    notified_at: datetime | None
    looked_at: datetime | None
    failures: int
    last_error_code: str | None


def _read(row: Row) -> Subscription:
    numbers = Numbers(row["numbered"], row["contiguous"], row["highest"], frozenset(row["ahead"]), row["restarts"])
    return Subscription(
        row["name"],
        row["ours"],
        row["remote_id"],
        None if row["wanted"] is None else bytes(row["wanted"]),
        row["status"],
        row["ends_at"],
        numbers,
        row["gap_since"],
        row["asked_at"],
        row["gaps"],
        row["notified_at"],
        row["looked_at"],
        row["failures"],
        row["last_error_code"],
    )


def all_of(tx: Tx, scope: Scope) -> list[Subscription]:
    """The subscriptions of a source, by name."""
    found = rows(
        tx,
        f"SELECT {_COLUMNS} FROM push_subscription WHERE workspace_id = :ws AND data_source_id = :source ORDER BY name",
        **scope.bound,
    )
    return [_read(row) for row in found]


def held(tx: Tx, scope: Scope, *, remote_id: str | None = None, name: str | None = None) -> Subscription | None:
    """One by the server's id of it or by its name, locked until the transaction ends."""
    row = one(
        tx,
        f"SELECT {_COLUMNS} FROM push_subscription WHERE workspace_id = :ws AND data_source_id = :source"
        " AND (remote_id = :remote OR name = :name) ORDER BY ours DESC LIMIT 1 FOR UPDATE",
        remote=remote_id,
        name=name,
        **scope.bound,
    )
    return None if row is None else _read(row)


def add(tx: Tx, scope: Scope, name: str, *, ours: bool, remote_id: str | None = None) -> None:
    """Make a row for a subscription, unless there is one."""
    execute(
        tx,
        "INSERT INTO push_subscription (workspace_id, data_source_id, name, ours, remote_id)"
        " VALUES (:ws, :source, :name, :ours, :remote) ON CONFLICT DO NOTHING",
        name=name,
        ours=ours,
        remote=remote_id,
        **scope.bound,
    )


def slug(tx: Tx, scope: Scope) -> str:
    """The workspace's slug, as it stands in addresses."""
    row = one(tx, "SELECT slug FROM workspace WHERE workspace_id = :ws", ws=scope.workspace_id)
    return "" if row is None else str(row["slug"])


def drop_stranger(tx: Tx, scope: Scope, remote_id: str) -> None:
    """What was heard of through a subscription before we knew that it is ours."""
    execute(
        tx,
        "DELETE FROM push_subscription WHERE workspace_id = :ws AND data_source_id = :source AND NOT ours"
        " AND remote_id = :remote",
        remote=remote_id,
        **scope.bound,
    )


def drop(tx: Tx, scope: Scope, name: str) -> None:
    """It is not kept any more."""
    execute(
        tx,
        "DELETE FROM push_subscription WHERE workspace_id = :ws AND data_source_id = :source AND name = :name",
        name=name,
        **scope.bound,
    )


def count(tx: Tx, scope: Scope, name: str, numbers: Numbers, now: datetime, *, caught_up: bool = False) -> None:
    """What is known of its events. ``caught_up``: a gap was closed in another way than by its own numbers."""
    _set(
        tx,
        scope,
        name,
        "numbered = :numbered, contiguous = :contiguous, highest = :highest, ahead = :ahead, restarts = :restarts,"
        " gap_since = CASE WHEN :gap THEN coalesce(gap_since, :now) END,"
        " asked_at = CASE WHEN :gap THEN asked_at END, gaps = gaps + :caught",
        numbered=numbers.numbered,
        contiguous=numbers.contiguous,
        highest=numbers.highest,
        ahead=sorted(numbers.ahead),
        restarts=numbers.restarts,
        gap=numbers.gap,
        caught=int(caught_up),
        now=now,
    )


def notified(tx: Tx, scope: Scope, name: str, status: str | None, now: datetime) -> None:
    """A delivery came through it."""
    _set(tx, scope, name, "notified_at = :now, status = coalesce(:status, status)", now=now, status=status)


def asked(tx: Tx, scope: Scope, name: str, now: datetime) -> None:
    """The server was asked for the events that are missing."""
    _set(tx, scope, name, "asked_at = :now", now=now)


def looked(tx: Tx, scope: Scope, name: str, now: datetime, status: str | None = None) -> None:
    """The server was asked how it is."""
    _set(
        tx, scope, name, "looked_at = :now, status = coalesce(:status, status),"
        " failures = CASE WHEN :status IN ('requested', 'error', 'off') THEN failures ELSE 0 END,"
        " last_error_code = CASE WHEN :status IN ('requested', 'error', 'off') THEN last_error_code END",
        now=now, status=status,
    )  # fmt: skip


def kept(tx: Tx, scope: Scope, name: str, found: Kept, wanted: bytes, ends_at: datetime, now: datetime) -> None:
    """It was created or renewed. One under another id begins to count anew; whether it works is seen later."""
    _set(
        tx,
        scope,
        name,
        "numbered = numbered AND remote_id IS NOT DISTINCT FROM :remote,"
        " contiguous = CASE WHEN remote_id IS NOT DISTINCT FROM :remote THEN contiguous ELSE 0 END,"
        " highest = CASE WHEN remote_id IS NOT DISTINCT FROM :remote THEN highest ELSE 0 END,"
        " ahead = CASE WHEN remote_id IS NOT DISTINCT FROM :remote THEN ahead ELSE '{}' END,"
        " gap_since = CASE WHEN remote_id IS NOT DISTINCT FROM :remote THEN gap_since END,"
        " remote_id = :remote, wanted = :wanted, status = :status, ends_at = :ends, looked_at = :now",
        remote=found.remote_id,
        wanted=wanted,
        status=found.status,
        ends=found.until or ends_at,
        now=now,
    )


def lost(tx: Tx, scope: Scope, name: str) -> None:
    """The server does not have it any more."""
    _set(tx, scope, name, "remote_id = NULL, wanted = NULL, status = 'none', ends_at = NULL")


def failed(tx: Tx, scope: Scope, name: str, code: str, now: datetime) -> None:
    """It could not be kept."""
    _set(tx, scope, name, "failures = failures + 1, last_error_code = :code, looked_at = :now", code=code, now=now)


def _set(tx: Tx, scope: Scope, name: str, what: str, **bound: Any) -> None:
    execute(
        tx,
        f"UPDATE push_subscription SET {what} WHERE workspace_id = :ws AND data_source_id = :source AND name = :name",
        name=name,
        **bound,
        **scope.bound,
    )


def take_turn(tx: Tx, scope: Scope, *, now: datetime, until: datetime) -> bool:
    """Take the lease of keeping a source's subscriptions, when it is due; whether it is ours."""
    execute(
        tx,
        "INSERT INTO push_inbox (workspace_id, data_source_id, keep_due_at) VALUES (:ws, :source, :now)"
        " ON CONFLICT DO NOTHING",
        now=now,
        **scope.bound,
    )
    taken = execute(
        tx,
        "UPDATE push_inbox SET keep_until = :until WHERE workspace_id = :ws AND data_source_id = :source"
        " AND keep_due_at <= :now AND (keep_until IS NULL OR keep_until <= :now)",
        now=now,
        until=until,
        **scope.bound,
    )
    return taken == 1


def end_turn(tx: Tx, scope: Scope, due_at: datetime) -> None:
    """Give it back, and say when to look again."""
    execute(
        tx,
        "UPDATE push_inbox SET keep_until = NULL, keep_due_at = :due WHERE workspace_id = :ws"
        " AND data_source_id = :source",
        due=due_at,
        **scope.bound,
    )


def look_by(tx: Tx, scope: Scope, due_at: datetime) -> None:
    """Look no later than this."""
    execute(
        tx,
        "UPDATE push_inbox SET keep_due_at = least(keep_due_at, :due) WHERE workspace_id = :ws"
        " AND data_source_id = :source",
        due=due_at,
        **scope.bound,
    )


def sources_due(tx: Tx, now: datetime, limit: int) -> list[tuple[str, str]]:
    """In a sweep: workspace and id of sources that are to be looked after, and by nobody are."""
    found = rows(
        tx,
        "SELECT d.workspace_id, d.data_source_id FROM data_source d JOIN workspace w USING (workspace_id)"
        " LEFT JOIN push_inbox i USING (workspace_id, data_source_id) WHERE w.status = 'active'"
        " AND (i.keep_due_at IS NULL OR i.keep_due_at <= :now) AND (i.keep_until IS NULL OR i.keep_until <= :now)"
        " AND ((d.enabled AND d.settings ? 'push')"
        " OR EXISTS (SELECT 1 FROM push_subscription s"
        "  WHERE s.workspace_id = d.workspace_id AND s.data_source_id = d.data_source_id)) LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [(row["workspace_id"], row["data_source_id"]) for row in found]


def shown(tx: Tx, scope: Scope) -> Sequence[Row]:
    """For people: how each subscription is."""
    return rows(
        tx,
        "SELECT name, ours, remote_id, status, ends_at, notified_at, highest AS events,"
        " highest - contiguous AS missing, gaps, restarts, failures, last_error_code FROM push_subscription"
        " WHERE workspace_id = :ws AND data_source_id = :source ORDER BY name",
        **scope.bound,
    )
