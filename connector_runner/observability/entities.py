"""Entities as people and programs ask for them: the projection, who says so, and what happened in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Row, Tx, one, rows
from connector_runner.intake import raw
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.resolution import evidence_store
from connector_runner.world import reading
from connector_runner.world.fold import Claim, Settled

MRN_CODE = "MR"


def listing(tx: Tx, *, entity_type: str | None = None, limit: int = 50, after: str | None = None) -> dict[str, Any]:
    """A page of entities in id order, and the id to go on after."""
    found = rows(
        tx,
        "SELECT * FROM projection WHERE (CAST(:type AS text) IS NULL OR entity_type = :type)"
        " AND (CAST(:after AS uuid) IS NULL OR entity_id > CAST(:after AS uuid)) ORDER BY entity_id LIMIT :limit",
        type=entity_type,
        after=after,
        limit=limit + 1,
    )
    total = one(
        tx,
        "SELECT count(*) AS n FROM entity WHERE CAST(:type AS text) IS NULL OR entity_type = :type",
        type=entity_type,
    )
    page = found[:limit]
    return {
        "entities": [response(row) for row in page],
        "total": total["n"] if total else 0,
        "has_more": len(found) > limit,
        "next_after": page[-1]["entity_id"] if len(found) > limit else None,
    }


def show(tx: Tx, workspace_id: str, name: str) -> dict[str, Any]:
    """One entity with the provenance of each field and what it is related to; of a person, whichever record is named.

    State, status, confidence and provenance are of all entities that are the same; records are its own.
    Raises BadRecord (``unknown_entity``) when there is none.
    """
    stored = _stored(tx, workspace_id, name)
    view = reading.views(tx, [stored["entity_id"]])[0]
    whole = {"state": view.state, "status": view.folded.status, "confidence": view.folded.confidence}
    return response(dict(stored) | whole) | {
        "members": list(view.members),
        "provenance": {atom: _provenance(settled.winner) for atom, settled in sorted(view.folded.atoms.items())},
        "linked_entities": _linked(tx, workspace_id, view.entity_id),
        "records": [{"canonical_id": key, "data_source_id": source} for key, source in sorted(view.records.items())],
        "relationships": reading.related(tx, workspace_id, view),
    }


def _linked(tx: Tx, workspace_id: str, entity_id: str) -> list[dict[str, Any]]:
    """The other entities that are the same."""
    found = evidence_store.members(tx, workspace_id, entity_id)
    return [dict(row) for row in found if row["entity_id"] != entity_id]


def timeline(tx: Tx, workspace_id: str, name: str, *, limit: int = 50, offset: int = 0) -> dict[str, Any]:
    """The events of an entity, the newest first, without their values."""
    events = _events(tx, workspace_id, name)
    page = events[offset : offset + limit]
    return {
        "entity_id": reading.entity_id(tx, workspace_id, name),
        "events": [_without_values(event) for event in page],
        "total": len(events),
        "has_more": offset + limit < len(events),
        "next_offset": offset + limit if offset + limit < len(events) else None,
    }


def history(tx: Tx, workspace_id: str, name: str, *, limit: int = 10, offset: int = 0) -> dict[str, Any]:
    """What each event said, the newest first, with the record as it came and the fields that it changed."""
    events = _events(tx, workspace_id, name)
    entries = []
    for number, event in list(enumerate(events))[offset : offset + limit]:
        before: dict[str, Any] = next(
            (older["facts"] for older in events[number + 1 :] if older["record_key"] == event["record_key"]), {}
        )
        entries.append(
            _without_values(event)
            | {
                "facts": event["facts"],
                "data": _body(tx, event),
                "fields_affected": _changed(before, event["facts"]),
                "is_current": number == 0,
            }
        )
    return {"entity_id": reading.entity_id(tx, workspace_id, name), "entries": entries, "total": len(events)}


def _stored(tx: Tx, workspace_id: str, name: str) -> Row:
    stored = reading.row(tx, workspace_id, name)
    if stored is None:
        raise BadRecord("there is no such entity", code="unknown_entity", where=name)
    return stored


def _events(tx: Tx, workspace_id: str, name: str) -> list[Row]:
    return rows(
        tx,
        "SELECT e.* FROM event e WHERE e.entity_id = :id OR e.entity_id IN"
        " (SELECT record_id FROM adopted_record WHERE entity_id = :id) ORDER BY e.id DESC",
        id=_stored(tx, workspace_id, name)["entity_id"],
    )


_METADATA = (
    "id", "event_type", "domain", "source", "source_system", "record_key", "confidence", "mapping_version",
    "supersedes", "caused_by", "effective_at", "ingested_at", "actor", "correlation_id", "fhir_resource_type",
    "fhir_resource_id",
)  # fmt: skip


def _without_values(event: Row) -> dict[str, Any]:
    return {name: event[name] for name in _METADATA} | {"fields": sorted(event["facts"])}


def _body(tx: Tx, event: Row) -> Any:
    if event["raw_id"] is None:
        return None
    body = raw.read(tx, event["raw_id"], event["raw_position"])
    return exact_json.loads(body) if body else None


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _provenance(claim: Claim) -> dict[str, Any]:
    return {
        "event_id": claim.event_id,
        "source": claim.source,
        "source_system": claim.source_system,
        "confidence": claim.confidence,
        "since": _known(claim.since),
        "record_key": claim.record_key,
    } | ({"verdict": claim.verdict} if claim.verdict else {})


def _known(moment: datetime) -> datetime | None:
    return moment if moment.year > 1 else None


def explained(settled: Settled) -> dict[str, Any]:
    """The winner and the losers of an atom, each loser with the rule that decided."""
    return {
        "winner": {"value": settled.winner.value} | _claim(settled.winner),
        "losers": [
            {"value": loser.value} | _claim(loser) | {"because": _because(settled.winner, loser, settled.conflict)}
            for loser in settled.losers
        ],
    } | ({"conflict": settled.conflict} if settled.conflict else {})


def _claim(claim: Claim) -> dict[str, Any]:
    return _provenance(claim) | {
        "mapping_version": claim.mapping_version,
        "echo": claim.echo,
    }


def _because(winner: Claim, loser: Claim, conflict: str | None) -> str:
    """Which rule of the fold decided between two claims."""
    if conflict and loser.verdict == "automated":
        return conflict
    if winner.rank[0] != loser.rank[0]:
        return "rejected" if loser.confidence == 0 else "lower_confidence_class"
    for place, reason in ((1, "asserted_earlier"), (2, "lower_confidence"), (3, "ingested_earlier")):
        if winner.rank[place] != loser.rank[place]:
            return reason
    return "tie_by_id"


def response(row: Row) -> dict[str, Any]:
    """An entity's row with the flat fields that lists show."""
    state: dict[str, Any] = row["state"]
    return {
        "id": row["entity_id"],
        "workspace_id": row["workspace_id"],
        "entity_type": row["entity_type"],
        "canonical_id": row["canonical_id"],
        "display_name": _display_name(state),
        "name": _display_name(state),
        "status": state.get("status") if isinstance(state.get("status"), str) else row["status"],
        "record_status": row["status"],
        "birth_date": state.get("birth_date"),
        "gender": state.get("gender"),
        "phone": _telecom(state, "phone"),
        "email": _telecom(state, "email"),
        "mrn": _mrn(state),
        "appointment_start": state.get("start") if row["entity_type"] == "appointment" else None,
        "appointment_end": state.get("end") if row["entity_type"] == "appointment" else None,
        "appointment_status": state.get("status") if row["entity_type"] == "appointment" else None,
        "confidence": row["confidence"],
        "event_count": row["event_count"],
        "external_ids": {str(i.get("system") or i.get("type") or ""): i.get("value") for i in _identifiers(state)},
        "first_seen_at": row["first_seen_at"],
        "created_at": row["first_seen_at"],
        "last_event_at": row["last_event_at"],
        "updated_at": row["updated_at"],
        "source": row["provenance"]["by"][0]["source"] if row["provenance"].get("by") else None,
        "has_projection": True,
        "revision": row["revision"],
        "state": state,
    }


def _identifiers(state: dict[str, Any]) -> Sequence[dict[str, Any]]:
    found = state.get("identifier")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _mrn(state: dict[str, Any]) -> str | None:
    return next((str(i["value"]) for i in _identifiers(state) if i.get("type") == MRN_CODE and i.get("value")), None)


def _telecom(state: dict[str, Any], system: str) -> str | None:
    found = state.get("telecom")
    for item in found if isinstance(found, list) else ():
        if isinstance(item, dict) and item.get("system") == system and item.get("use") != "old":
            return str(item.get("value"))
    return None


def _display_name(state: dict[str, Any]) -> str | None:
    name = state.get("name")
    if isinstance(name, str):
        return name
    if isinstance(name, dict):
        parts = [*_texts(name.get("prefix")), *_texts(name.get("given")), *_texts([name.get("family")])]
        return str(name.get("text") or " ".join([*parts, *_texts(name.get("suffix"))])) or None
    for field in ("code", "medication", "type"):
        value = state.get(field)
        if isinstance(value, dict) and (text := value.get("text") or value.get("display")):
            return str(text)
    return None


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
