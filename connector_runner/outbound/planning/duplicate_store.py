"""SQL of possible duplicates: what a person decided about one."""

from __future__ import annotations

from dataclasses import dataclass

from connector_runner.infra.database import Tx, execute, hot, one


@dataclass(frozen=True, slots=True)
class Decision:
    """``ref`` is the record of the sink to go on with; None: it is another's, create one."""

    ref: str | None


def standing(tx: Tx, entity_id: str, lane_id: str) -> tuple[str | None, Decision | None]:
    """The canonical id of an entity, and what was decided about its lane."""
    found = one(
        tx,
        hot(
            "SELECT e.canonical_id, d.lane_id, d.sink_ref FROM entity e LEFT JOIN duplicate_decision d"
            " ON d.workspace_id = e.workspace_id AND d.lane_id = :lane WHERE e.entity_id ="
            " coalesce((SELECT entity_id FROM adopted_record WHERE record_id = :id), CAST(:id AS uuid))"
        ),
        id=entity_id,
        lane=lane_id,
    )
    if found is None:
        return None, None
    return found["canonical_id"], None if found["lane_id"] is None else Decision(found["sink_ref"])


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
