"""The nouns of the world model: events to append and versions of source records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from connector_runner.kernel.ids import new_id

Facts = dict[str, Any]

Reference = tuple[str, str, bool]
"""Name of the field, canonical id or identifier's token, and whether it is a token."""


# What is made for every record that lands is a Struct: to make a frozen dataclass takes many times as long.
class Written(Struct, frozen=True):
    """Facts as they go into the tables: their JSON, what they refer to, and the identifiers that name their record."""

    text: str
    references: list[Reference]
    tokens: list[str]


class RecordVersion(Struct, frozen=True):
    """One sighting of a source record with a content, or a version stamp, that was not known before.

    Versions of a record are ordered by ``(era, order_version, order_at, n)``; ``n`` is the order of arrival.
    ``event_id`` names the event that holds this content's facts. ``raw_hash`` stands for the bytes that it came
    in, where these alone make the record.
    """

    record_id: str
    n: int
    entity_id: str
    data_source_id: str
    content_hash: bytes
    order_at: datetime
    seen_at: datetime
    event_id: str | None
    version: str | None = None
    last_updated: datetime | None = None
    era: int = 0
    order_version: int | None = None
    out_of_order: bool = False
    deleted: bool = False
    direct: bool = False
    batch_id: str | None = None
    raw_id: str | None = None
    raw_position: int | None = None
    raw_hash: bytes | None = None

    @property
    def order(self) -> tuple[int, int, datetime, int]:
        """The place of this version in the history of its record."""
        return (self.era, self.order_version or 0, self.order_at, self.n)


class NewEvent(Struct, frozen=True):
    """A fact to append.

    ``snapshot`` says that the record states everything it holds, so what it stated before and no longer
    states is withdrawn; a partial event is silent on what it omits. ``canonical_id`` names the entity
    should it be new. ``facts`` may be written already. ``record_version`` is present for facts that came from a
    source record.
    """

    entity_id: str
    entity_type: str
    event_type: str
    facts: Facts | Written
    source: str
    confidence: float
    snapshot: bool
    canonical_id: str
    domain: str = "clinical"
    fhir_resource_type: str | None = None
    fhir_resource_id: str | None = None
    source_system: str | None = None
    data_source_id: str | None = None
    record_id: str | None = None
    record_key: str | None = None
    content_hash: bytes | None = None
    mapping_version: str | None = None
    supersedes: str | None = None
    caused_by: str | None = None
    effective_at: datetime | None = None
    as_of: datetime | None = None
    actor: str | None = None
    correlation_id: str | None = None
    raw_id: str | None = None
    raw_position: int | None = None
    record_version: RecordVersion | None = None
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What the fold needs of an event that is in Postgres."""

    id: str
    entity_id: str
    entity_type: str
    event_type: str
    facts: Facts
    snapshot: bool
    source: str
    source_system: str | None
    data_source_id: str | None
    record_id: str | None
    record_key: str | None
    mapping_version: str | None
    confidence: float
    supersedes: str | None
    effective_at: datetime | None
    as_of: datetime | None
    ingested_at: datetime
    actor: str | None


@dataclass(frozen=True, slots=True)
class SentAtom:
    """A value that a sink confirmed, and whose value it was: should it come back, it is an echo."""

    atom: str
    value: Any
    event_id: str
    source: str
    source_system: str | None
    confidence: float
    since: datetime


@dataclass(frozen=True, slots=True)
class SentValue:
    """A SentAtom as it is kept: the value only as its digest. ``relayed_by``: the event that was held for its cause."""

    record_id: str
    atom: str
    value_digest: bytes
    event_id: str
    source: str
    source_system: str | None
    confidence: float
    since: datetime
    sent_at: datetime
    relayed_by: str | None = None
