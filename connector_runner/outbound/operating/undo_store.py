"""SQL of undoing: the writes that may be undone, the requests, and what is held back afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Row, Tx, execute, id_array, one, rows
from connector_runner.kernel import exact_json
from connector_runner.outbound.operating.inverse import public_piece

UNDONE: Final = "undone"
"""A person took this value back: it goes again when it is another, the mapping is, or a person lets it."""

MARK: Final = "undo/"
"""What the mapping version of an inverse write begins with; the id of its command follows."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which writes: by the mapping that made them, a window of time, a sink, an entity. At least one is named.

    ``mapping`` is a whole version, or the beginning of one up to its ``@`` or ``+``.
    """

    mapping: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sink: str | None = None
    entity_id: str | None = None


MAPPING_IS = (
    "(CAST(:mapping AS text) IS NULL OR w.mapping_version = :mapping"
    " OR starts_with(w.mapping_version, :mapping || '@') OR starts_with(w.mapping_version, :mapping || '+'))"
)


def landed(tx: Tx, workspace_id: str, chosen: Selection, limit: int) -> list[Row]:
    """Writes that landed, by lane and the oldest first; not those that were undone, or that undid.

    A write whose outcome is the last word on its intent counts once.
    """
    return rows(
        tx,
        "SELECT w.lane_id, w.sink_id, w.entity_id, w.intent_id, min(w.operation) AS operation,"
        " min(w.mapping_version) AS mapping_version, min(w.written_at) AS written_at, d.name AS sink"
        " FROM write_log w JOIN data_source d ON d.workspace_id = w.workspace_id AND d.data_source_id = w.sink_id"
        " WHERE w.workspace_id = :ws AND w.phase = 'outcome' AND w.outcome = 'landed'"
        f" AND NOT starts_with(coalesce(w.mapping_version, ''), '{MARK}') AND {MAPPING_IS}"
        " AND (CAST(:since AS timestamptz) IS NULL OR w.written_at >= :since)"
        " AND (CAST(:until AS timestamptz) IS NULL OR w.written_at < :until)"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink)"
        " AND (CAST(:entity AS uuid) IS NULL OR w.entity_id = CAST(:entity AS uuid))"
        " AND NOT EXISTS (SELECT 1 FROM undo_request u WHERE u.workspace_id = w.workspace_id"
        "  AND u.lane_id = w.lane_id AND u.status IN ('open', 'undone') AND w.intent_id = ANY(u.intents))"
        " GROUP BY w.lane_id, w.sink_id, w.entity_id, w.intent_id, d.name"
        " ORDER BY w.lane_id, min(w.written_at) LIMIT :limit",
        ws=workspace_id,
        mapping=chosen.mapping,
        since=chosen.since,
        until=chosen.until,
        sink=chosen.sink,
        entity=chosen.entity_id,
        limit=limit,
    )


def sealed_parts(tx: Tx, lane_id: str, intent_ids: Sequence[str]) -> dict[str, dict[str, Row]]:
    """Of each intent its own entry and that of its landing: intent -> phase -> (write_id, sealed, written_at)."""
    found = rows(
        tx,
        "SELECT intent_id, phase, write_id, sealed, written_at FROM write_log WHERE lane_id = :lane"
        " AND intent_id = ANY(CAST(:ids AS uuid[])) AND (phase = 'intent' OR outcome = 'landed') ORDER BY written_at",
        lane=lane_id,
        ids=id_array(intent_ids),
    )
    parts: dict[str, dict[str, Row]] = {}
    for row in found:
        parts.setdefault(row["intent_id"], {})[row["phase"]] = row
    return parts


def sealed_entries(tx: Tx, lane_id: str, intent_id: str) -> dict[str, Row]:
    """Everything that was logged of an intent: its own entry as ``intent``, the others by the id of theirs."""
    found = rows(
        tx,
        "SELECT write_id, phase, sealed FROM write_log WHERE lane_id = :lane AND intent_id = :intent",
        lane=lane_id,
        intent=intent_id,
    )
    return {"intent" if row["phase"] == "intent" else row["write_id"]: row for row in found}


def landed_before(tx: Tx, lane_id: str, moment: datetime, but: Sequence[str], limit: int = 20) -> list[str]:
    """Intents of a lane that landed before ``moment``, the latest first, less those in ``but`` and those undone."""
    found = rows(
        tx,
        "SELECT intent_id FROM write_log w WHERE lane_id = :lane AND phase = 'outcome' AND outcome = 'landed'"
        " AND written_at < :moment AND NOT intent_id = ANY(CAST(:but AS uuid[]))"
        f" AND NOT starts_with(coalesce(mapping_version, ''), '{MARK}')"
        " AND NOT EXISTS (SELECT 1 FROM undo_request u WHERE u.workspace_id = w.workspace_id"
        "  AND u.lane_id = w.lane_id AND u.status = 'undone' AND w.intent_id = ANY(u.intents))"
        " ORDER BY written_at DESC LIMIT :limit",
        lane=lane_id,
        moment=moment,
        but=id_array(but),
        limit=limit,
    )
    return [row["intent_id"] for row in found]


def latest_landed(tx: Tx, lane_id: str) -> str | None:
    """The intent of a lane that landed last, whatever it was."""
    row = one(
        tx,
        "SELECT intent_id FROM write_log WHERE lane_id = :lane AND phase = 'outcome' AND outcome = 'landed'"
        " ORDER BY written_at DESC LIMIT 1",
        lane=lane_id,
    )
    return None if row is None else str(row["intent_id"])


def request(tx: Tx, workspace_id: str, *, undo_id: str, lane: Row, intent_ids: Sequence[str], actor: str) -> bool:
    """Ask a lane to undo writes of its own, with those that lie beneath, and make it due; False when it is asked
    already.

    Where something is under way (a lease, an unknown outcome, a pause) the lane comes to it afterwards.
    """
    added = execute(
        tx,
        "INSERT INTO undo_request (workspace_id, lane_id, undo_id, sink_id, entity_id, intents, actor)"
        " VALUES (:ws, :lane, :undo, :sink, :entity, CAST(:intents AS uuid[]), :actor)"
        " ON CONFLICT (workspace_id, lane_id) WHERE status = 'open' DO NOTHING",
        ws=workspace_id,
        lane=lane["lane_id"],
        undo=undo_id,
        sink=lane["sink_id"],
        entity=lane["entity_id"],
        intents=id_array([*intent_ids, *beneath(tx, lane["lane_id"], intent_ids)]),
        actor=actor,
    )
    if added:
        wake(tx, workspace_id, lane["lane_id"])
    return added == 1


def beneath(tx: Tx, lane_id: str, intent_ids: Sequence[str]) -> list[str]:
    """Intents of a lane that were to be undone, and were not wholly, when these had been written over them already.

    To undo these alone would bring back what those wrote.
    """
    found = rows(
        tx,
        "SELECT DISTINCT w.intent_id FROM undo_request u CROSS JOIN LATERAL unnest(u.intents) i(id)"
        " JOIN write_log w ON w.workspace_id = u.workspace_id AND w.lane_id = u.lane_id AND w.intent_id = i.id"
        "  AND w.phase = 'outcome' AND w.outcome = 'landed' AND w.operation = 'update'"
        " WHERE u.lane_id = :lane AND u.status <> 'open' AND u.skipped <> '[]' AND i.id <> ALL(CAST(:ids AS uuid[]))"
        "  AND EXISTS (SELECT 1 FROM write_log n WHERE n.workspace_id = u.workspace_id AND n.lane_id = u.lane_id"
        "   AND n.intent_id = ANY(CAST(:ids AS uuid[])) AND n.phase = 'outcome' AND n.outcome = 'landed'"
        "   AND n.written_at > w.written_at AND n.written_at < u.requested_at)",
        lane=lane_id,
        ids=id_array(intent_ids),
    )
    return [row["intent_id"] for row in found]


def wake(tx: Tx, workspace_id: str, lane_id: str) -> None:
    """Have a lane planned anew as soon as nothing is under way there."""
    execute(
        tx,
        "UPDATE sync_lane l SET desired_revision = desired_revision + 1, updated_at = clock_timestamp(),"
        " due_at = CASE WHEN state IN ('idle', 'ready', 'waiting', 'quarantined') THEN clock_timestamp()"
        "  ELSE due_at END,"
        " attempts = CASE WHEN state = 'quarantined' THEN 0 ELSE attempts END,"
        " state = CASE WHEN state NOT IN ('idle', 'ready', 'waiting', 'quarantined') THEN state"
        "  WHEN EXISTS (SELECT 1 FROM open_intent i WHERE i.workspace_id = l.workspace_id AND i.lane_id = l.lane_id)"
        "  THEN 'unknown' ELSE 'ready' END"
        " WHERE workspace_id = :ws AND lane_id = :lane",
        ws=workspace_id,
        lane=lane_id,
    )


def plan_again(tx: Tx, workspace_id: str, lane_id: str) -> None:
    """Whoever holds the lane gives it back ready, not idle."""
    execute(
        tx,
        "UPDATE sync_lane SET desired_revision = desired_revision + 1 WHERE workspace_id = :ws AND lane_id = :lane",
        ws=workspace_id,
        lane=lane_id,
    )


def open_request(tx: Tx, lane_id: str) -> Row | None:
    """What a lane is asked to undo now."""
    return one(
        tx,
        "SELECT undo_id, intents, actor, requested_at FROM undo_request WHERE lane_id = :lane AND status = 'open'",
        lane=lane_id,
    )


def settle(
    tx: Tx, workspace_id: str, lane_id: str, undo_id: str, *, status: str, pieces: int, skipped: Mapping[str, str]
) -> bool:
    """Close a request; False when it was closed before."""
    return (
        execute(
            tx,
            "UPDATE undo_request SET status = :status, pieces = :pieces, skipped = CAST(:skipped AS jsonb),"
            " settled_at = clock_timestamp()"
            " WHERE workspace_id = :ws AND lane_id = :lane AND undo_id = :undo AND status = 'open'",
            ws=workspace_id,
            lane=lane_id,
            undo=undo_id,
            status=status,
            pieces=pieces,
            skipped=exact_json.dumps(
                [{"piece": public_piece(name), "code": code} for name, code in sorted(skipped.items())]
            ),
        )
        == 1
    )


def requests(tx: Tx, workspace_id: str, undo_id: str) -> list[Row]:
    """How a command to undo stands, lane by lane."""
    return rows(
        tx,
        "SELECT u.lane_id, d.name AS sink, u.entity_id, u.status, u.pieces, u.skipped, l.state, l.reason, l.sink_ref"
        " FROM undo_request u"
        " JOIN data_source d ON d.workspace_id = u.workspace_id AND d.data_source_id = u.sink_id"
        " JOIN sync_lane l ON l.workspace_id = u.workspace_id AND l.lane_id = u.lane_id"
        " WHERE u.workspace_id = :ws AND u.undo_id = :undo ORDER BY d.name, u.lane_id",
        ws=workspace_id,
        undo=undo_id,
    )


def hold_back(tx: Tx, workspace_id: str, lane_id: str, undo_id: str, values: Sequence[tuple[str, bytes, str]]) -> None:
    """Keep values of a lane from going again: (atom, digest of the value, mapping version)."""
    for atom, digest, version in sorted(set(values)):
        execute(
            tx,
            "INSERT INTO held_back (workspace_id, lane_id, atom, value_digest, mapping_version, undo_id)"
            " VALUES (:ws, :lane, :atom, :digest, :version, :undo) ON CONFLICT DO NOTHING",
            ws=workspace_id,
            lane=lane_id,
            atom=atom,
            digest=digest,
            version=version,
            undo=undo_id,
        )


def held_back(tx: Tx, lane_id: str, mapping_version: str) -> dict[tuple[str, bytes], str]:
    """What of a lane must not go again under a mapping version: (atom, digest of a value) -> ``undone``."""
    found = rows(
        tx,
        "SELECT atom, value_digest FROM held_back WHERE lane_id = :lane AND mapping_version = :version",
        lane=lane_id,
        version=mapping_version,
    )
    return {(row["atom"], bytes(row["value_digest"])): UNDONE for row in found}


def let_go(tx: Tx, workspace_id: str, *, lane_ids: Sequence[str] | None, sink: str | None) -> list[Row]:
    """Let everything that is held back go again, on lanes that are named or on all of a sink: (lane, entity)."""
    return rows(
        tx,
        "WITH freed AS (DELETE FROM held_back h USING sync_lane l, data_source d WHERE h.workspace_id = :ws"
        " AND l.workspace_id = h.workspace_id AND l.lane_id = h.lane_id"
        " AND d.workspace_id = l.workspace_id AND d.data_source_id = l.sink_id"
        " AND (CAST(:sink AS text) IS NULL OR d.name = :sink)"
        " AND (CAST(:ids AS uuid[]) IS NULL OR h.lane_id = ANY(CAST(:ids AS uuid[])))"
        " RETURNING l.lane_id, l.entity_id) SELECT DISTINCT lane_id, entity_id FROM freed ORDER BY lane_id",
        ws=workspace_id,
        sink=sink,
        ids=None if lane_ids is None else id_array(lane_ids),
    )


def facts_of(tx: Tx, event_ids: Sequence[str]) -> dict[str, Row]:
    """Facts of events, by id."""
    found = rows(tx, "SELECT id, facts FROM event WHERE id = ANY(CAST(:ids AS uuid[]))", ids=id_array(event_ids))
    return {row["id"]: row["facts"] for row in found}
