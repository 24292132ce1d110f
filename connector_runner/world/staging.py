"""How a page goes into the world's tables: one COPY to a temporary table, then an INSERT … SELECT a table.

What rows of a page have in common (source, mapping, import, times) is sent once, as numbered kinds: that is
half of the columns, and to write and read them again with every row would be a fifth of the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Tx, copy_json, copy_lines, copy_text, execute, rows
from connector_runner.kernel import exact_json
from connector_runner.world.events import NewEvent, RecordVersion, Written

_ROW = {
    "kind": "integer", "id": "uuid", "entity_id": "uuid", "record_id": "uuid", "record_key": "text",
    "fhir_resource_id": "text", "facts": "jsonb", "content_hash": "bytea", "effective_at": "timestamptz",
    "raw_position": "integer",
    # the entity, and whether this event alone makes it
    "canonical_id": "text", "alone": "boolean",
    # the version of the source record
    "n": "integer", "version": "text", "last_updated": "timestamptz", "order_at": "timestamptz",
    "order_version": "bigint", "raw_hash": "bytea", "known_event": "uuid",
}  # fmt: skip
_OF_EVENT = {
    "entity_type": "text", "domain": "text", "event_type": "text", "fhir_resource_type": "text",
    "snapshot": "boolean", "source": "text", "source_system": "text", "mapping_version": "text",
    "confidence": "double precision", "supersedes": "uuid", "caused_by": "uuid", "as_of": "timestamptz",
    "actor": "text", "correlation_id": "text", "data_source_id": "uuid", "raw_id": "uuid",
}  # fmt: skip
_OF_VERSION = {
    "era": "smallint", "out_of_order": "boolean", "deleted": "boolean", "direct": "boolean",
    "seen_at": "timestamptz", "batch_id": "uuid",
}  # fmt: skip
_KIND = _OF_EVENT | _OF_VERSION
_CREATE_STAGE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS landing ("
    + ", ".join(f"{name} {kind}" for name, kind in _ROW.items())
    + ") ON COMMIT DELETE ROWS"
)
_FROM = (
    " FROM landing r JOIN jsonb_to_recordset(CAST(:kinds AS jsonb)) AS k (number integer, "
    + ", ".join(f"{name} {kind}" for name, kind in _KIND.items())
    + ") ON k.number = r.kind"
)
_EVENT_COLUMNS = ", ".join(
    ["id", "entity_id", "record_id", "record_key", "fhir_resource_id", "facts", "content_hash", "effective_at",
     "raw_position", *_OF_EVENT]
)  # fmt: skip
_VERSION_COLUMNS = ", ".join(
    ["record_id", "n", "entity_id", "version", "last_updated", "order_at", "order_version", "content_hash",
     "raw_hash", "raw_position", "data_source_id", "raw_id", *_OF_VERSION]
)  # fmt: skip
_NO_VERSION = "\t".join(["\\N"] * 7)


class Stage:
    """The rows of one append; ``Stage.fill`` first, then the inserts, in one transaction."""

    def __init__(self, tx: Tx, workspace_id: str, now: datetime) -> None:
        self._tx, self._workspace_id, self._now = tx, workspace_id, now
        self._kinds: dict[tuple[Any, ...], int] = {}
        # A page has few different times, and to print one costs as much as to print ten texts.
        self._times: dict[datetime | None, str] = {None: "\\N"}

    def fill(self, events: Iterable[tuple[NewEvent, Written, bool]], sightings: Iterable[RecordVersion]) -> None:
        """COPY events (each with whether it alone makes its entity) and eventless versions."""
        execute(self._tx, _CREATE_STAGE)
        execute(self._tx, "DELETE FROM landing")
        lines = [self._event(event, written, alone) for event, written, alone in events]
        lines.extend(self._sighting(sighting) for sighting in sightings)
        copy_lines(self._tx, "landing", list(_ROW), lines)

    def insert_events(self) -> None:
        """Move events and versions into their tables."""
        self._insert(
            f"INSERT INTO event (workspace_id, ingested_at, {_EVENT_COLUMNS})"
            f" SELECT :ws, :now, {_EVENT_COLUMNS}{_FROM} WHERE id IS NOT NULL"
        )
        self._insert(
            f"INSERT INTO record_version (workspace_id, event_id, {_VERSION_COLUMNS})"
            f" SELECT :ws, coalesce(id, known_event), {_VERSION_COLUMNS}{_FROM} WHERE n IS NOT NULL"
        )

    def insert_entities(self) -> int:
        """Insert the entities that one staged event makes, whose facts tell their state; how many were really new.

        Fewer than staged means that another transaction made some of them first.
        """
        return self._insert(
            "INSERT INTO entity (workspace_id, entity_id, entity_type, canonical_id, status, made_by,"
            " confidence, event_count, first_seen_at, last_event_at, updated_at)"
            " SELECT :ws, entity_id, entity_type, coalesce(canonical_id, record_key), 'active', id,"
            f" confidence, 1, :now, :now, :now{_FROM} WHERE alone ORDER BY entity_id"
            " ON CONFLICT DO NOTHING"
        )

    def made_entities(self) -> set[str]:
        """Which entities ``insert_entities`` has made, and no other transaction before it."""
        found = rows(
            self._tx,
            "SELECT e.entity_id FROM landing r JOIN entity e ON e.entity_id = r.entity_id"
            " WHERE r.alone AND e.made_by = r.id",
        )
        return {row["entity_id"] for row in found}

    def adopted(self) -> set[str]:
        """The staged records with events that stand for themselves, although others have adopted them."""
        found = rows(
            self._tx,
            # One by one: whatever is known of its size, the planner would read all that was ever adopted.
            "SELECT r.record_id FROM landing r CROSS JOIN LATERAL"
            " (SELECT 1 FROM adopted_record WHERE record_id = r.record_id OFFSET 0) a"
            " WHERE r.id IS NOT NULL AND r.record_id = r.entity_id",
        )
        return {row["record_id"] for row in found}

    def _insert(self, sql: str) -> int:
        kinds = [
            dict(zip(("number", *_KIND), (number, *map(self._said, kind)), strict=True))
            for kind, number in self._kinds.items()
        ]
        named = {"kinds": exact_json.dumps(kinds), "ws": self._workspace_id}
        return execute(self._tx, sql, **named, **({"now": self._now} if ":now" in sql else {}))

    def _said(self, value: Any) -> Any:
        return self._time_text(value) if isinstance(value, datetime) else value

    def _event(self, event: NewEvent, written: Written, alone: bool) -> str:
        v = event.record_version
        kind = self._kind(
            event.entity_type, event.domain, event.event_type, event.fhir_resource_type, event.snapshot,
            event.source, event.source_system, event.mapping_version, event.confidence, event.supersedes,
            event.caused_by, event.as_of, event.actor, event.correlation_id, event.data_source_id, event.raw_id,
            *(_OF_NO_VERSION if v is None else _shared(v)),
        )  # fmt: skip
        key, name, position = event.record_key, event.canonical_id, event.raw_position
        return (
            f"{kind}\t{event.id}\t{event.entity_id}\t{event.record_id or _NULL}\t{copy_text(key)}"
            f"\t{copy_text(event.fhir_resource_id)}\t{copy_json(written.text)}"
            f"\t{_hex(event.content_hash)}\t{self._time_text(event.effective_at)}"
            f"\t{_NULL if position is None else position}\t{_NULL if name == key else copy_text(name)}"
            f"\t{'t' if alone else 'f'}"
            f"\t{_NO_VERSION if v is None else self._version(v, None)}"
        )

    def _sighting(self, v: RecordVersion) -> str:
        kind = self._kind(*_OF_NO_EVENT, v.data_source_id, v.raw_id, *_shared(v))
        position = _NULL if v.raw_position is None else v.raw_position
        return (
            f"{kind}\t{_NULL}\t{v.entity_id}\t{v.record_id}\t{_NULL}\t{_NULL}\t{_NULL}"
            f"\t{_hex(v.content_hash)}\t{_NULL}\t{position}\t{_NULL}\t{_NULL}"
            f"\t{self._version(v, v.event_id)}"
        )

    def _version(self, v: RecordVersion, known_event: str | None) -> str:
        number = _NULL if v.order_version is None else v.order_version
        return (
            f"{v.n}\t{copy_text(v.version)}\t{self._time_text(v.last_updated)}\t{self._time_text(v.order_at)}"
            f"\t{number}\t{_hex(v.raw_hash)}\t{known_event or _NULL}"
        )

    def _kind(self, *kind: Any) -> int:
        """The number of a kind, by the values of ``_KIND``."""
        return self._kinds.setdefault(kind, len(self._kinds))

    def _time_text(self, moment: datetime | None) -> str:
        text = self._times.get(moment)
        if text is None:
            text = self._times[moment] = str(moment)
        return text


def _shared(v: RecordVersion) -> tuple[Any, ...]:
    """What versions of a page have in common, as ``_OF_VERSION`` names it."""
    return (v.era, v.out_of_order, v.deleted, v.direct, v.seen_at, v.batch_id)


def _hex(digest: bytes | None) -> str:
    return _NULL if digest is None else f"\\\\x{digest.hex()}"


_OF_NO_VERSION = (None,) * len(_OF_VERSION)
_OF_NO_EVENT = (None,) * 14
_NULL = "\\N"
