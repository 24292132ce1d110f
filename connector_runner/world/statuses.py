"""Whether entities are there, by what the source records say that count for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from connector_runner.world.events import RecordVersion, StoredEvent


def statuses(histories: Mapping[str, list[RecordVersion]], events: Sequence[StoredEvent]) -> dict[str, str]:
    """Entity -> what its own source record says of it; without one of its own, what all its records say.

    A copy that we made elsewhere does not keep alive what its source deleted.
    """
    records: dict[str, dict[str, list[RecordVersion]]] = {event.entity_id: {} for event in events}
    for event in events:
        if event.record_id is not None and event.record_id in histories:
            records[event.entity_id][event.record_id] = histories[event.record_id]
    kinds = {event.id: event.event_type for event in events}
    return {entity: _of_entity(entity, found, kinds) for entity, found in records.items()}


def _of_entity(entity_id: str, histories: Mapping[str, list[RecordVersion]], kinds: Mapping[str, str]) -> str:
    own = histories.get(entity_id)
    latest = [own[-1]] if own else [history[-1] for history in histories.values()]
    if not latest:
        return "active"
    if all(version.deleted for version in latest):
        return "deleted"
    if all(not version.deleted and kinds[version.event_id or ""].endswith(".retracted") for version in latest):
        return "retracted"
    return "active"


def together(statuses: Iterable[str]) -> str:
    """Whoever is there in one of their records is there."""
    found = set(statuses)
    return "active" if not found or "active" in found else "deleted" if "deleted" in found else "retracted"
