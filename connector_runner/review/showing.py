"""An item with everything that a person needs to answer it. What these functions return holds protected data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from connector_runner.infra.database import Row, Tx, id_array, rows
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import BadRecord
from connector_runner.review import item_store, material, queue
from connector_runner.review.correcting import schema_of
from connector_runner.review.items import Item
from connector_runner.unification.loader import MappingSet
from connector_runner.world import reading
from connector_runner.world.atoms import field_of
from connector_runner.world.fold import VERDICT_PREFIX
from connector_runner.world.reading import EntityView

_AROUND: Final = 160
"""So many characters of the conversation are shown on each side of a quote."""


def summary(workspace_id: str, item: Item) -> dict[str, Any]:
    """The item alone: ids, codes and times. Of atoms only the fields are told, as their keys may hold what was said."""
    analysis = item.analysis
    if analysis is not None:
        told = [{**word, "path": field_of(word["path"])} for word in analysis.get("fields", ())]
        analysis = {**analysis, **({"fields": told} if told else {})}
    return {
        "id": item.id,
        "workspace_id": workspace_id,
        "kind": item.kind,
        "session_id": item.session_id,
        "event_ids": list(item.event_ids),
        "entity_id": item.entity_id,
        "other_id": item.other_id,
        "entity_type": item.entity_type,
        "priority": item.priority,
        "reason": item.reason,
        "category": item.category,
        "status": item.status,
        "version": item.version,
        "judge_analysis": analysis,
        "assigned_to": item.assigned_to,
        "completed_action": item.completed_action,
        "completed_by": item.completed_by,
        "completed_at": item.completed_at,
        "ended_because": item.ended_because,
        "created_at": item.created_at,
        **({"written": list(item.written)} if item.written else {}),
    }


def context(tx: Tx, sealer: Sealer, workspace_id: str, item_id: str) -> dict[str, Any]:
    """The item with its events, its entity (of a match, both), and what was said where the judge looked."""
    item = queue.show(tx, workspace_id, item_id)
    view = reading.view(tx, workspace_id, item.entity_id)
    found = summary(workspace_id, item) | {
        "judge_analysis": item.analysis,
        "asked": {event: list(atoms) for event, atoms in item.asked.items()},
        "notes": item.notes,
        "events": events(tx, workspace_id, item.event_ids, view),
        "entity": _entity(view),
        "quotes": _quotes(tx, sealer, workspace_id, item),
    }
    if item.other_id is not None:
        found["other"] = _entity(reading.view(tx, workspace_id, item.other_id))
    return found


def diff(tx: Tx, workspace_id: str, item_id: str) -> dict[str, Any]:
    """What was said, and what the answer made of it."""
    item = queue.show(tx, workspace_id, item_id)
    view = reading.view(tx, workspace_id, item.entity_id)
    made = events(tx, workspace_id, item.made_events, view)
    return {
        "item_id": item_id,
        "original_events": events(tx, workspace_id, item.event_ids, view),
        "corrected_events": [each for each in made if not each["event_type"].startswith(VERDICT_PREFIX)],
    }


def correction_schema(tx: Tx, mappings: MappingSet, workspace_id: str, item_id: str) -> dict[str, Any]:
    """What a correction may say: a JSON Schema field by field, and how the fields stand now."""
    item = queue.show(tx, workspace_id, item_id)
    view = reading.view(tx, workspace_id, item.entity_id)
    if view is None:
        raise BadRecord("there is no such entity any more", code="unknown_entity", where=item.entity_id)
    known = {field for event in view.events if not event.event_type.startswith(VERDICT_PREFIX) for field in event.facts}
    schema = schema_of(mappings, view.entity_type, sorted(known), view.state)
    stated = rows(
        tx,
        "SELECT DISTINCT fhir_resource_type AS kind FROM event WHERE workspace_id = :ws"
        " AND id = ANY(CAST(:ids AS uuid[])) AND fhir_resource_type IS NOT NULL ORDER BY 1",
        ws=workspace_id,
        ids=id_array(item.event_ids),
    )
    return {
        "item_id": item_id,
        "fhir_resource_type": stated[0]["kind"] if stated else None,
        "fields": schema["properties"],
        "schema": schema,
        "current_values": view.state,
    }


def events(tx: Tx, workspace_id: str, event_ids: Sequence[str], view: EntityView | None) -> list[dict[str, Any]]:
    """Events as a reviewer sees them, in the order in which they came, each with what became of it so far."""
    found = rows(
        tx,
        "SELECT id, event_type, fhir_resource_type, fhir_resource_id, facts, source, source_system, confidence,"
        " ingested_at FROM event WHERE workspace_id = :ws AND id = ANY(CAST(:ids AS uuid[])) ORDER BY ingested_at, id",
        ws=workspace_id,
        ids=id_array(event_ids),
    )
    asked = {event for row in _open(tx, workspace_id, view) for event in row["event_ids"]}
    return [
        {
            "id": row["id"],
            "event_type": row["event_type"],
            "fhir_resource_type": row["fhir_resource_type"],
            "fhir_resource_id": row["fhir_resource_id"],
            "data": row["facts"],
            "source": row["source"],
            "source_system": row["source_system"],
            "confidence": row["confidence"],
            "created_at": row["ingested_at"],
            "review_status": _status(row, view, asked),
        }
        for row in found
    ]


def _open(tx: Tx, workspace_id: str, view: EntityView | None) -> list[Row]:
    return list(item_store.open_of_all(tx, workspace_id, "events", [view.entity_id]).values()) if view else []


def _status(row: Row, view: EntityView | None, asked: set[str]) -> str:
    """``flagged`` (a person is asked), or the last word about it: ``human_approved``, ``rejected`` …, else ``raw``."""
    if row["id"] in asked:
        return "flagged"
    words = [
        event
        for event in (view.events if view else ())
        if event.event_type.startswith(VERDICT_PREFIX) and event.facts.get("about") == row["id"]
    ]
    if not words:
        return "verified" if row["confidence"] >= 1 else "raw"
    last = max(words, key=lambda event: (event.facts.get("kind") == "human", event.ingested_at, event.id))
    if last.confidence == 0:
        return "corrected" if last.facts.get("reason") == "corrected" else "rejected"
    return "human_approved" if last.facts.get("kind") == "human" else "auto_approved"


def _entity(view: EntityView | None) -> dict[str, Any] | None:
    if view is None:
        return None
    name = view.state.get("name")
    shown = name
    if isinstance(name, dict):
        shown = name.get("text") or " ".join([*name.get("given", ()), name.get("family", "")]).strip()
    return {
        "id": view.entity_id,
        "canonical_id": view.canonical_id,
        "entity_type": view.entity_type,
        "display_name": shown if isinstance(shown, str) and shown else None,
        "state": view.state,
    }


def _quotes(tx: Tx, sealer: Sealer, workspace_id: str, item: Item) -> list[dict[str, Any]]:
    """What was said at the places that the judge names, with some of what stands around it.

    Each in the conversation of its event, as it stood when the judge read it.
    """
    words = [word for word in (item.analysis or {}).get("fields", ()) if word["quotes"]]
    read = {(word["session"], word["material"]) for word in words if word.get("material")}
    said = {(session, n): material.numbered(tx, sealer, workspace_id, session, n) for session, n in read}
    found = []
    for word in words:
        heard = said.get((word.get("session"), word.get("material")))
        if heard is None:
            continue
        found += [
            {
                "event_id": word["event_id"],
                "path": word["path"],
                "session_id": word["session"],
                "quote": heard.text[start:end],
                "around": heard.text[max(0, start - _AROUND) : end + _AROUND],
            }
            for start, end in word["quotes"]
        ]
    return found
