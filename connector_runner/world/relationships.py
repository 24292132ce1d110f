"""References in a state become relationships, whether or not what they refer to has arrived.

The target of ``{"ref": "ehr:Patient:7"}`` is the record's derived id, so nothing needs to be mended when it
arrives. A reference by business identifier points at a token that the bearer of the identifier also leaves.

What an entity refers to, its state says. What is stored is the way back: for each target and name, and each
append, one row with all the entities that came to refer to it then. Records that arrive together mostly refer to
the same few, so that is a row for five references, and one index to keep instead of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from connector_runner.infra.database import Tx, copy_lines, copy_text, execute, id_array
from connector_runner.kernel.ids import derived_id, entity_id_of, new_id
from connector_runner.world.events import Reference

# FHIR types that other records name by business identifier (conditional references, R4 section 3.1.0.5).
IDENTIFIED_TYPES = frozenset(
    {"Patient", "Practitioner", "PractitionerRole", "Organization", "Location", "RelatedPerson", "Device"}
)

# References of one page point at few records; a larger cache would only grow with the size of an import.
_REMEMBERED = 8192
_ids = lru_cache(maxsize=_REMEMBERED)(entity_id_of)

Target = tuple[str, str, bool]
"""A Reference with the id that is derived from what it names."""


@lru_cache(maxsize=_REMEMBERED)
def identifier_token(workspace_id: str, resource_type: str, system: str, value: str) -> str:
    """What a bearer of an identifier and a reference by it have in common."""
    return derived_id(workspace_id, f"identifier|{resource_type}|{system}|{value}")


def targets(workspace_id: str, state: dict[str, Any]) -> set[Target]:
    """(name, target id, by identifier) of each reference in a state; the name is the field's."""
    return {_resolved(workspace_id, reference) for reference in references(workspace_id, state)}


def _resolved(workspace_id: str, reference: Reference) -> Target:
    name, said, by_identifier = reference
    return reference if by_identifier else (name, _ids(workspace_id, said), False)


def references(workspace_id: str, state: dict[str, Any]) -> list[Reference]:
    """Each reference in a state, as often as it stands there."""
    found: list[Reference] = []
    for field, value in state.items():
        # Exact types, as JSON has them: this walks all that is ever landed.
        kind = type(value)
        if kind is dict or kind is list:
            _gather(workspace_id, field, value, found)
    return found


def _gather(workspace_id: str, name: str, value: Any, found: list[Reference]) -> None:
    if type(value) is list:
        inner: Iterable[Any] = value
    elif type(ref := value.get("ref")) is str:
        found.append((name, ref, False))
        return
    else:
        if "identifier" in value and (token := _token_of(workspace_id, value)) is not None:
            found.append((name, token, True))
            return
        inner = value.values()
    for item in inner:
        kind = type(item)
        if kind is not str and (kind is dict or kind is list):
            _gather(workspace_id, name, item, found)


def _token_of(workspace_id: str, value: dict[str, Any]) -> str | None:
    identifier, kind = value["identifier"], value.get("type")
    if not (isinstance(identifier, dict) and isinstance(kind, str) and _is_unique(identifier)):
        return None
    return identifier_token(workspace_id, kind, str(identifier["system"]), str(identifier["value"]))


def _is_unique(identifier: dict[str, Any]) -> bool:
    """Whether it says whose number it is: 12345 of no system is the number of many."""
    return bool(identifier.get("system") and identifier.get("value"))


def tokens(workspace_id: str, resource_type: str | None, state: dict[str, Any]) -> list[str]:
    """The tokens under which a record can be referred to by identifier."""
    if resource_type not in IDENTIFIED_TYPES or not isinstance(state.get("identifier"), list):
        return []
    return [
        identifier_token(workspace_id, resource_type, str(identifier["system"]), str(identifier["value"]))
        for identifier in state["identifier"]
        if isinstance(identifier, dict) and _is_unique(identifier)
    ]


def save_new(tx: Tx, workspace_id: str, said: Iterable[tuple[str, list[Reference]]]) -> None:
    """Store the relationships of entities that had none, from what each refers to."""
    gathered: dict[Reference, list[str]] = {}
    for entity, found in said:
        for reference in found:
            entities = gathered.setdefault(reference, [])
            if not entities or entities[-1] != entity:
                entities.append(entity)
    # Derived here, once for each target of the page.
    pages = [(*_resolved(workspace_id, reference), entities) for reference, entities in gathered.items()]
    _add(tx, workspace_id, pages)


def save_changed(
    tx: Tx, workspace_id: str, states: Sequence[tuple[str, dict[str, Any]]], before: Mapping[str, dict[str, Any]]
) -> None:
    """Store how relationships changed: ``before`` has the states that entities had, by id; the new have none."""
    came: dict[Target, list[str]] = {}
    gone: dict[Target, list[str]] = {}
    for entity, state in states:
        had, has = targets(workspace_id, before.get(entity, {})), targets(workspace_id, state)
        for target in sorted(has - had):
            came.setdefault(target, []).append(entity)
        for target in sorted(had - has):
            gone.setdefault(target, []).append(entity)
    _remove(tx, gone)
    _add(tx, workspace_id, [(*target, found) for target, found in came.items()])


def _add(tx: Tx, workspace_id: str, pages: Sequence[tuple[str, str, bool, list[str]]]) -> None:
    if not pages:
        return
    execute(
        tx,
        "CREATE TEMPORARY TABLE IF NOT EXISTS arriving_relationship (name text, target_id uuid,"
        " by_identifier boolean, entity_ids uuid[]) ON COMMIT DELETE ROWS",
    )
    execute(tx, "DELETE FROM arriving_relationship")
    copy_lines(
        tx,
        "arriving_relationship",
        ("name", "target_id", "by_identifier", "entity_ids"),
        [
            f"{copy_text(name)}\t{target}\t{'t' if by_identifier else 'f'}\t{id_array(entities)}"
            for name, target, by_identifier, entities in pages
        ],
    )
    execute(
        tx,
        "INSERT INTO relationship_page (workspace_id, append_id, name, target_id, by_identifier, entity_ids)"
        " SELECT :ws, :append, name, target_id, by_identifier, entity_ids FROM arriving_relationship",
        ws=workspace_id,
        append=new_id(),
    )


def _remove(tx: Tx, gone: Mapping[Target, Sequence[str]]) -> None:
    """Seldom: most changes of a record leave alone what it refers to. In order, for others may remove as well."""
    for key in sorted(gone):
        name, target, _ = key
        execute(
            tx,
            "UPDATE relationship_page SET entity_ids = ARRAY(SELECT unnest(entity_ids) EXCEPT"
            " SELECT unnest(CAST(:ids AS uuid[])))"
            " WHERE target_id = :target AND name = :name AND entity_ids && CAST(:ids AS uuid[])",
            ids=id_array(gone[key]),
            target=target,
            name=name,
        )
        execute(
            tx,
            "DELETE FROM relationship_page WHERE target_id = :target AND name = :name AND entity_ids = '{}'",
            target=target,
            name=name,
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
            tokens=id_array(token for token, _ in pairs),
            records=id_array(record for _, record in pairs),
        )
