"""SQL of open intents and of the write log. Quiet periods are on the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.infra.database import Row, Tx, execute, gather, hot, id_array, one, rows
from connector_runner.outbound.lanes.lane import Lane

_OPEN: Final = hot(
    "INSERT INTO open_intent (workspace_id, lane_id, sink_id, intent_id, fence, operation, idempotency_key, body_hash,"
    " precondition, resolve_after) SELECT i.ws, i.lane, i.sink, i.intent, i.fence, i.operation, i.key, i.hash,"
    " i.precondition, clock_timestamp() + i.quiet * interval '1 second' FROM unnest(CAST(:ws AS uuid[]),"
    " CAST(:lane AS uuid[]), CAST(:sink AS uuid[]), CAST(:intent AS uuid[]), CAST(:fence AS bigint[]),"
    " CAST(:operation AS text[]), CAST(:key AS text[]), CAST(:hash AS bytea[]), CAST(:precondition AS text[]),"
    " CAST(:quiet AS float8[]))"
    " i(ws, lane, sink, intent, fence, operation, key, hash, precondition, quiet)"
)
_LOG: Final = hot(
    "INSERT INTO write_log (workspace_id, write_id, sink_id, lane_id, entity_id, intent_id, phase, fence, attempt,"
    " operation, idempotency_key, body_hash, precondition, outcome, http_status, code, sink_ref, sink_etag,"
    " mapping_version, causes, sealed) SELECT w.ws, w.write, w.sink, w.lane, w.entity, w.intent, w.phase, w.fence,"
    " w.attempt, w.operation, w.key, w.hash, w.precondition, w.outcome, w.status, w.code, w.ref, w.etag, w.mapping,"
    " CAST(w.causes AS uuid[]), w.sealed FROM unnest(CAST(:ws AS uuid[]), CAST(:write AS uuid[]),"
    " CAST(:sink AS uuid[]), CAST(:lane AS uuid[]), CAST(:entity AS uuid[]), CAST(:intent AS uuid[]),"
    " CAST(:phase AS text[]), CAST(:fence AS bigint[]), CAST(:attempt AS int[]), CAST(:operation AS text[]),"
    " CAST(:key AS text[]), CAST(:hash AS bytea[]), CAST(:precondition AS text[]), CAST(:outcome AS text[]),"
    " CAST(:status AS int[]), CAST(:code AS text[]), CAST(:ref AS text[]), CAST(:etag AS text[]),"
    " CAST(:mapping AS text[]), CAST(:causes AS text[]), CAST(:sealed AS bytea[]))"
    " w(ws, write, sink, lane, entity, intent, phase, fence, attempt, operation, key, hash, precondition, outcome,"
    " status, code, ref, etag, mapping, causes, sealed)"
)


def insert_intent(
    tx: Tx,
    lane: Lane,
    *,
    intent_id: str,
    operation: str,
    key: str,
    body_hash: bytes,
    precondition: str | None,
    quiet_period_s: float,
) -> None:
    """Open an intent; the primary key refuses a second one on the same lane, by the COMMIT at the latest."""
    gather(
        tx,
        _OPEN,
        ws=lane.workspace_id,
        lane=lane.lane_id,
        sink=lane.sink_id,
        intent=intent_id,
        fence=lane.fence,
        operation=operation,
        key=key,
        hash=body_hash,
        precondition=precondition,
        quiet=quiet_period_s,
    )


_CLOSE: Final = hot("DELETE FROM open_intent WHERE lane_id = :lane AND intent_id = :intent")


_CLOSE_ALL: Final = hot(
    # By key, one by one.
    "DELETE FROM open_intent WHERE lane_id = ANY(CAST(:lanes AS uuid[])) AND intent_id = ANY(CAST(:intents AS uuid[]))"
)


def close_intent(tx: Tx, lane: Lane, intent_id: str) -> bool:
    """Close an intent whose outcome is known; False when it was closed before."""
    return execute(tx, _CLOSE, lane=lane.lane_id, intent=intent_id) == 1


def close_unasked(tx: Tx, lane: Lane, intent_id: str) -> None:
    """The same, along with the next statement and others that are closed."""
    gather(tx, _CLOSE_ALL, lanes=lane.lane_id, intents=intent_id)


def resolve_later(tx: Tx, lane: Lane, intent_id: str, quiet_period_s: float) -> None:
    """The answer was lost now: the quiet period runs from here."""
    execute(
        tx,
        "UPDATE open_intent SET resolve_after = clock_timestamp() + :quiet * interval '1 second'"
        " WHERE lane_id = :lane AND intent_id = :intent",
        quiet=quiet_period_s,
        lane=lane.lane_id,
        intent=intent_id,
    )


def open_intent_of(tx: Tx, lane_id: str) -> Row | None:
    """The intent that is open on a lane."""
    return one(
        tx,
        "SELECT intent_id, greatest(extract(epoch FROM resolve_after - clock_timestamp()), 0)::float8 AS early_s"
        " FROM open_intent WHERE lane_id = :lane",
        lane=lane_id,
    )


def insert_write(
    tx: Tx,
    lane: Lane,
    *,
    write_id: str,
    intent_id: str,
    phase: str,
    operation: str,
    key: str,
    body_hash: bytes,
    precondition: str | None,
    mapping_version: str,
    causes: Sequence[str],
    sealed: bytes | None,
    outcome: str | None = None,
    code: str | None = None,
    http_status: int | None = None,
    sink_ref: str | None = None,
    sink_etag: str | None = None,
) -> None:
    """Append to the write log."""
    gather(
        tx,
        _LOG,
        ws=lane.workspace_id,
        write=write_id,
        sink=lane.sink_id,
        lane=lane.lane_id,
        entity=lane.entity_id,
        intent=intent_id,
        phase=phase,
        fence=lane.fence,
        attempt=lane.attempts,
        operation=operation,
        key=key,
        hash=body_hash,
        precondition=precondition,
        outcome=outcome,
        status=http_status,
        code=code,
        ref=sink_ref,
        etag=sink_etag,
        mapping=mapping_version,
        causes=id_array(causes),
        sealed=sealed,
    )


def creates_of(tx: Tx, lane_id: str, operation: str) -> list[Row]:
    """The write log's entries of intents of a kind, the latest first."""
    return rows(
        tx,
        "SELECT intent_id, write_id, sealed FROM write_log WHERE lane_id = :lane AND operation = :operation"
        " AND phase = 'intent' AND sealed IS NOT NULL ORDER BY written_at DESC, write_id DESC LIMIT 20",
        lane=lane_id,
        operation=operation,
    )


def answered(tx: Tx, lane_id: str, intent_id: str) -> list[tuple[int | None, str]]:
    """Status and code of the answers to an intent that left its outcome unknown."""
    found = rows(
        tx,
        "SELECT http_status, code FROM write_log WHERE lane_id = :lane AND intent_id = :intent"
        " AND phase = 'outcome' AND outcome = 'unknown'",
        lane=lane_id,
        intent=intent_id,
    )
    return [(row["http_status"], row["code"] or "") for row in found]


def intent_write(tx: Tx, lane_id: str, intent_id: str) -> Row | None:
    """The write log's entry of an intent."""
    return one(
        tx,
        "SELECT write_id, sealed FROM write_log WHERE lane_id = :lane AND intent_id = :intent AND phase = 'intent'",
        lane=lane_id,
        intent=intent_id,
    )
