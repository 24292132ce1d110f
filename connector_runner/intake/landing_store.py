"""SQL of landing: what is known of the records of a page, and the counters of their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from connector_runner.infra.database import Tx, execute, id_array, one, tuples
from connector_runner.intake.dedupe import Known


def known_versions(tx: Tx, record_ids: Sequence[str]) -> dict[str, list[Known]]:
    """The known versions of records, by record id."""
    found = tuples(
        tx,
        "SELECT record_id, n, version, last_updated, era, order_at, order_version, content_hash, deleted,"
        " direct, out_of_order, batch_id, event_id, raw_hash FROM record_version"
        " WHERE record_id = ANY(CAST(:ids AS uuid[]))",
        ids=id_array(record_ids),
    )
    versions: dict[str, list[Known]] = {}
    for record_id, n, version, updated, era, order_at, number, digest, *rest in found:
        rest[-1] = None if rest[-1] is None else bytes(rest[-1])
        known = Known(n, version, updated, era, order_at, number, bytes(digest), *rest)
        versions.setdefault(record_id, []).append(known)
    return versions


def count_events(tx: Tx, data_source_id: str, events: int) -> None:
    """Add to the source's event counter."""
    if events:
        execute(
            tx,
            "UPDATE data_source SET event_count = event_count + :events WHERE data_source_id = :source",
            events=events,
            source=data_source_id,
        )


def count_unmapped(tx: Tx, workspace_id: str, data_source_id: str, counts: Mapping[str, int], now: datetime) -> None:
    """Add to the counters of record types that no mapping covers."""
    for resource_type, records in sorted(counts.items()):
        execute(
            tx,
            "INSERT INTO unmapped_type AS t (workspace_id, data_source_id, resource_type, records, last_seen_at)"
            " VALUES (:ws, :source, :type, :records, :now)"
            " ON CONFLICT (workspace_id, data_source_id, resource_type) DO UPDATE"
            " SET records = t.records + excluded.records, last_seen_at = excluded.last_seen_at",
            ws=workspace_id,
            source=data_source_id,
            type=resource_type,
            records=records,
            now=now,
        )


def entity_type(tx: Tx, entity_id: str) -> str | None:
    """The type of an entity that exists."""
    row = one(tx, "SELECT entity_type FROM entity WHERE entity_id = :id", id=entity_id)
    return None if row is None else str(row["entity_type"])
