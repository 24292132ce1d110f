"""What the fold needs beside events: the versions of their records, and what those records were sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
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
    last = store.sent_values_of(tx, records)
    sent = at_its_origin(last, events)
    said_by = {event.id: event.entity_id for event in events} if sent else {}
    lent = {value.record_id for value in sent if said_by.get(value.event_id) != entity_of[value.record_id]}
    before = store.sent_before(tx, sorted(lent))
    return store.versions_of(tx, records), at_its_origin(last + before, events) if before else sent


def deleted(versions: Iterable[RecordVersion]) -> dict[str, datetime]:
    """The records of which the latest of these versions says that they are deleted, with since when that is known."""
    since: dict[str, datetime] = {}
    for version in sorted(versions, key=lambda version: version.order):
        if version.deleted:
            since[version.record_id] = min(version.seen_at, since.get(version.record_id, version.seen_at))
        else:
            since.pop(version.record_id, None)
    return since


def at_its_origin(sent: Sequence[SentValue], events: Sequence[StoredEvent]) -> list[SentValue]:
    """What was sent, with whose word it is where it came by way of another record.

    A poll may read what a write of ours left before the outcome of that write is known: until then the record's value
    is taken for a word of its own, and others may be sent it as such.
    """
    record_of = {event.id: event.record_id for event in events if event.record_id} if sent else {}
    relayed = {(value.record_id, value.atom, value.value_digest): value for value in sent}

    def origin(value: SentValue) -> SentValue:
        cause, passed = value, {value.record_id}
        while (record := record_of.get(cause.event_id)) is not None and record not in passed:
            came = relayed.get((record, value.atom, value.value_digest))
            if came is None:
                break
            passed.add(record)
            cause = came
        if cause is value:
            return value
        return replace(cause, record_id=value.record_id, sent_at=value.sent_at, relayed_by=value.event_id)

    return [origin(value) for value in sent]
