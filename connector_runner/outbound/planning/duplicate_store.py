"""SQL of possible duplicates: what a person decided about one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector_runner.infra.database import Tx, execute, hot, id_array, one, rows
from connector_runner.world.store import HOLDER


@dataclass(frozen=True, slots=True)
class Decision:
    """``ref`` is the record of the sink to go on with; None: it is another's, create one."""

    ref: str | None


def name_of(tx: Tx, entity_id: str) -> str | None:
    """The canonical id of an entity, or of the one that adopted its record."""
    found = one(
        tx,
        hot(
            f"SELECT e.canonical_id FROM (SELECT CAST(:id AS uuid) AS id) i CROSS JOIN LATERAL {HOLDER}"
            " CROSS JOIN LATERAL (SELECT canonical_id FROM entity WHERE entity_id = h.id OFFSET 0) e"
        ),
        id=entity_id,
    )
    return None if found is None else str(found["canonical_id"])


def decisions(tx: Tx, lane_ids: Sequence[str]) -> dict[str, Decision]:
    """Lane -> what was decided about it."""
    found = rows(
        tx,
        hot("SELECT lane_id, sink_ref FROM duplicate_decision WHERE lane_id = ANY(CAST(:lanes AS uuid[]))"),
        lanes=id_array(lane_ids),
    )
    return {row["lane_id"]: Decision(row["sink_ref"]) for row in found}


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


def forget_confirmed(tx: Tx, lane_id: str) -> None:
    """What the lane's record was known to hold counts no more: it is read, and compared with nothing."""
    execute(
        tx,
        "UPDATE sync_lane SET last_sent = NULL, sink_etag = NULL, synced_hash = NULL, updated_at = clock_timestamp()"
        " WHERE lane_id = :lane",
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
