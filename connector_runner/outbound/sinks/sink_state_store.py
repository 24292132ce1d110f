"""SQL of a sink's state: its pause, its breaker, when to wake for it."""

from __future__ import annotations

from datetime import datetime

from connector_runner.infra.database import Row, Tx, execute, one

_SINK = "workspace_id = :ws AND data_source_id = :sink"


def pace_row(tx: Tx, workspace_id: str, sink_id: str, *, lock: bool = False) -> Row | None:
    """What decides whether a sink may be written to, with the database's clock."""
    return one(
        tx,
        "SELECT sink_enabled AND enabled AS open, sink_paused_reason AS paused, sink_breaker_failures AS failures,"
        " sink_breaker_recent AS recent, sink_breaker_opens AS opens,"
        " sink_breaker_until AS until, sink_next_wake_at AS wake_at,"
        " settings->'sink'->'windows' AS windows, settings->'sink'->'breaker' AS breaker, clock_timestamp() AS now"
        f" FROM data_source WHERE {_SINK}{' FOR NO KEY UPDATE' if lock else ''}",
        ws=workspace_id,
        sink=sink_id,
    )


def set_pause(tx: Tx, workspace_id: str, sink_id: str, reason: str, retry_in_s: float | None) -> None:
    """Pause a sink, for good or for a time."""
    execute(
        tx,
        "UPDATE data_source SET sink_paused_reason = :reason,"
        " sink_next_wake_at = clock_timestamp() + :wait * interval '1 second'"
        f" WHERE {_SINK}",
        reason=reason,
        wait=retry_in_s,
        ws=workspace_id,
        sink=sink_id,
    )


def end_pause(tx: Tx, workspace_id: str, sink_id: str) -> None:
    """No pause any longer, of whoever's."""
    execute(
        tx,
        "UPDATE data_source SET sink_paused_reason = NULL, sink_next_wake_at = NULL, sink_pause_until = NULL"
        f" WHERE {_SINK} AND (sink_paused_reason IS NOT NULL OR sink_next_wake_at IS NOT NULL"
        "  OR sink_pause_until IS NOT NULL)",
        ws=workspace_id,
        sink=sink_id,
    )


def wake_refused(tx: Tx, workspace_id: str, sink_id: str) -> None:
    """Lanes whose credential was refused are due at once."""
    execute(
        tx,
        "UPDATE sync_lane SET due_at = clock_timestamp() WHERE workspace_id = :ws AND sink_id = :sink"
        " AND reason = 'auth' AND state IN ('ready', 'unknown') AND due_at > clock_timestamp()",
        ws=workspace_id,
        sink=sink_id,
    )


def set_breaker(
    tx: Tx,
    workspace_id: str,
    sink_id: str,
    *,
    failures: int,
    recent: int,
    opens: int,
    until: float | None,
) -> None:
    """Keep a breaker; ``until`` is an epoch second."""
    execute(
        tx,
        "UPDATE data_source SET sink_breaker_failures = :failures, sink_breaker_recent = :recent,"
        " sink_breaker_opens = :opens, sink_breaker_until = to_timestamp(:until)"
        f" WHERE {_SINK}",
        failures=failures,
        recent=recent,
        opens=opens,
        until=until,
        ws=workspace_id,
        sink=sink_id,
    )


def set_wake(tx: Tx, workspace_id: str, sink_id: str, at: datetime) -> None:
    """The sweep need not look at a sink before ``at``, unless it is paused, which has a time of its own."""
    execute(
        tx,
        f"UPDATE data_source SET sink_next_wake_at = :at WHERE {_SINK} AND sink_paused_reason IS NULL",
        at=at,
        ws=workspace_id,
        sink=sink_id,
    )
