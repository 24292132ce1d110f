"""Reference data: practitioners, places and organisations, which all refer to and which seldom change.

Of a type whose settings say ``reference: true`` a record is not asked for again while what landed of it is younger
than ``ttl_s``. What proves a delete is always asked for, so full syncs do not come this way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connector_runner.connectors.base import DataSource, Page, Source, SourceRecord
from connector_runner.connectors.fhir.paging import read_resource
from connector_runner.infra.database import Database
from connector_runner.intake import raw, reference_store
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import canonical_id, entity_id_of


@dataclass(frozen=True, slots=True)
class Remembering:
    """A source whose reference data is read from what landed, as long as that is good."""

    reader: Source
    database: Database
    source: DataSource
    clock: Clock = utc_now

    def pages(self, resource_type: str, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        """As the source's own."""
        return self.reader.pages(resource_type, cursor, full=full)

    def deletions(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """As the source's own."""
        return self.reader.deletions(resource_type, cursor)

    def read(self, resource_type: str, record_id: str) -> SourceRecord | None:
        """What landed of a record of a reference type within its time to live, else as the source's own."""
        return self._landed(resource_type, record_id) or self.reader.read(resource_type, record_id)

    def _landed(self, resource_type: str, record_id: str) -> SourceRecord | None:
        source = self.source
        settings = source.settings.resources.get(resource_type)
        if settings is None or not settings.reference:
            return None
        key = entity_id_of(source.workspace_id, canonical_id(source.name, resource_type, record_id))
        with self.database.begin(source.workspace_id) as tx:
            found = reference_store.latest(tx, source.workspace_id, source.data_source_id, resource_type, key)
            if found is None or found["deleted"] or found["raw_id"] is None:
                return None
            if found["known_at"] < self.clock() - timedelta(seconds=settings.ttl_s):
                return None
            body = raw.read(tx, found["raw_id"], found["raw_position"])
        return None if body is None else _record(body, resource_type, record_id)


def _record(body: bytes, resource_type: str, record_id: str) -> SourceRecord | None:
    """The record in a body that landed; None when it is to be read anew after all."""
    try:
        resource = exact_json.loads(body)
        record = read_resource(resource, resource_type) if isinstance(resource, dict) else None
    except BadRecord:
        return None
    return record if record is not None and record.record_id == record_id else None
