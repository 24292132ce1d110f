"""SQL of reference data: what landed of one record, and when it was last known to be so."""

from __future__ import annotations

from connector_runner.infra.database import Row, Tx, one


def latest(tx: Tx, workspace_id: str, data_source_id: str, resource_type: str, record_id: str) -> Row | None:
    """The latest version of a record and where its body is.

    ``known_at``: when it landed, or when its type was last read without an error, whichever is later.
    """
    return one(
        tx,
        "SELECT v.deleted, v.raw_id, v.raw_position, greatest(v.seen_at, r.last_ok_at) AS known_at"
        " FROM record_version v LEFT JOIN source_resource r ON r.workspace_id = v.workspace_id"
        "  AND r.data_source_id = :source AND r.resource_type = :type"
        " WHERE v.workspace_id = :ws AND v.record_id = :record"
        " ORDER BY v.era DESC, coalesce(v.order_version, 0) DESC, v.order_at DESC, v.n DESC LIMIT 1",
        ws=workspace_id,
        source=data_source_id,
        type=resource_type,
        record=record_id,
    )
