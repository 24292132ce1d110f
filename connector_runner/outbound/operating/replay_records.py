"""Land again what could not be used: the stored body, through today's mappings, as its source would have it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource, SourceRecord
from connector_runner.infra.database import Tx
from connector_runner.intake.imports.items import Entry as FileEntry
from connector_runner.intake.imports.items import Fault
from connector_runner.intake.imports.records import record_of
from connector_runner.intake.imports.registering import FILE_DROP
from connector_runner.intake.imports.running import WRITER
from connector_runner.intake.landing import Intake, Origin
from connector_runner.intake.opening import origin_of
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import canonical_id, entity_id_of, parse_canonical_id
from connector_runner.outbound.operating import replay_store
from connector_runner.resilience.quarantine import Entry, Quarantine

NEWER_LANDED: Final = "newer_landed"
LOCAL_NAMES: Final = "local_names"
NO_BODY: Final = "no_body"
_URN: Final = (b'"urn:uuid:', b'"urn:oid:')


class Refused(Exception):
    """Replaying would not do what was meant. ``code`` and ``message`` are ours."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def land_again(
    tx: Tx, workspace_id: str, intake: Intake, quarantine: Quarantine, entry: Entry, *, now: datetime
) -> bool:
    """Land an entry's body; whether it could be used. Where not, landing has quarantined it anew, counting up.

    Raises Refused where nothing must land, BadRecord where the body still is no record.
    """
    body = quarantine.body(tx, workspace_id, entry.quarantine_id)
    if not body or entry.data_source_id is None:
        raise Refused(NO_BODY, "nothing of it was kept: import the file or sync the source again")
    source = directory.load(tx, workspace_id, entry.data_source_id)
    record = _record(entry, body)
    if source.source_type == FILE_DROP and any(mark in body for mark in _URN):
        raise Refused(LOCAL_NAMES, "it refers to neighbours by names that only its file knows: import that again")
    key = canonical_id(source.name, record.resource_type, record.record_id)
    record_id = entity_id_of(workspace_id, key)
    if record.last_updated is None and replay_store.seen_since(tx, record_id, entry.last_seen_at):
        raise Refused(NEWER_LANDED, "the record has come again since, and says not when it was changed: discard this")
    landed = intake.land(tx, workspace_id, _origin(source), [record], now=now)
    if landed.quarantined:
        return False
    quarantine.settle(tx, workspace_id, "unify", [key])
    return True


def _record(entry: Entry, body: bytes) -> SourceRecord:
    resource: Any = exact_json.loads(body)
    known = entry.context.get("record_key")
    if isinstance(resource, dict) and "id" not in resource and isinstance(known, str):
        resource = {**resource, "id": parse_canonical_id(known)[2]}
    found = record_of(FileEntry(entry.place, resource, body))
    if isinstance(found, SourceRecord):
        return found
    if isinstance(found, Fault):
        raise BadRecord(found.message, code=found.code, where=found.place)
    raise BadRecord("there is no resource in it", code=found)


def _origin(source: DataSource) -> Origin:
    if source.source_type != FILE_DROP:
        return origin_of(source)
    settings = source.settings
    return Origin(
        data_source_id=source.data_source_id,
        name=source.name,
        system=settings.mapping,
        source=WRITER,
        confidence=settings.confidence,
        base_url=settings.base,
        region=settings.default_region,
        numeric_versions=settings.numeric_versions,
    )
