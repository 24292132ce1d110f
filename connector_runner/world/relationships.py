"""References in a state become relationships, whether or not what they refer to has arrived.

The target of ``{"ref": "ehr:Patient:7"}`` is the record's derived id, so nothing needs to be mended when it
arrives. A reference by business identifier points at a token that the bearer of the identifier also leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from connector_runner.infra.database import Tx, copy_lines, copy_text, execute, id_array
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


Target = tuple[str, str, bool]


def targets(workspace_id: str, state: dict[str, Any]) -> Iterator[Target]:
    """(name, target id, by identifier) of each reference in a state; the name is the field's."""
    found: list[Target] = []
    for field, value in state.items():
        # Exact types, as JSON has them: this walks all that is ever landed.
        kind = type(value)
        if kind is dict or kind is list:
            _targets(workspace_id, field, value, found)
    return iter(found)


def _targets(workspace_id: str, name: str, value: Any, found: list[Target]) -> None:
    if type(value) is list:
        inner: Iterable[Any] = value
    elif (ref := value.get("ref")) is not None and isinstance(ref, str):
        found.append((name, _ids(workspace_id, ref), False))
        return
    else:
        if "identifier" in value and (token := _token_of(workspace_id, value)) is not None:
            found.append((name, token, True))
            return
        inner = value.values()
    for item in inner:
        kind = type(item)
        if kind is dict or kind is list:
            _targets(workspace_id, name, item, found)


def _token_of(workspace_id: str, value: dict[str, Any]) -> str | None:
    identifier, kind = value["identifier"], value.get("type")
    if not (isinstance(identifier, dict) and isinstance(kind, str) and _is_unique(identifier)):
        return None
    return identifier_token(workspace_id, kind, str(identifier["system"]), str(identifier["value"]))


def _is_unique(identifier: dict[str, Any]) -> bool:
    """Whether it says whose number it is: 12345 of no system is the number of many."""
    return bool(identifier.get("system") and identifier.get("value"))


def tokens(workspace_id: str, resource_type: str | None, state: dict[str, Any]) -> Iterator[str]:
    """The tokens under which a record can be referred to by identifier."""
    if resource_type not in IDENTIFIED_TYPES or not isinstance(state.get("identifier"), list):
        return
    for identifier in state["identifier"]:
        if isinstance(identifier, dict) and _is_unique(identifier):
            yield identifier_token(workspace_id, resource_type, str(identifier["system"]), str(identifier["value"]))


def save(
    tx: Tx,
    workspace_id: str,
    states: Sequence[tuple[str, dict[str, Any]]],
    *,
    replaced: Sequence[str],
) -> None:
    """Store the relationships of ``states`` (entity id, state); those of ``replaced`` entities go first."""
    if replaced:
        execute(tx, "DELETE FROM relationship WHERE entity_id = ANY(CAST(:ids AS uuid[]))", ids=id_array(replaced))
    lines = [line for entity, state in states for line in _lines(entity, set(targets(workspace_id, state)))]
    if not lines:
        return
    execute(
        tx,
        "CREATE TEMPORARY TABLE IF NOT EXISTS edge (entity_id uuid, name text, target_id uuid,"
        " by_identifier boolean) ON COMMIT DELETE ROWS",
    )
    execute(tx, "DELETE FROM edge")
    copy_lines(tx, "edge", ("entity_id", "name", "target_id", "by_identifier"), lines)
    execute(
        tx,
        "INSERT INTO relationship (workspace_id, entity_id, name, target_id, by_identifier)"
        # The entities are locked or new, and what they had is gone: nothing can be there already.
        " SELECT :ws, entity_id, name, target_id, by_identifier FROM edge",
        ws=workspace_id,
    )


def _lines(entity: str, found: Iterable[Target]) -> Iterator[str]:
    for name, target, by_identifier in found:
        yield f"{entity}\t{copy_text(name)}\t{target}\t{'t' if by_identifier else 'f'}"


def save_identifiers(tx: Tx, workspace_id: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Store (token, record id) pairs; a token once left is kept, as an old reference may still use it."""
    if pairs:
        execute(
            tx,
            "INSERT INTO business_identifier (workspace_id, token, record_id)"
            " SELECT :ws, t, r FROM unnest(CAST(:tokens AS uuid[]), CAST(:records AS uuid[])) x(t, r)"
            " ON CONFLICT DO NOTHING",
            ws=workspace_id,
            tokens=id_array(token for token, _ in pairs),
            records=id_array(record for _, record in pairs),
        )
