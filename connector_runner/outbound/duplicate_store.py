"""SQL of possible duplicates: what a person decided about one."""

from __future__ import annotations

from dataclasses import dataclass

from connector_runner.infra.database import Tx, execute, hot, one


@dataclass(frozen=True, slots=True)
class Decision:
    """``ref`` is the record of the sink to go on with; None: it is another's, create one."""

    ref: str | None


def decision(tx: Tx, lane_id: str) -> Decision | None:
    """What was decided about a lane; None when nobody did."""
    found = one(tx, hot("SELECT sink_ref FROM duplicate_decision WHERE lane_id = :lane"), lane=lane_id)
    return None if found is None else Decision(found["sink_ref"])


def decide(tx: Tx, workspace_id: str, lane_id: str, ref: str | None, actor: str) -> None:
    """Keep what a person decided, and have the lane planned anew."""
    execute(
        tx,
        "INSERT INTO duplicate_decision (workspace_id, lane_id, sink_ref, actor) VALUES (:ws, :lane, :ref, :actor)"
        " ON CONFLICT (workspace_id, lane_id) DO UPDATE SET sink_ref = excluded.sink_ref, actor = excluded.actor,"
        " decided_at = clock_timestamp()",
        ws=workspace_id,
        lane=lane_id,
        ref=ref,
        actor=actor,
    )
    execute(
        tx,
        "UPDATE sync_lane SET state = 'ready', reason = NULL, reason_detail = NULL, attempts = 0,"
        " due_at = clock_timestamp(), updated_at = clock_timestamp()"
        " WHERE lane_id = :lane AND state = 'quarantined'",
        lane=lane_id,
    )


def go_on_with(tx: Tx, lane_id: str, ref: str) -> None:
    """``Type/id`` is the lane's record in its sink, unless it has one."""
    execute(
        tx,
        "UPDATE sync_lane SET sink_ref = coalesce(sink_ref, :ref), updated_at = clock_timestamp()"
        " WHERE lane_id = :lane",
        lane=lane_id,
        ref=ref,
    )
