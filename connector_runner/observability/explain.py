"""Why an entity is as it is: each atom's winner and losers, and where the entity may or may not go."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.database import Row, Tx, rows
from connector_runner.kernel.errors import BadRecord
from connector_runner.world import reading
from connector_runner.world.confidence import confidence_class
from connector_runner.world.fold import Claim


def entity(tx: Tx, workspace_id: str, name: str) -> dict[str, Any]:
    """One entity in the platform's shape, with provenance for each field.

    Raises BadRecord (``unknown_entity``) when there is none.
    """
    row = _row(tx, workspace_id, name)
    view = reading.view(tx, workspace_id, row["entity_id"])
    assert view is not None
    state = row["state"]
    related = reading.related(tx, row["entity_id"])
    return {
        "id": row["entity_id"],
        "workspace_id": row["workspace_id"],
        "entity_type": row["entity_type"],
        "canonical_id": row["canonical_id"],
        "status": row["status"],
        "display_name": _display_name(state),
        "name": _display_name(state),
        "birth_date": state.get("birth_date"),
        "gender": state.get("gender"),
        "phone": _telecom(state, "phone"),
        "email": _telecom(state, "email"),
        "external_ids": dict(sorted(view.records.items())),
        "confidence": row["confidence"],
        "event_count": row["event_count"],
        "has_projection": True,
        "created_at": row["first_seen_at"],
        "first_seen_at": row["first_seen_at"],
        "last_event_at": row["last_event_at"],
        "updated_at": row["updated_at"],
        "revision": row["revision"],
        "state": state,
        "provenance": {atom: claim_of(settled.winner) for atom, settled in sorted(view.folded.atoms.items())},
        "linked_entities": [],
        "relationships": [{**item} for item in related],
    }


def atoms(tx: Tx, workspace_id: str, name: str) -> dict[str, Any]:
    """Every atom with its winning claim, the claims that lost and why, and the sinks' view of the entity.

    Raises BadRecord as ``entity`` does.
    """
    row = _row(tx, workspace_id, name)
    view = reading.view(tx, workspace_id, row["entity_id"])
    assert view is not None
    return {
        "id": row["entity_id"],
        "entity_type": row["entity_type"],
        "canonical_id": row["canonical_id"],
        "atoms": {
            atom: {
                "winner": {"value": settled.winner.value, **claim_of(settled.winner)},
                "losers": [
                    {"value": claim.value, **claim_of(claim), "because": _because(settled.winner, claim)}
                    for claim in settled.losers
                ],
                **({"conflict": settled.conflict} if settled.conflict else {}),
            }
            for atom, settled in sorted(view.folded.atoms.items())
        },
        "sinks": rows(
            tx,
            "SELECT d.name AS sink, l.state, l.reason, l.reason_detail, l.withheld, l.sink_ref, l.attempts, l.due_at,"
            " l.synced_at FROM sync_lane l JOIN data_source d"
            " ON d.workspace_id = l.workspace_id AND d.data_source_id = l.sink_id"
            " WHERE l.entity_id = :id ORDER BY d.name",
            id=row["entity_id"],
        ),
    }


def timeline(tx: Tx, workspace_id: str, name: str, *, limit: int = 50, content: bool = False) -> list[Row]:
    """The entity's events, the latest first; with their facts if ``content``.

    Raises BadRecord as ``entity`` does.
    """
    row = _row(tx, workspace_id, name)
    columns = (
        "id, event_type, source, source_system, confidence, record_key, mapping_version, actor, effective_at,"
        " ingested_at, supersedes, caused_by" + (", facts, snapshot" if content else "")
    )
    return rows(
        tx,
        f"SELECT {columns} FROM event WHERE entity_id = :id ORDER BY ingested_at DESC, id DESC LIMIT :limit",
        id=row["entity_id"],
        limit=limit,
    )


def listing(tx: Tx, *, entity_type: str | None = None, limit: int = 50, after: str | None = None) -> list[Row]:
    """Entities in id order, over ``after``."""
    return rows(
        tx,
        "SELECT entity_id AS id, entity_type, canonical_id, status, confidence, event_count, updated_at FROM entity"
        " WHERE (CAST(:type AS text) IS NULL OR entity_type = :type)"
        " AND (CAST(:after AS uuid) IS NULL OR entity_id > CAST(:after AS uuid)) ORDER BY entity_id LIMIT :limit",
        type=entity_type,
        after=after,
        limit=limit,
    )


def claim_of(claim: Claim) -> dict[str, Any]:
    """Who said it, how sure, since when."""
    return {
        "event_id": claim.event_id,
        "source": claim.source,
        "source_system": claim.source_system,
        "confidence": claim.confidence,
        "since": claim.since,
        **({"verdict": claim.verdict} if claim.verdict else {}),
    }


def _row(tx: Tx, workspace_id: str, name: str) -> Row:
    row = reading.row(tx, workspace_id, name)
    if row is None:
        raise BadRecord("there is no such entity in this workspace", code="unknown_entity", where=name)
    return row


def _because(winner: Claim, loser: Claim) -> str:
    if loser.confidence <= 0:
        return "rejected"
    if confidence_class(winner.confidence) != confidence_class(loser.confidence):
        return "less sure"
    return "asserted earlier" if winner.since != loser.since else "no later, and not surer"


def _display_name(state: dict[str, Any]) -> str | None:
    name = state.get("name")
    if isinstance(name, dict):
        parts = [*name.get("given", []), name.get("family")]
        return name.get("text") or " ".join(part for part in parts if part) or None
    return name if isinstance(name, str) else None


def _telecom(state: dict[str, Any], system: str) -> str | None:
    return next((item.get("value") for item in state.get("telecom", []) if item.get("system") == system), None)
