"""Events as an agent, a form or a person writes them: checked one by one, capped, appended together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connector_runner.audit import log as audit
from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import canonical_id as canonical
from connector_runner.kernel.ids import entity_id_of, is_uuid, new_id, parse_canonical_id
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import MappingContext
from connector_runner.world import reading
from connector_runner.world.atoms import KEYED
from connector_runner.world.confidence import REVIEW_SOURCE, capped, ceiling
from connector_runner.world.events import NewEvent
from connector_runner.world.fold import VERDICT_PREFIX
from connector_runner.world.service import World

SYSTEM_OF_DATA = "fhir_r4"
MAX_EVENTS = 1000
ALIASES = {"person": "patient"}
RESOURCE_OF = {
    "patient": "Patient",
    "practitioner": "Practitioner",
    "location": "Location",
    "organization": "Organization",
    "appointment": "Appointment",
    "encounter": "Encounter",
    "medication_order": "MedicationRequest",
    "lab_result": "Observation",
    "insurance_plan": "Coverage",
}
_TEXTS = ("event_type", "domain", "source_system", "fhir_resource_type", "fhir_resource_id", "actor",
          "correlation_id", "canonical_id", "entity_type")  # fmt: skip
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_IDS = ("id", "entity_id", "supersedes", "caused_by")
_TIMES = ("effective_at", "as_of")
_KNOWN = frozenset({*_TEXTS, *_IDS, *_TIMES, "source", "confidence", "facts", "data"})


@dataclass(slots=True)
class Outcome:
    """What became of a list of events. ``errors`` name the index and the key."""

    events: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    entities_created: int = 0
    entities_updated: int = 0


def append(
    tx: Tx, world: World, mappings: MappingSet, workspace_id: str, documents: Any, *, actor: str, now: datetime
) -> Outcome:
    """Append the events of ``documents`` (a list) that can be used; each of the others is an error in the outcome.

    An event whose id is known already is skipped. Raises BadRecord when ``documents`` is not a list of at most
    a thousand, Conflict (``concurrent_write``) when another writer was first: begin again.
    """
    if not isinstance(documents, list):
        raise BadRecord("expected a list of events", code="not_a_list")
    if len(documents) > MAX_EVENTS:
        raise BadRecord(f"at most {MAX_EVENTS} events at once", code="too_many")
    outcome, events = Outcome(), []
    new_entities: dict[str, str] = {}
    for index, document in enumerate(documents):
        try:
            event = _event(tx, mappings, workspace_id, document, new_entities, actor, now)
        except BadRecord as error:
            outcome.errors.append({"index": index, "key": error.where, "code": error.code, "message": error.message})
            continue
        if event is None:
            outcome.skipped += 1
            continue
        new_entities[event.entity_id] = event.entity_type
        events.append(event)
        outcome.events.append(
            {"index": index, "id": event.id, "entity_id": event.entity_id, "entity_type": event.entity_type,
             "event_type": event.event_type, "confidence": event.confidence}
        )  # fmt: skip
    if events:
        done = world.append(tx, workspace_id, events, now=now)
        ids = [event.id for event in events]
        detail = {"events": ids[:100], "count": len(ids), "entities": sorted({e.entity_id for e in events})[:100]}
        audit.note(tx, workspace_id, actor=actor, action="event.append", object=ids[0], detail=detail, now=now)
        outcome.entities_created, outcome.entities_updated = len(done.entities_created), len(done.entities_updated)
    return outcome


def _event(
    tx: Tx,
    mappings: MappingSet,
    workspace_id: str,
    document: Any,
    new_entities: dict[str, str],
    actor: str,
    now: datetime,
) -> NewEvent | None:
    _check(document)
    event_id = document.get("id") or new_id()
    if "id" in document and reading.event(tx, event_id) is not None:
        return None
    source = document["source"]
    facts, mapped_type, resource_type, version = _content(mappings, document)
    entity_type = ALIASES.get(document.get("entity_type", ""), document.get("entity_type")) or mapped_type
    entity_id, name, known_type = _entity(tx, workspace_id, document, entity_type, resource_type)
    known_type = known_type or new_entities.get(entity_id)
    if entity_type and known_type and entity_type != known_type:
        raise BadRecord(f"the entity is of type {known_type}", code="entity_type", where="entity_type")
    entity_type = entity_type or known_type
    if not entity_type:
        raise BadRecord("a new entity needs a type", code="missing", where="entity_type")
    claimed = document.get("confidence")
    confidence = ceiling(source) if claimed is None else capped(source, float(claimed), from_review=False)
    return NewEvent(
        id=event_id,
        entity_id=entity_id,
        entity_type=entity_type,
        event_type=document.get("event_type") or f"{entity_type}.{'updated' if known_type else 'created'}",
        facts=facts,
        source=source,
        confidence=confidence,
        snapshot=False,
        canonical_id=name,
        domain=document.get("domain") or "clinical",
        fhir_resource_type=resource_type or document.get("fhir_resource_type"),
        fhir_resource_id=document.get("fhir_resource_id"),
        source_system=document.get("source_system"),
        mapping_version=version,
        supersedes=document.get("supersedes"),
        caused_by=document.get("caused_by"),
        effective_at=_time(document, "effective_at", now),
        as_of=_time(document, "as_of", now),
        actor=document.get("actor") or actor,
        correlation_id=document.get("correlation_id"),
    )


def _check(document: Any) -> None:
    """Raise BadRecord naming the key for the first thing that an event may not say."""
    if not isinstance(document, dict):
        raise BadRecord("expected an object", code="not_an_object")
    for key in document:
        if key not in _KNOWN:
            raise BadRecord("there is no such field", code="unknown_field", where=key[:64])
    source = document.get("source")
    if not isinstance(source, str) or not source:
        raise BadRecord("who says this", code="missing", where="source")
    if source == REVIEW_SOURCE or str(document.get("event_type", "")).startswith(VERDICT_PREFIX):
        raise BadRecord("verdicts come only from review", code="verdict_scope", where="source")
    for key in _TEXTS:
        if key in document and not (isinstance(document[key], str) and 0 < len(document[key]) <= 256):
            raise BadRecord("expected a text of 1 to 256 characters", code="wrong_type", where=key)
    for key in _IDS:
        if key in document and not (isinstance(document[key], str) and is_uuid(document[key])):
            raise BadRecord("expected a UUID in lower case", code="wrong_type", where=key)
    claimed = document.get("confidence")
    if claimed is not None and (
        isinstance(claimed, bool) or not isinstance(claimed, int | Decimal) or not 0 <= claimed <= 1
    ):
        raise BadRecord("expected a number from 0 to 1", code="wrong_type", where="confidence")
    if ("facts" in document) == ("data" in document):
        raise BadRecord("expected either facts or data", code="missing", where="facts")


def _content(
    mappings: MappingSet, document: dict[str, Any]
) -> tuple[dict[str, Any], str | None, str | None, str | None]:
    """Facts, and of FHIR data also entity type, resource type and the version of its mapping."""
    if "facts" in document:
        facts = document["facts"]
        if not isinstance(facts, dict) or not facts:
            raise BadRecord("expected an object that is not empty", code="wrong_type", where="facts")
        _check_facts(facts)
        return facts, None, None, None
    data = document["data"]
    if not isinstance(data, dict) or not isinstance(data.get("resourceType"), str):
        raise BadRecord("expected a FHIR resource", code="wrong_type", where="data")
    resource_type = data["resourceType"]
    mapping = mappings.inbound(SYSTEM_OF_DATA, resource_type)
    if mapping is None:
        raise BadRecord("there is no mapping for this type", code="no_mapping", where="data.resourceType")
    system = document.get("source_system") or document["source"]
    try:
        # A resource that an agent makes has no id yet; mappings ask for one.
        mapped = mapping.map({"id": "new", **data}, MappingContext(source=system))
    except BadRecord as error:
        raise BadRecord(error.message, code=error.code, where=f"data.{error.where}".rstrip(".")) from None
    if mapped.problems:
        problem = mapped.problems[0]
        raise BadRecord(problem.message, code=problem.code, where=f"data.{problem.path}")
    return mapped.facts, mapped.entity_type, resource_type, mapped.mapping_version


def _check_facts(facts: dict[str, Any]) -> None:
    """Raise BadRecord for a field that could be taken for an element of another, or is no list where one is due."""
    if not all(_FIELD.fullmatch(name) for name in facts):
        raise BadRecord("field names are snake_case words", code="wrong_type", where="facts")
    for name in KEYED:
        value = facts.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise BadRecord("expected a list of objects", code="wrong_type", where=f"facts.{name}")


def _entity(
    tx: Tx, workspace_id: str, document: dict[str, Any], entity_type: str | None, resource_type: str | None
) -> tuple[str, str, str | None]:
    """The entity meant: its id, its canonical id, and its type when there is one already."""
    name = document.get("entity_id") or document.get("canonical_id") or _record_name(document, resource_type)
    if name is None:
        fresh = new_id()
        kind = resource_type or document.get("fhir_resource_type") or RESOURCE_OF.get(entity_type or "") or entity_type
        name = canonical(document["source"], kind or "Basic", fresh)
        return entity_id_of(workspace_id, name), name, None
    row = reading.row(tx, workspace_id, name)
    if row is not None:
        return row["entity_id"], row["canonical_id"], row["entity_type"]
    if "entity_id" in document:
        raise BadRecord("there is no such entity in this workspace", code="unknown_entity", where="entity_id")
    parse_canonical_id(name)
    return reading.entity_id(tx, workspace_id, name), name, None


def _record_name(document: dict[str, Any], resource_type: str | None) -> str | None:
    """The canonical id of the source record that an event speaks of, when it names one."""
    system = document.get("source_system")
    kind = document.get("fhir_resource_type") or resource_type
    data = document.get("data")
    record_id = document.get("fhir_resource_id") or (data.get("id") if isinstance(data, dict) else None)
    if not (system and kind and isinstance(record_id, str) and record_id):
        return None
    return canonical(system, kind, record_id)


def _time(document: dict[str, Any], key: str, now: datetime) -> datetime | None:
    text = document.get(key)
    if text is None:
        return None
    moment = parse_instant(text) if isinstance(text, str) else None
    if moment is None:
        raise BadRecord("expected a date and time with a zone (ISO 8601)", code="wrong_type", where=key)
    return min(moment, now).astimezone(UTC)


def summary(outcome: Outcome) -> dict[str, Sequence[Any] | int]:
    """The outcome as one JSON object."""
    return {
        "events_created": len(outcome.events),
        "events_skipped": outcome.skipped,
        "entities_created": outcome.entities_created,
        "entities_updated": outcome.entities_updated,
        "events": outcome.events,
        "errors": outcome.errors,
    }
