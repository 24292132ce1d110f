"""Append events and fold them, in one transaction: an event never exists without its effect on state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from connector_runner.infra.database import CONCURRENT_WRITE, Tx
from connector_runner.kernel.errors import Conflict, Forbidden
from connector_runner.kernel.ids import entity_id_of
from connector_runner.world import history, relationships, store, writing
from connector_runner.world.changes import EntityChange, EntityChanged
from connector_runner.world.confidence import HIGH, NONE, capped, confidence_class
from connector_runner.world.events import NewEvent, RecordVersion, SentAtom, StoredEvent, Written
from connector_runner.world.fold import VERDICT_PREFIX, Folded, fold
from connector_runner.world.staging import Stage
from connector_runner.world.store import Projection


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did: the events, and which of their entities are new."""

    events: int
    entities_created: frozenset[str]
    entities_updated: frozenset[str]


class World:
    """The verbs of the world model. Holds no state of its own beyond who is told of changes."""

    def __init__(self, subscribers: Sequence[EntityChanged] = ()) -> None:
        self._subscribers = tuple(subscribers)

    def append(
        self,
        tx: Tx,
        workspace_id: str,
        events: Sequence[NewEvent],
        *,
        now: datetime,
        sightings: Sequence[RecordVersion] = (),
        from_review: bool = False,
    ) -> Appended:
        """Append events, and versions of known content (``sightings``), and fold what they touch.

        Locks the touched entities in id order. Raises Forbidden when a source writes verdicts that is not
        review; Conflict (``concurrent_write``) when another transaction landed the same record first.
        """
        events = [self._admitted(event, from_review) for event in events]
        written = [_written(workspace_id, event) for event in events]
        page = _page(events, sightings)
        known = store.lock_entities(tx, sorted((page.kinds.keys() | page.seen) - page.first))
        stage = Stage(tx, workspace_id, now)
        alone = _put(tx, workspace_id, stage, events, written, sightings, page.whole - known.keys())
        others = sorted((page.kinds.keys() | (page.seen & known.keys())) - alone)
        doubtful = page.doubtful
        if others:
            # Made by others before or meanwhile, or touched twice: take their locks before folding.
            known |= store.lock_entities(tx, [entity for entity in others if entity not in known])
            names = {event.entity_id: event.canonical_id for event in events}
            names |= {e.entity_id: e.canonical_id for e in known.values()}
            folded = self._fold(tx, workspace_id, others, now, names)
            doubtful |= {entity for entity, found in folded.items() if found.disputed}
        created = frozenset(page.kinds.keys() - known.keys())
        if created and created & stage.adopted():
            raise Conflict("a record was adopted while it was landing", code=CONCURRENT_WRITE)
        # An entity keeps the type that it was made with, whatever later events call it.
        kinds = page.kinds | {entity: row.entity_type for entity, row in known.items()}
        # That a record is gone is no event where no mapping covers it any more, and withdraws what it said.
        unsaid = {sighting.entity_id for sighting in sightings if sighting.deleted} & known.keys()
        touched = frozenset(page.kinds)
        changes = [EntityChange(e, kinds[e], e in created, e in doubtful) for e in sorted(touched | unsaid)]
        self._tell(tx, workspace_id, changes)
        return Appended(len(events), created, touched - created)

    def refold(self, tx: Tx, workspace_id: str, entity_ids: Iterable[str], *, now: datetime) -> None:
        """Fold entities anew from their events."""
        known = store.lock_entities(tx, sorted(set(entity_ids)))
        if known:
            names = {row.entity_id: row.canonical_id for row in known.values()}
            folded = self._fold(tx, workspace_id, sorted(known), now, names)
            doubtful = {entity for entity, found in folded.items() if found.disputed or found.doubted}
            changes = [EntityChange(e, row.entity_type, False, e in doubtful) for e, row in known.items()]
            self._tell(tx, workspace_id, changes)

    def refold_dirty(self, tx: Tx, workspace_id: str, *, now: datetime, limit: int = 200) -> int:
        """Fold entities that were marked dirty; how many."""
        dirty = store.take_dirty(tx, limit)
        self.refold(tx, workspace_id, dirty, now=now)
        return len(dirty)

    def adopt(
        self,
        tx: Tx,
        workspace_id: str,
        record_key: str,
        entity_id: str,
        data_source_id: str,
        *,
        now: datetime,
    ) -> None:
        """Join a source record to an entity, as when a write of ours made that record.

        A record that a poll met first has an entity of its own by then; its events count for the adopting
        entity from now on, and so do the records that had been adopted by it; the projection that they had made goes.
        """
        self.adopt_all(tx, workspace_id, {record_key: entity_id}, data_source_id, now=now)

    def adopt_all(
        self, tx: Tx, workspace_id: str, entities: Mapping[str, str], data_source_id: str, *, now: datetime
    ) -> None:
        """The same of several records of a source at once: record key -> entity."""
        keys = {entity_id_of(workspace_id, key): key for key in entities}
        records = {record: (key, entities[key]) for record, key in keys.items() if record != entities[key]}
        joined = store.adopt(tx, workspace_id, records, data_source_id)
        if not joined:
            return
        # Waits for a page that is landing one of them now; one that begins later finds the record adopted.
        empty = store.hold_places(tx, workspace_id, joined, now)
        store.remove_projections(tx, empty)
        for record_id in sorted(joined.keys() - empty):
            gone = store.lock_entities(tx, [record_id])
            relationships.save_changed(tx, workspace_id, [(record_id, {})], store.states_of(tx, [record_id]))
            store.remove_projections(tx, [record_id])
            store.hand_over(tx, record_id, joined[record_id])
            self.refold(tx, workspace_id, [joined[record_id]], now=now)
            changes = [EntityChange(row.entity_id, row.entity_type, False, gone=True) for row in gone.values()]
            self._tell(tx, workspace_id, changes)

    def remember_sent(
        self, tx: Tx, workspace_id: str, record_key: str, atoms: Sequence[SentAtom], *, now: datetime
    ) -> None:
        """Keep what a sink confirmed for a record, so that its coming back is recognised as an echo.

        The entity is folded again when the record has been seen already: the poll may have been first.
        """
        record_id = entity_id_of(workspace_id, record_key)
        # A page that is landing the record now is waited for, and one that comes later folds with what is kept here.
        store.lock_holder(tx, record_id)
        store.save_sent(tx, workspace_id, record_id, atoms, now)
        if atoms:
            store.fold_seen(tx, workspace_id, record_id, "sent")

    @staticmethod
    def _admitted(event: NewEvent, from_review: bool) -> NewEvent:
        confidence = _allowed(event.source, event.event_type, event.confidence, from_review)
        return event if confidence == event.confidence else replace(event, confidence=confidence)

    def _fold(
        self,
        tx: Tx,
        workspace_id: str,
        entity_ids: Sequence[str],
        now: datetime,
        canonical: Mapping[str, str],
    ) -> dict[str, Folded]:
        """Fold entities anew; what came out, of each of which anything was said."""
        by_entity: dict[str, list[StoredEvent]] = {entity: [] for entity in entity_ids}
        for event in store.events_of(tx, entity_ids):
            by_entity[event.entity_id].append(event)
        record_of = {e.record_id: entity for entity, found in by_entity.items() for e in found if e.record_id}
        versions: dict[str, list[RecordVersion]] = {}
        found, sent = history.of_records(tx, [event for events in by_entity.values() for event in events])
        for version in found:
            versions.setdefault(record_of[version.record_id], []).append(version)
        folded: dict[str, Folded] = {}
        for entity, events in by_entity.items():
            if events:
                records = {event.record_id for event in events}
                own = [value for value in sent if value.record_id in records]
                folded[entity] = fold(events, versions.get(entity, ()), own)
        projections = [_projection(e, canonical[e], by_entity[e], outcome) for e, outcome in folded.items()]
        before = store.states_of(tx, entity_ids)
        store.save_projections(tx, workspace_id, projections, now)
        relationships.save_changed(tx, workspace_id, [(p.entity_id, p.state) for p in projections], before)
        return folded

    def _tell(self, tx: Tx, workspace_id: str, changes: Sequence[EntityChange]) -> None:
        if changes:
            for subscriber in self._subscribers:
                subscriber(tx, workspace_id, changes)


@dataclass(frozen=True, slots=True)
class _Page:
    """What an append touches, found in one walk: its events do not fit into a processor's cache together."""

    kinds: dict[str, str]
    """The entities that events are about -> what the last of these calls it."""
    seen: frozenset[str]
    """Those whose known content was seen again."""
    whole: frozenset[str]
    """Those about which a single event says something that could be its whole state."""
    first: frozenset[str]
    """Of these, those of which this is the first version of their record. Such an entity is there already only where
    somebody else spoke of it before: its insertion tells, and nobody looks beforehand."""
    doubtful: set[str]


def _page(events: Iterable[NewEvent], sightings: Iterable[RecordVersion]) -> _Page:
    kinds: dict[str, str] = {}
    seen = frozenset([sighting.entity_id for sighting in sightings])
    several, whole, first, doubtful = set(seen), set(), set(), set()
    for event in events:
        entity = event.entity_id
        if entity in kinds:
            several.add(entity)
        elif _is_whole(event):
            whole.add(entity)
            if event.record_version is not None and event.record_version.n == 1:
                first.add(entity)
        kinds[entity] = event.entity_type
        if _leaves_doubt(event.event_type, event.confidence):
            doubtful.add(entity)
    return _Page(kinds, seen, frozenset(whole - several), frozenset(first - several), doubtful)


def _put(
    tx: Tx,
    workspace_id: str,
    stage: Stage,
    events: Sequence[NewEvent],
    written: Sequence[Written],
    sightings: Sequence[RecordVersion],
    alone: frozenset[str],
) -> AbstractSet[str]:
    """Store events, and the entities that one of them makes ``alone``; those that nobody else had made meanwhile."""
    stage.fill(((e, w, e.entity_id in alone) for e, w in zip(events, written, strict=True)), sightings)
    stage.insert_events()
    made: AbstractSet[str] = alone
    if alone and stage.insert_entities() != len(alone):
        made = stage.made_entities()
    of = [event.entity_id for event in events]
    said = ((entity, w.references) for entity, w in zip(of, written, strict=True) if entity in made)
    relationships.save_new(tx, workspace_id, said)
    named = [(token, e.record_id or e.entity_id) for e, w in zip(events, written, strict=True) for token in w.tokens]
    relationships.save_identifiers(tx, workspace_id, named)
    return made


# The events of a page are of few types, and believed alike.
@lru_cache(maxsize=1024)
def _allowed(source: str, event_type: str, claimed: float, from_review: bool) -> float:
    confidence = capped(source, claimed, from_review=from_review)
    if event_type.startswith(VERDICT_PREFIX) and not from_review:
        raise Forbidden("verdicts come only from review", code="verdict_scope")
    return confidence


def _is_whole(event: NewEvent) -> bool:
    """Whether this event, where it is all that is known of its entity, is that entity's state: no fold is needed."""
    version = event.record_version
    return (version is None or version.record_id == event.entity_id) and _states(event.event_type, event.confidence)


@lru_cache(maxsize=1024)
def _states(event_type: str, confidence: float) -> bool:
    return (
        confidence_class(confidence) != NONE
        and not event_type.endswith((".retracted", ".deleted"))
        and not event_type.startswith(VERDICT_PREFIX)
    )


@lru_cache(maxsize=1024)
def _leaves_doubt(event_type: str, confidence: float) -> bool:
    """Whether an event is not believed enough to be relied on, or rejects one: what that replaced counts again."""
    believed = confidence_class(confidence)
    return NONE < believed < HIGH or (believed == NONE and event_type.startswith(VERDICT_PREFIX))


def _written(workspace_id: str, event: NewEvent) -> Written:
    if isinstance(event.facts, Written):
        return event.facts
    if event.event_type.startswith(VERDICT_PREFIX):
        return writing.of_verdict(event.facts)
    return writing.of_statement(workspace_id, event.fhir_resource_type, event.facts)


def _projection(entity_id: str, canonical_id: str, events: Sequence[StoredEvent], folded: Folded) -> Projection:
    own = next((event for event in events if not event.event_type.startswith(VERDICT_PREFIX)), events[0])
    return Projection(
        entity_id=entity_id,
        entity_type=own.entity_type,
        canonical_id=canonical_id,
        status=folded.status,
        state=folded.state,
        provenance=_provenance(folded),
        confidence=folded.confidence,
        event_count=len(events),
        first_seen_at=min(event.ingested_at for event in events),
        last_event_at=max(event.ingested_at for event in events),
    )


def _provenance(folded: Folded) -> dict[str, Any]:
    """Who said what, compactly: statements once, and per atom the number of the one that won."""
    statements: list[dict[str, Any]] = []
    numbers: dict[tuple[Any, ...], int] = {}
    atoms: dict[str, int] = {}
    conflicts = {atom: settled.conflict for atom, settled in folded.atoms.items() if settled.conflict}
    for atom in sorted(folded.atoms):
        claim = folded.atoms[atom].winner
        key = (claim.event_id, claim.confidence, claim.since, claim.verdict)
        if key not in numbers:
            numbers[key] = len(statements)
            statements.append(
                _statement(claim.event_id, claim.source, claim.source_system, claim.confidence, claim.since)
                | ({"verdict": claim.verdict} if claim.verdict else {})
            )
        atoms[atom] = numbers[key]
    return (
        {"by": statements}
        | ({"atoms": atoms} if len(statements) > 1 else {})
        | ({"conflicts": conflicts} if conflicts else {})
    )


def _statement(
    event_id: str, source: str, source_system: str | None, confidence: float, since: datetime | None
) -> dict[str, Any]:
    known = since is not None and since.year > 1
    return {
        "event_id": event_id,
        "source": source,
        "source_system": source_system,
        "confidence": confidence,
        "since": since.isoformat() if known and since is not None else None,
    }
