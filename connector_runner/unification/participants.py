"""Who takes part in an appointment or an encounter, rendered from the list and from the single fields."""

from __future__ import annotations

from typing import Any

from connector_runner.unification.clinical import LOCATION, PATIENT, PRACTITIONER
from connector_runner.unification.datatypes import reference_kind
from connector_runner.unification.renderers import Json, concept, listed, period, reference
from connector_runner.unification.run import Run

_KINDS = (PATIENT, PRACTITIONER, LOCATION)


def appointment_participants(value: Any, path: str, run: Run) -> list[Json] | None:
    """Of [participants, patient, practitioner, location]: Appointment.participant."""
    participants, *single = value
    rendered = []
    for item in _settled(participants, "actor", list(zip(single, _KINDS, strict=True))):
        part = _participant(item, "actor", path, run)
        if part is not None:
            part["status"] = item.get("status") or "accepted"
            if item.get("required"):
                part["required"] = item["required"]
            rendered.append(part)
    return rendered or None


def encounter_participants(value: Any, path: str, run: Run) -> list[Json] | None:
    """Of [participants, practitioner]: Encounter.participant."""
    participants, practitioner = value
    items = _settled(participants, "individual", [(practitioner, PRACTITIONER)])
    rendered = [_participant(item, "individual", path, run) for item in items]
    return [item for item in rendered if item is not None] or None


def encounter_locations(value: Any, path: str, run: Run) -> list[Json] | None:
    """Of [locations, location]: Encounter.location."""
    locations, location = value
    rendered = []
    for item in _settled(locations, "location", [(location, LOCATION)]):
        place = _participant(item, "location", path, run)
        if place is None or "location" not in place:
            continue
        if item.get("status"):
            place["status"] = item["status"]
        kind = concept(item.get("physical_type"), path, run)
        if kind is not None:
            place["physicalType"] = kind
        rendered.append(place)
    return rendered or None


def _settled(participants: Any, element: str, single: list[tuple[Any, frozenset[str]]]) -> list[Json]:
    """The list, in which a single field that names somebody else replaces the first of that kind.

    The single fields are what agents and people change; the list is what the source said.
    """
    items = [item for item in (participants if type(participants) is list else ()) if type(item) is dict]
    for wanted, kinds in single:
        if type(wanted) is not dict:
            continue
        of_kind = [item for item in items if _kind_of(item.get(element)) in kinds]
        if any(_same_actor(item[element], wanted) for item in of_kind):
            continue
        if of_kind:
            place = next(index for index, item in enumerate(items) if item is of_kind[0])
            items[place] = {**of_kind[0], element: wanted}
        else:
            items.append({element: wanted})
    return items


def _kind_of(actor: Any) -> str | None:
    return reference_kind(actor) if type(actor) is dict else None


def _same_actor(one: Json, other: Json) -> bool:
    if "ref" in one or "ref" in other:
        return one.get("ref") == other.get("ref")
    return one == other


def _participant(item: Json, element: str, path: str, run: Run) -> Json | None:
    rendered: Json = {}
    actor = reference(item.get(element), path, run)
    if actor is not None:
        rendered[element] = actor
    roles = listed(concept)(item.get("type"), path, run)
    if roles is not None:
        rendered["type"] = roles
    span = period(item.get("period"), path, run)
    if span is not None:
        rendered["period"] = span
    return rendered or None
