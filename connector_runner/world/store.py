"""SQL of the world model, but for the way a page of events goes in (``staging``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.infra.database import Row, Tx, copy_rows, execute, gather, hot, id_array, later, rows
from connector_runner.kernel import exact_json
from connector_runner.world.events import RecordVersion, SentAtom, SentValue, StoredEvent


@dataclass(frozen=True, slots=True)
class EntityRow:
    """What appending needs to know of an entity that exists."""

    entity_id: str
    entity_type: str
    canonical_id: str
    event_count: int


@dataclass(frozen=True, slots=True)
class Projection:
    """The folded outcome of one entity, ready to be stored."""

    entity_id: str
    entity_type: str
    canonical_id: str
    status: str
    state: dict[str, Any]
    provenance: dict[str, Any]
    confidence: float
    event_count: int
    first_seen_at: datetime
    last_event_at: datetime


_FEW = 16


def _for(ids: Sequence[str], sql: str) -> str:
    """For a few ids, as every write needs it, the plan is kept; for many it must suit how many there are."""
    return hot(sql) if len(ids) <= _FEW else sql


def lock_entities(tx: Tx, entity_ids: Sequence[str]) -> dict[str, EntityRow]:
    """Lock the entities that exist among ``entity_ids``, in id order so that two appenders never deadlock."""
    found = rows(
        tx,
        # One by one: for many ids, and while a table is new to it, the planner would read every entity there is.
        _for(
            entity_ids,
            "SELECT e.* FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
            " (SELECT entity_id, entity_type, canonical_id, event_count FROM entity"
            "  WHERE entity_id = i.id FOR UPDATE) e",
        ),
        ids=id_array(sorted(entity_ids)),
    )
    return {row["entity_id"]: EntityRow(**row) for row in found}


HOLDER: Final = (
    "(SELECT coalesce((SELECT entity_id FROM adopted_record WHERE record_id = i.id), i.id) AS id OFFSET 0) h"
)
"""SQL of the id of the entity that a record ``i`` counts for, as ``h``.

Made apart (OFFSET): under row-level security an index finds rows by a plain value only, as ``coalesce`` might tell
somebody of them, and every entity of the workspace would be read instead (decision 23).
"""
_LOCK_HOLDER: Final = hot(
    # One by one, in the order in which they were asked for.
    f"SELECT e.entity_id FROM unnest(CAST(:id AS uuid[])) i(id) CROSS JOIN LATERAL {HOLDER}"
    " CROSS JOIN LATERAL (SELECT entity_id FROM entity WHERE entity_id = h.id FOR UPDATE) e"
)


def lock_holder(tx: Tx, record_id: str) -> None:
    """Lock the entity that a record counts for, if there is one yet, with the next statement."""
    gather(tx, _LOCK_HOLDER, id=record_id)


def states_of(tx: Tx, entity_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The states of those entities that exist."""
    found = rows(
        tx,
        _for(
            entity_ids,
            "SELECT e.* FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
            " (SELECT entity_id, state FROM projection WHERE entity_id = i.id OFFSET 0) e",
        ),
        ids=id_array(entity_ids),
    )
    return {row["entity_id"]: row["state"] for row in found}


def save_projections(tx: Tx, workspace_id: str, projections: Sequence[Projection], now: datetime) -> None:
    """Insert or replace folded states; a revision counts the replacements."""
    execute(
        tx,
        "CREATE TEMPORARY TABLE IF NOT EXISTS projected (entity_id uuid, entity_type text, canonical_id text,"
        " status text, state jsonb, provenance jsonb, confidence double precision, event_count integer,"
        " first_seen_at timestamptz, last_event_at timestamptz) ON COMMIT DELETE ROWS",
    )
    execute(tx, "DELETE FROM projected")
    columns = (
        "entity_id", "entity_type", "canonical_id", "status", "state", "provenance", "confidence", "event_count",
        "first_seen_at", "last_event_at",
    )  # fmt: skip
    copy_rows(
        tx,
        "projected",
        columns,
        (
            (
                p.entity_id, p.entity_type, p.canonical_id, p.status, exact_json.compact(p.state),
                exact_json.compact(p.provenance), p.confidence, p.event_count, p.first_seen_at, p.last_event_at,
            )
            for p in projections
        ),
    )  # fmt: skip
    names = ", ".join(columns)
    execute(
        tx,
        f"INSERT INTO entity (workspace_id, updated_at, {names})"
        f" SELECT :ws, :now, {names} FROM projected ORDER BY entity_id"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET status = excluded.status, state = excluded.state,"
        " made_by = NULL, provenance = excluded.provenance, confidence = excluded.confidence,"
        " event_count = excluded.event_count, last_event_at = excluded.last_event_at,"
        " updated_at = excluded.updated_at, revision = entity.revision + 1",
        ws=workspace_id,
        now=now,
    )


def events_of(tx: Tx, entity_ids: Sequence[str]) -> list[StoredEvent]:
    """Every event of the entities, oldest first, with the entity that each now counts for.

    A record that was adopted by an entity after it had made one of its own brings those events along.
    """
    found = rows(
        tx,
        _for(
            entity_ids,
            "WITH members AS ("
            " SELECT e.entity_id, e.entity_id AS of_id FROM unnest(CAST(:ids AS uuid[])) e(entity_id)"
            " UNION SELECT record_id, entity_id FROM adopted_record WHERE entity_id = ANY(CAST(:ids AS uuid[])))"
            " SELECT ev.id, m.of_id AS entity_id, entity_type, event_type, facts, snapshot, source, source_system,"
            " data_source_id, record_id, record_key, mapping_version, confidence, supersedes, effective_at, as_of,"
            " ingested_at, actor FROM members m CROSS JOIN LATERAL"
            " (SELECT * FROM event WHERE entity_id = m.entity_id OFFSET 0) ev ORDER BY ev.id",
        ),
        ids=id_array(entity_ids),
    )
    return [StoredEvent(**row) for row in found]


_VERSION_SELECT = (
    "SELECT record_id, n, entity_id, data_source_id, version, last_updated, era, order_at, order_version,"
    " content_hash, out_of_order, deleted, direct, seen_at, batch_id, raw_id, raw_position, event_id"
    " FROM record_version"
)


def versions_of(tx: Tx, record_ids: Sequence[str]) -> list[RecordVersion]:
    """Every known version of the records."""
    if not record_ids:
        return []
    found = rows(
        tx, _for(record_ids, _VERSION_SELECT + " WHERE record_id = ANY(CAST(:ids AS uuid[]))"), ids=id_array(record_ids)
    )
    return [RecordVersion(**{**row, "content_hash": bytes(row["content_hash"])}) for row in found]


def sent_values_of(tx: Tx, record_ids: Sequence[str]) -> list[SentValue]:
    """What the records were last sent."""
    if not record_ids:
        return []
    found = rows(tx, _for(record_ids, f"{_SENT_SELECT} FROM sent_value{_OF_RECORDS}"), ids=id_array(record_ids))
    return [_sent(row) for row in found]


def sent_before(tx: Tx, record_ids: Sequence[str]) -> list[SentValue]:
    """What the records were sent earlier than what they were last sent."""
    if not record_ids:
        return []
    return [_sent(row) for row in rows(tx, f"{_SENT_SELECT} FROM sent_before{_OF_RECORDS}", ids=id_array(record_ids))]


_SENT_SELECT = "SELECT record_id, atom, value_digest, origin, sent_at"
_OF_RECORDS = " WHERE record_id = ANY(CAST(:ids AS uuid[]))"


def _sent(row: Row) -> SentValue:
    return SentValue(
        record_id=row["record_id"],
        atom=row["atom"],
        value_digest=bytes(row["value_digest"]),
        event_id=row["origin"]["event_id"],
        source=row["origin"]["source"],
        source_system=row["origin"]["source_system"],
        confidence=float(row["origin"]["confidence"]),
        since=datetime.fromisoformat(row["origin"]["since"]),
        sent_at=row["sent_at"],
    )


_SAVE_SENT: Final = hot(
    # Of one atom that a record was sent twice, the last counts. One by one, by key: joined, and planned while the
    # table was small, this would read all that was ever sent.
    "WITH said AS MATERIALIZED (SELECT a.ws, a.record, a.atom, a.digest, CAST(a.origin AS jsonb) AS origin, a.sent_at,"
    "  lead(n) OVER (PARTITION BY a.record, a.atom ORDER BY n) IS NULL AS last FROM unnest(CAST(:ws AS uuid[]),"
    "  CAST(:record AS uuid[]), CAST(:atom AS text[]), CAST(:digest AS bytea[]), CAST(:origin AS text[]),"
    "  CAST(:sent_at AS timestamptz[])) WITH ORDINALITY a(ws, record, atom, digest, origin, sent_at, n)),"
    " gone AS (INSERT INTO sent_before (workspace_id, record_id, atom, sent_at, value_digest, origin)"
    "  SELECT a.ws, a.record, a.atom, s.sent_at, s.value_digest, s.origin FROM said a CROSS JOIN LATERAL"
    "   (SELECT sent_at, value_digest, origin FROM sent_value WHERE workspace_id = a.ws AND record_id = a.record"
    "    AND atom = a.atom AND (value_digest, origin) IS DISTINCT FROM (a.digest, a.origin) OFFSET 0) s WHERE a.last"
    "  UNION ALL SELECT ws, record, atom, sent_at, digest, origin FROM said WHERE NOT last ON CONFLICT DO NOTHING)"
    " INSERT INTO sent_value (workspace_id, record_id, atom, value_digest, origin, sent_at)"
    " SELECT ws, record, atom, digest, origin, sent_at FROM said WHERE last"
    " ON CONFLICT (workspace_id, record_id, atom) DO UPDATE SET value_digest = excluded.value_digest,"
    " origin = excluded.origin, sent_at = excluded.sent_at"
)


def save_sent(tx: Tx, workspace_id: str, record_id: str, atoms: Iterable[SentAtom], now: datetime) -> None:
    """Keep what a record was sent, as digests, with the next statement.

    The latest per atom counts, and what it takes the place of is kept.
    """
    by_name = {atom.atom: atom for atom in atoms}
    for name in sorted(by_name):
        gather(
            tx,
            _SAVE_SENT,
            ws=workspace_id,
            record=record_id,
            atom=name,
            digest=exact_json.digest(by_name[name].value),
            origin=_origin(by_name[name]),
            sent_at=now.isoformat(),
        )


def _origin(atom: SentAtom) -> str:
    return exact_json.dumps(
        {
            "event_id": atom.event_id,
            "source": atom.source,
            "source_system": atom.source_system,
            "confidence": atom.confidence,
            "since": atom.since.isoformat(),
        }
    )


_FOLD_SEEN: Final = hot(
    "INSERT INTO dirty_entity (workspace_id, entity_id, reason) SELECT i.ws, e.entity_id, i.reason"
    " FROM unnest(CAST(:ws AS uuid[]), CAST(:id AS uuid[]), CAST(:reason AS text[])) i(ws, id, reason)"
    f" CROSS JOIN LATERAL {HOLDER} CROSS JOIN LATERAL (SELECT entity_id FROM entity WHERE entity_id = h.id"
    "  AND EXISTS (SELECT 1 FROM record_version WHERE record_id = i.id) OFFSET 0) e"
    " ON CONFLICT DO NOTHING"
)


def fold_seen(tx: Tx, workspace_id: str, record_id: str, reason: str) -> None:
    """Ask for a fold of the entity that a record counts for, where any version of the record is known.

    With the next statement; the entity is locked.
    """
    gather(tx, _FOLD_SEEN, ws=workspace_id, id=record_id, reason=reason)


def adopted(tx: Tx, record_ids: Sequence[str]) -> dict[str, str]:
    """Record id -> the entity that adopted it, for those among ``record_ids`` that were."""
    found = rows(
        tx,
        _for(record_ids, "SELECT record_id, entity_id FROM adopted_record WHERE record_id = ANY(CAST(:ids AS uuid[]))"),
        ids=id_array(record_ids),
    )
    return {row["record_id"]: row["entity_id"] for row in found}


def adopt(tx: Tx, workspace_id: str, records: Mapping[str, tuple[str, str]], data_source_id: str) -> dict[str, str]:
    """Join records (id -> key and entity) to entities, or to whoever adopted those: record -> entity, of those that
    were not joined to any before."""
    ordered = sorted(records)
    found = rows(
        tx,
        hot(
            "INSERT INTO adopted_record (workspace_id, record_id, record_key, entity_id, data_source_id)"
            " SELECT :ws, a.record, a.key, h.id, :source FROM unnest(CAST(:records AS uuid[]),"
            " CAST(:keys AS text[]), CAST(:entities AS uuid[])) a(record, key, entity) CROSS JOIN LATERAL (SELECT"
            "  coalesce((SELECT entity_id FROM adopted_record WHERE record_id = a.entity), a.entity) AS id) h"
            " WHERE h.id <> a.record ORDER BY a.record ON CONFLICT DO NOTHING RETURNING record_id, entity_id"
        ),
        ws=workspace_id,
        records=id_array(ordered),
        keys=[records[record][0] for record in ordered],
        entities=id_array(records[record][1] for record in ordered),
        source=data_source_id,
    )
    return {row["record_id"]: row["entity_id"] for row in found}


def hand_over(tx: Tx, record_id: str, entity_id: str) -> None:
    """Let what was adopted by a record's own entity, which is no more, count for the one that adopted the record."""
    execute(
        tx,
        "UPDATE adopted_record SET entity_id = :entity WHERE entity_id = :record",
        entity=entity_id,
        record=record_id,
    )


def hold_places(tx: Tx, workspace_id: str, entity_ids: Iterable[str], now: datetime) -> set[str]:
    """Put empty projections where there are none, once whoever else is making one is done; those where they did not."""
    found = rows(
        tx,
        hot(
            "INSERT INTO entity (workspace_id, entity_id, entity_type, canonical_id, state, provenance, confidence,"
            " event_count, first_seen_at, last_event_at, updated_at)"
            " SELECT :ws, id, '', '', '{}', '{}', 0, 0, :now, :now, :now FROM unnest(CAST(:ids AS uuid[])) id"
            " ORDER BY id ON CONFLICT DO NOTHING RETURNING entity_id"
        ),
        ws=workspace_id,
        ids=id_array(entity_ids),
        now=now,
    )
    return {row["entity_id"] for row in found}


def remove_projections(tx: Tx, entity_ids: Iterable[str]) -> None:
    """Take away the projections of entities whose records others adopted; their events stay."""
    later(tx, hot("DELETE FROM entity WHERE entity_id = ANY(CAST(:ids AS uuid[]))"), ids=id_array(entity_ids))


def take_dirty(tx: Tx, limit: int) -> list[str]:
    """Claim dirty entities; the claim commits with the fold."""
    found = rows(
        tx,
        # Materialized, or the planner may run the locking query once a row and claim more than it returns.
        "WITH due AS MATERIALIZED (SELECT workspace_id, entity_id FROM dirty_entity"
        " ORDER BY marked_at LIMIT :limit FOR UPDATE SKIP LOCKED)"
        " DELETE FROM dirty_entity d USING due WHERE d.workspace_id = due.workspace_id"
        " AND d.entity_id = due.entity_id RETURNING d.entity_id",
        limit=limit,
    )
    return [row["entity_id"] for row in found]
