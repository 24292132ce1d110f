"""SQL of reading a source as a whole: its breaker, and what is remembered of its pace."""

from __future__ import annotations

from datetime import datetime

from connector_runner.infra.database import Row, Tx, execute, one, rows

_SOURCE = "workspace_id = :ws AND data_source_id = :source"


def breaker(tx: Tx, workspace_id: str, data_source_id: str, *, lock: bool = False) -> Row | None:
    """The breaker of a source."""
    return one(
        tx,
        "SELECT read_breaker_failures AS failures, read_breaker_recent AS recent, read_breaker_opens AS opens,"
        f" read_breaker_until AS until FROM data_source WHERE {_SOURCE}"
        f"{' FOR NO KEY UPDATE' if lock else ''}",
        ws=workspace_id,
        source=data_source_id,
    )


def set_breaker(
    tx: Tx,
    workspace_id: str,
    data_source_id: str,
    *,
    failures: int,
    recent: int,
    opens: int,
    until: datetime | None,
) -> None:
    """Keep a breaker."""
    execute(
        tx,
        "UPDATE data_source SET read_breaker_failures = :failures, read_breaker_recent = :recent,"
        f" read_breaker_opens = :opens, read_breaker_until = :until WHERE {_SOURCE}",
        failures=failures,
        recent=recent,
        opens=opens,
        until=until,
        ws=workspace_id,
        source=data_source_id,
    )


def wake_waiting(tx: Tx, workspace_id: str, data_source_id: str, now: datetime, within_s: float) -> int:
    """Let the record types that failed or were put off be tried within so many seconds; how many there are.

    Those that somebody works on at this moment are left out: to wait for them here could be to wait for each other.
    """
    return execute(
        tx,
        "UPDATE source_resource r SET due_at = least(r.due_at, :now + random() * :within * interval '1 second')"
        f" FROM (SELECT workspace_id, data_source_id, resource_type FROM source_resource WHERE {_SOURCE} AND enabled"
        "  AND due_at > :now AND (consecutive_errors > 0 OR put_off) FOR UPDATE SKIP LOCKED) w"
        " WHERE r.workspace_id = w.workspace_id AND r.data_source_id = w.data_source_id"
        " AND r.resource_type = w.resource_type",
        now=now,
        within=within_s,
        ws=workspace_id,
        source=data_source_id,
    )


def due_of(tx: Tx, workspace_id: str, data_source_id: str, now: datetime, *, tolerance: float) -> list[str]:
    """Record types of a source that ``claim`` would give, longest overdue first."""
    found = rows(
        tx,
        "SELECT resource_type FROM source_resource WHERE workspace_id = :ws AND data_source_id = :source AND enabled"
        " AND due_at <= :now + least(cadence_s * :tolerance, 2) * interval '1 second'"
        " AND (lease_until IS NULL OR lease_until <= :now) ORDER BY due_at, resource_type",
        ws=workspace_id,
        source=data_source_id,
        now=now,
        tolerance=tolerance,
    )
    return [row["resource_type"] for row in found]


def learned(tx: Tx, workspace_id: str, data_source_id: str) -> Row | None:
    """The pause that the source asked for and its learned rate."""
    return one(
        tx,
        "SELECT greatest(coalesce(extract(epoch FROM read_pause_until - clock_timestamp()), 0), 0)::float8 AS pause_s,"
        " read_rate_now AS rate,"
        " coalesce(extract(epoch FROM clock_timestamp() - read_rate_at), 0)::float8 AS rate_age_s"
        f" FROM data_source WHERE {_SOURCE}",
        ws=workspace_id,
        source=data_source_id,
    )


def keep_learned(tx: Tx, workspace_id: str, data_source_id: str, pause_s: float, rate: float | None) -> None:
    """Keep the later end of pauses, and a rate that was learned now."""
    execute(
        tx,
        "UPDATE data_source SET read_pause_until ="
        "  greatest(read_pause_until, clock_timestamp() + :pause * interval '1 second'),"
        " read_rate_now = coalesce(:rate, read_rate_now),"
        " read_rate_at = CASE WHEN CAST(:rate AS float8) IS NULL THEN read_rate_at ELSE clock_timestamp() END"
        f" WHERE {_SOURCE}",
        pause=pause_s,
        rate=rate,
        ws=workspace_id,
        source=data_source_id,
    )


def lock_booked(tx: Tx, workspace_id: str, data_source_id: str, period: str, ends: int) -> int:
    """What is booked of a period, locked; periods that were over two days ago are dropped."""
    key = {"ws": workspace_id, "source": data_source_id}
    execute(tx, f"DELETE FROM read_quota WHERE {_SOURCE} AND ends_at < clock_timestamp() - interval '2 days'", **key)
    execute(
        tx,
        "INSERT INTO read_quota (workspace_id, data_source_id, period, booked, ends_at)"
        " VALUES (:ws, :source, :period, 0, to_timestamp(:ends)) ON CONFLICT DO NOTHING",
        period=period,
        ends=ends,
        **key,
    )
    row = one(
        tx, f"SELECT booked FROM read_quota WHERE {_SOURCE} AND period = :period FOR UPDATE", period=period, **key
    )
    if row is None:
        raise LookupError("the period was begun in this transaction")
    return int(row["booked"])


def set_booked(tx: Tx, workspace_id: str, data_source_id: str, period: str, booked: int) -> None:
    """Book."""
    execute(
        tx,
        f"UPDATE read_quota SET booked = :booked WHERE {_SOURCE} AND period = :period",
        booked=booked,
        period=period,
        ws=workspace_id,
        source=data_source_id,
    )
