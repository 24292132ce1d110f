"""What the fold needs beside events: the versions of their records, and what those records were sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from connector_runner.infra.database import Tx
from connector_runner.world import store
from connector_runner.world.events import RecordVersion, SentValue, StoredEvent

_NONE: Mapping[str, str] = MappingProxyType({})


def of_records(
    tx: Tx, events: Sequence[StoredEvent], adopted: Mapping[str, str] = _NONE
) -> tuple[list[RecordVersion], list[SentValue]]:
    """The versions of the records of ``events``, and what the records were sent, of any number of entities.

    ``adopted``: further records, which may not have been read yet -> the entity that each counts for. What was sent
    earlier is read only of a record that was sent the word of another entity than its own.
    """
    entity_of = {**adopted, **{event.record_id: event.entity_id for event in events if event.record_id}}
    records = sorted(entity_of)
    sent = store.sent_values_of(tx, records)
    said_by = {event.id: event.entity_id for event in events} if sent else {}
    lent = {value.record_id for value in sent if said_by.get(value.event_id) != entity_of[value.record_id]}
    return store.versions_of(tx, records), sent + store.sent_before(tx, sorted(lent))
