"""SQL of what is remembered of a sink's pace: pauses, learned rates, quotas."""

from __future__ import annotations

from connector_runner.infra.database import Row, Tx, execute, one

_SINK = "workspace_id = :ws AND data_source_id = :sink"


def learned(tx: Tx, workspace_id: str, sink_id: str) -> Row | None:
    """The pause that the sink asked for and its learned rate."""
    return one(
        tx,
        "SELECT greatest(coalesce(extract(epoch FROM sink_pause_until - clock_timestamp()), 0), 0)::float8 AS pause_s,"
        " sink_rate_now AS rate,"
        " coalesce(extract(epoch FROM clock_timestamp() - sink_rate_at), 0)::float8 AS rate_age_s"
        f" FROM data_source WHERE {_SINK}",
        ws=workspace_id,
        sink=sink_id,
    )


def keep_learned(tx: Tx, workspace_id: str, sink_id: str, pause_s: float, rate: float | None) -> None:
    """Keep the later end of pauses, and a rate that was learned now."""
    execute(
        tx,
        "UPDATE data_source SET sink_pause_until ="
        "  greatest(sink_pause_until, clock_timestamp() + :pause * interval '1 second'),"
        " sink_rate_now = coalesce(:rate, sink_rate_now),"
        " sink_rate_at = CASE WHEN CAST(:rate AS float8) IS NULL THEN sink_rate_at ELSE clock_timestamp() END"
        f" WHERE {_SINK}",
        pause=pause_s,
        rate=rate,
        ws=workspace_id,
        sink=sink_id,
    )


def begin_period(tx: Tx, workspace_id: str, sink_id: str, period: str, starts: int, ends: int) -> None:
    """Begin to count a period, unless it was begun: with the writes that were about to be sent in it."""
    execute(
        tx,
        "INSERT INTO sink_quota (workspace_id, sink_id, period, booked, ends_at)"
        " SELECT :ws, :sink, :period, count(*), to_timestamp(:ends) FROM write_log WHERE workspace_id = :ws"
        "  AND sink_id = :sink AND phase = 'intent' AND written_at >= to_timestamp(:starts)"
        "  AND NOT EXISTS (SELECT 1 FROM sink_quota WHERE workspace_id = :ws AND sink_id = :sink AND period = :period)"
        " ON CONFLICT DO NOTHING",
        period=period,
        starts=starts,
        ends=ends,
        ws=workspace_id,
        sink=sink_id,
    )


def lock_booked(tx: Tx, workspace_id: str, sink_id: str, period: str) -> int:
    """What is booked of a period, locked."""
    row = one(
        tx,
        "SELECT booked FROM sink_quota WHERE workspace_id = :ws AND sink_id = :sink AND period = :period FOR UPDATE",
        ws=workspace_id,
        sink=sink_id,
        period=period,
    )
    if row is None:
        raise LookupError("the period was begun in this transaction")
    return int(row["booked"])


def set_booked(tx: Tx, workspace_id: str, sink_id: str, period: str, booked: int) -> None:
    """Book."""
    execute(
        tx,
        "UPDATE sink_quota SET booked = :booked WHERE workspace_id = :ws AND sink_id = :sink AND period = :period",
        booked=booked,
        ws=workspace_id,
        sink=sink_id,
        period=period,
    )


def forget_periods(tx: Tx, workspace_id: str, sink_id: str) -> None:
    """Periods that were over two days ago, by whosever clock."""
    execute(
        tx,
        "DELETE FROM sink_quota WHERE workspace_id = :ws AND sink_id = :sink"
        " AND ends_at < clock_timestamp() - interval '2 days'",
        ws=workspace_id,
        sink=sink_id,
    )


def rest(tx: Tx, workspace_id: str, sink_id: str, wait_s: float) -> None:
    """The sweep need not look before that time, unless it looks later anyway."""
    execute(
        tx,
        "UPDATE data_source SET sink_next_wake_at = clock_timestamp() + :wait * interval '1 second'"
        f" WHERE {_SINK} AND sink_paused_reason IS NULL"
        " AND (sink_next_wake_at IS NULL OR sink_next_wake_at < clock_timestamp())",
        wait=wait_s,
        ws=workspace_id,
        sink=sink_id,
    )
