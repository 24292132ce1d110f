"""SQL of lanes that send every state of an entity in order: how far they are."""

from __future__ import annotations

from connector_runner.infra.database import Tx, execute, one


def sent_upto(tx: Tx, lane_id: str) -> str | None:
    """The last event whose state the sink has; None when it has none."""
    found = one(tx, "SELECT sent_upto FROM sync_lane WHERE lane_id = :lane", lane=lane_id)
    return None if found is None else found["sent_upto"]


def sending(tx: Tx, lane_id: str, *, upto: str, desired_hash: bytes, more: bool) -> None:
    """The state as of event ``upto`` is being sent; it counts once the lane confirms ``desired_hash``.

    ``more``: there are later events, so that the lane is ready again when it landed.
    """
    execute(
        tx,
        "UPDATE sync_lane SET next_upto = :upto, next_hash = :hash, next_more = :more WHERE lane_id = :lane",
        lane=lane_id,
        upto=upto,
        hash=desired_hash,
        more=more,
    )
