"""Land a page: deduplicate, keep raw, unify, append and fold, in the caller's transaction.

The caller moves its cursor in the same transaction, so a page is landed and passed, or neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from connector_runner.audit import log as audit
from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Tx
from connector_runner.intake import landing_store, raw
from connector_runner.intake.content import content_hash
from connector_runner.intake.dedupe import DELETED_HASH, Known, Novelty, Place, Sighting, place
from connector_runner.intake.recall import Recall
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import new_id, new_ids
from connector_runner.unification.engine import Mapping
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import Mapped, MappingContext, same_reference
from connector_runner.unification.phones import DEFAULT_REGION
from connector_runner.world.confidence import AUTHORITATIVE
from connector_runner.world.events import NewEvent, RecordVersion
from connector_runner.world.service import World
from connector_runner.world.writing import of_record

Resolve = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a page comes from, and how what it says is to be taken.

    ``system`` names the mappings, ``source`` is who writes the events. ``as_of`` is since when a source
    without a clock of its own declares its records to hold.
    """

    data_source_id: str
    name: str
    system: str
    source: str = "connector_runner"
    confidence: float = AUTHORITATIVE
    base_url: str | None = None
    region: str = DEFAULT_REGION
    numeric_versions: bool = False
    as_of: datetime | None = None
    batch_id: str | None = None


@dataclass(slots=True)
class Landed:
    """What became of the records of a page."""

    records: int = 0
    events_created: int = 0
    events_updated: int = 0
    events_skipped: int = 0
    entities_created: int = 0
    entities_updated: int = 0
    quarantined: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    rollbacks: list[str] = field(default_factory=list)

    def add(self, other: Landed) -> None:
        """Add another page's counts."""
        for name in ("records", "events_created", "events_updated", "events_skipped", "entities_created",
                     "entities_updated", "quarantined"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unmapped.update(other.unmapped)
        self.errors.extend(other.errors)
        self.rollbacks.extend(other.rollbacks)


class Rejects(Protocol):
    """Where records go that cannot be used."""

    def put(
        self,
        tx: Tx,
        workspace_id: str,
        *,
        stage: str,
        subject: str,
        code: str,
        message: str,
        place: str,
        data_source_id: str | None,
        body: bytes | None,
        context: dict[str, Any],
        now: datetime,
    ) -> object:
        """Keep one."""


class Intake:
    """Lands pages of records."""

    def __init__(self, world: World, mappings: MappingSet, rejects: Rejects) -> None:
        self._world = world
        self._mappings = mappings
        self._rejects = rejects

    def land(
        self,
        tx: Tx,
        workspace_id: str,
        origin: Origin,
        records: Iterable[SourceRecord],
        *,
        now: datetime,
        resolve: Resolve = same_reference,
        direct: bool = False,
        recall: Recall | None = None,
    ) -> Landed:
        """Land ``records`` in their order, taking the next one only when nothing of the last is needed any more.

        ``recall`` is what the caller has looked up in this transaction already.

        Raises Conflict (``concurrent_write``) when another worker landed one of them first: begin again.
        """
        if recall is None:
            records = list(records)
            recall = Recall(tx, workspace_id, origin.name)
            recall.learn((record.resource_type, record.record_id) for record in records)
        page = _Page(self, tx, workspace_id, origin, now, resolve, direct, recall)
        page.take(records)
        return page.finish(self._world)

    def mapping(self, origin: Origin, resource_type: str) -> Mapping | None:
        """The mapping for a record type of a source, if there is one."""
        return self._mappings.inbound(origin.system, resource_type)

    def reject(self, page: _Page, record: SourceRecord, key: str, where: str, error: BadRecord) -> None:
        """Quarantine one record of a page."""
        self._rejects.put(
            page.tx,
            page.workspace_id,
            stage="unify",
            subject=key,
            code=error.code,
            message=error.message,
            place=" ".join(part for part in (where, error.where) if part),
            data_source_id=page.origin.data_source_id,
            body=record.raw,
            context={"resource_type": record.resource_type, "record_key": key},
            now=page.now,
        )


class _Page:
    """One call of land: what is known, and what has been gathered so far."""

    def __init__(
        self,
        intake: Intake,
        tx: Tx,
        workspace_id: str,
        origin: Origin,
        now: datetime,
        resolve: Resolve,
        direct: bool,
        recall: Recall,
    ) -> None:
        self.intake, self.tx, self.workspace_id, self.origin, self.now = intake, tx, workspace_id, origin, now
        self.direct, self.recall = direct, recall
        self.context = MappingContext(origin.name, resolve, origin.base_url, origin.region)
        self.landed = Landed()
        self.events: list[NewEvent] = []
        self.sightings: list[RecordVersion] = []
        self.bodies: list[bytes] = []
        self.raw_id = new_id()
        self.event_ids = new_ids()
        self.last: dict[str, RecordVersion] = {}

    def take(self, records: Iterable[SourceRecord]) -> None:
        for record in records:
            self.landed.records += 1
            key, record_id = self.recall.ids((record.resource_type, record.record_id))
            try:
                self._take_one(record, key, record_id)
            except BadRecord as error:
                where = record.place or f"{record.resource_type}/{record.record_id}"
                self.landed.quarantined += 1
                self.landed.errors.append(f"{where}: {error}")
                self.intake.reject(self, record, key, where, error)

    def _take_one(self, record: SourceRecord, key: str, record_id: str) -> None:
        digest = DELETED_HASH if record.deleted or record.body is None else content_hash(record.body)
        sighting = Sighting(
            digest,
            record.version,
            record.last_updated,
            record.deleted,
            self.direct,
            self.origin.batch_id,
            record.raw_hash,
        )
        history = self._history(record_id)
        where = place(sighting, history, numeric_versions=self.origin.numeric_versions)
        if where.novelty is Novelty.NOTHING:
            self.landed.events_skipped += 1
            return
        entity_id = self.recall.owners.get(record_id, record_id)
        if where.novelty is Novelty.STAMP:
            self.landed.events_skipped += 1
            event_id = next((k.event_id for k in reversed(history) if k.content_hash == digest), None)
            version = self._version(record_id, entity_id, sighting, where, event_id, None)
            self.sightings.append(version)
        else:
            version = self._event(record, key, record_id, entity_id, sighting, where, first=not history)
        self.last[record_id] = version

    def _history(self, record_id: str) -> Sequence[Known]:
        """What is known of a record; if this page has brought it already, that as well."""
        known = self.recall.known
        last = self.last.pop(record_id, None)
        if last is not None:
            known.setdefault(record_id, []).append(_remember(last))
        return known.get(record_id, ())

    def _event(
        self,
        record: SourceRecord,
        key: str,
        record_id: str,
        entity_id: str,
        sighting: Sighting,
        where: Place,
        *,
        first: bool,
    ) -> RecordVersion:
        mapped = self._map(record)
        position = len(self.bodies)
        self.bodies.append(record.raw)
        if mapped is None:
            self.landed.unmapped[record.resource_type] += 1
            version = self._version(record_id, entity_id, sighting, where, None, position)
            self.sightings.append(version)
            return version
        if where.novelty is Novelty.ROLLBACK:
            self.landed.rollbacks.append(record_id)
        event_id = next(self.event_ids)
        version = self._version(record_id, entity_id, sighting, where, event_id, position)
        self.events.append(self._new_event(record, key, mapped, version, event_id, first=first))
        if first:
            self.landed.events_created += 1
        else:
            self.landed.events_updated += 1
        return version

    def _map(self, record: SourceRecord) -> Mapped | None:
        """What the record says, or None when no mapping covers its type.

        Raises BadRecord for the first value that cannot be read: half a record would withdraw the other half.
        """
        mapping = self.intake.mapping(self.origin, record.resource_type)
        if mapping is None:
            return None
        if record.body is None:
            return Mapped(
                entity_type="",
                event_type="",
                facts={},
                confidence=None,
                mapping_version=mapping.version,
                effective_at=None,
                retracted=False,
                problems=(),
            )
        mapped = mapping.map(record.body, self.context)
        if mapped.problems:
            problem = mapped.problems[0]
            raise BadRecord(problem.message, code=problem.code, where=problem.path)
        return mapped

    def _new_event(
        self,
        record: SourceRecord,
        key: str,
        mapped: Mapped,
        version: RecordVersion,
        event_id: str,
        *,
        first: bool,
    ) -> NewEvent:
        origin, entity_type = self.origin, mapped.entity_type
        verb = "created" if first else "updated"
        if version.deleted:
            verb, entity_type = "deleted", landing_store.entity_type(self.tx, version.entity_id) or "unknown"
        elif mapped.retracted:
            verb = "retracted"
        confidence = origin.confidence if mapped.confidence is None else min(origin.confidence, mapped.confidence)
        return NewEvent(
            version.entity_id,
            entity_type,
            f"{entity_type}.{verb}",
            of_record(self.workspace_id, record.resource_type, {} if mapped.retracted else mapped.facts),
            origin.source,
            confidence,
            True,
            key,
            fhir_resource_type=record.resource_type,
            fhir_resource_id=record.record_id,
            source_system=origin.name,
            data_source_id=origin.data_source_id,
            record_id=version.record_id,
            record_key=key,
            content_hash=version.content_hash,
            mapping_version=mapped.mapping_version,
            effective_at=parse_instant(mapped.effective_at) if mapped.effective_at else None,
            as_of=origin.as_of,
            raw_id=self.raw_id,
            raw_position=version.raw_position,
            record_version=version,
            id=event_id,
        )

    def _version(
        self,
        record_id: str,
        entity_id: str,
        sighting: Sighting,
        where: Place,
        event_id: str | None,
        position: int | None,
    ) -> RecordVersion:
        return RecordVersion(
            record_id, where.n, entity_id, self.origin.data_source_id, sighting.content_hash, where.order_at, self.now,
            event_id, sighting.version, sighting.last_updated, where.era, where.order_version, where.out_of_order,
            sighting.deleted, sighting.direct, sighting.batch_id, self.raw_id if position is not None else None,
            position, sighting.raw_hash,
        )  # fmt: skip

    def finish(self, world: World) -> Landed:
        """Write what was gathered."""
        landed, origin = self.landed, self.origin
        if self.bodies:
            raw.keep(self.tx, self.workspace_id, self.raw_id, origin.data_source_id, self.bodies)
        if self.events or self.sightings:
            appended = world.append(self.tx, self.workspace_id, self.events, now=self.now, sightings=self.sightings)
            landed.entities_created = len(appended.entities_created)
            landed.entities_updated = len(appended.entities_updated)
        landing_store.count_unmapped(self.tx, self.workspace_id, origin.data_source_id, landed.unmapped, self.now)
        landing_store.count_events(self.tx, origin.data_source_id, len(self.events))
        for record_id in landed.rollbacks:
            audit.append(
                self.tx,
                self.workspace_id,
                actor=origin.source,
                action="record.rolled_back",
                object=record_id,
                detail={"data_source_id": origin.data_source_id},
                now=self.now,
            )
        return landed


def _remember(last: RecordVersion) -> Known:
    return Known(
        last.n, last.version, last.last_updated, last.era, last.order_at, last.order_version, last.content_hash,
        last.deleted, last.direct, last.out_of_order, last.batch_id, last.event_id, last.raw_hash,
    )  # fmt: skip
