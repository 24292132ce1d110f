"""References in a state become relationships, whether or not what they refer to has arrived.

The target of ``{"ref": "ehr:Patient:7"}`` is the record's derived id, so nothing needs to be mended when it
arrives. A reference by business identifier points at a token that the bearer of the identifier also leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from connector_runner.infra.database import Tx, copy_rows, execute
from connector_runner.kernel.ids import derived_id, entity_id_of

# FHIR types that other records name by business identifier (conditional references, R4 section 3.1.0.5).
IDENTIFIED_TYPES = frozenset(
    {"Patient", "Practitioner", "PractitionerRole", "Organization", "Location", "RelatedPerson", "Device"}
)

# References of one page point at few records; a larger cache would only grow with the size of an import.
_REMEMBERED = 8192
_ids = lru_cache(maxsize=_REMEMBERED)(entity_id_of)


@lru_cache(maxsize=_REMEMBERED)
def identifier_token(workspace_id: str, resource_type: str, system: str, value: str) -> str:
    """What a bearer of an identifier and a reference by it have in common."""
    return derived_id(workspace_id, f"identifier|{resource_type}|{system}|{value}")


def targets(workspace_id: str, state: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(name, target id, by identifier) of each reference in a state; the name is the field's."""
    for field, value in state.items():
        if isinstance(value, dict | list):
            yield from _targets(workspace_id, field, value)


def _targets(workspace_id: str, name: str, value: Any) -> Iterator[tuple[str, str, bool]]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                yield from _targets(workspace_id, name, item)
        return
    ref = value.get("ref")
    if isinstance(ref, str):
        yield name, _ids(workspace_id, ref), False
        return
    identifier, kind = value.get("identifier"), value.get("type")
    if isinstance(identifier, dict) and isinstance(kind, str) and identifier.get("value"):
        system = str(identifier.get("system") or "")
        yield name, identifier_token(workspace_id, kind, system, str(identifier["value"])), True
        return
    for item in value.values():
        if isinstance(item, dict | list):
            yield from _targets(workspace_id, name, item)


def tokens(workspace_id: str, resource_type: str | None, state: dict[str, Any]) -> Iterator[str]:
    """The tokens under which a record can be referred to by identifier."""
    if resource_type not in IDENTIFIED_TYPES or not isinstance(state.get("identifier"), list):
        return
    for identifier in state["identifier"]:
        if isinstance(identifier, dict) and identifier.get("value"):
            system = str(identifier.get("system") or "")
            yield identifier_token(workspace_id, resource_type, system, str(identifier["value"]))


def save(
    tx: Tx,
    workspace_id: str,
    states: Sequence[tuple[str, dict[str, Any]]],
    *,
    replaced: Sequence[str],
) -> None:
    """Store the relationships of ``states`` (entity id, state); those of ``replaced`` entities go first."""
    if replaced:
        execute(tx, "DELETE FROM relationship WHERE entity_id = ANY(CAST(:ids AS uuid[]))", ids=list(replaced))
    edges = {(entity, *target) for entity, state in states for target in targets(workspace_id, state)}
    if not edges:
        return
    execute(
        tx,
        "CREATE TEMPORARY TABLE IF NOT EXISTS edge (entity_id uuid, name text, target_id uuid,"
        " by_identifier boolean) ON COMMIT DELETE ROWS",
    )
    execute(tx, "DELETE FROM edge")
    copy_rows(tx, "edge", ("entity_id", "name", "target_id", "by_identifier"), sorted(edges))
    execute(
        tx,
        "INSERT INTO relationship (workspace_id, entity_id, name, target_id, by_identifier)"
        " SELECT :ws, entity_id, name, target_id, by_identifier FROM edge"
        " ON CONFLICT DO NOTHING",
        ws=workspace_id,
    )


def save_identifiers(tx: Tx, workspace_id: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Store (token, record id) pairs; a token once left is kept, as an old reference may still use it."""
    if pairs:
        execute(
            tx,
            "INSERT INTO business_identifier (workspace_id, token, record_id)"
            " SELECT :ws, t, r FROM unnest(CAST(:tokens AS uuid[]), CAST(:records AS uuid[])) x(t, r)"
            " ON CONFLICT DO NOTHING",
            ws=workspace_id,
            tokens=[token for token, _ in pairs],
            records=[record for _, record in pairs],
        )
