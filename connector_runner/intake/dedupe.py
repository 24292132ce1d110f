"""Whether a record as it came says anything new, and where it stands in the history of its record.

A content is compared with the *latest* known one: A, A is one event; A, B, A is three, for the record went
back. Order is by the source's lastUpdated (or its version, where settings declare that numeric); what has no
stamp comes after what is known; a tie with other content is the newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import EARLIEST


class Novelty(StrEnum):
    """What a record brings."""

    NOTHING = "nothing"
    STAMP = "stamp"  # the latest content under a new version or time
    CONTENT = "content"
    ROLLBACK = "rollback"  # an older content that the source itself insists on


@dataclass(frozen=True, slots=True)
class Known:
    """A version of a record that is already known; ``n`` counts arrivals."""

    n: int
    version: str | None
    last_updated: datetime | None
    era: int
    order_at: datetime
    order_version: int | None
    content_hash: bytes
    deleted: bool
    direct: bool
    out_of_order: bool
    batch_id: str | None
    event_id: str | None
    raw_hash: bytes | None = None

    @property
    def order(self) -> tuple[int, int, datetime, int]:
        """As RecordVersion.order."""
        return (self.era, self.order_version or 0, self.order_at, self.n)


class Sighting(Struct, frozen=True):
    """A record as it came, reduced to what decides."""

    content_hash: bytes
    version: str | None
    last_updated: datetime | None
    deleted: bool = False
    direct: bool = False
    batch_id: str | None = None
    raw_hash: bytes | None = None


class Place(Struct, frozen=True):
    """Where a sighting goes in its record's history."""

    novelty: Novelty
    n: int
    era: int
    order_at: datetime
    order_version: int | None
    out_of_order: bool


DELETED_HASH = exact_json.digest("deleted")


def place(sighting: Sighting, history: Sequence[Known], *, numeric_versions: bool = False) -> Place:
    """Decide what ``sighting`` brings to a record with ``history``."""
    number = _number(sighting.version) if numeric_versions else None
    if not history:
        novelty = Novelty.NOTHING if sighting.deleted else Novelty.CONTENT
        return Place(novelty, 1, 0, sighting.last_updated or EARLIEST, number, False)
    latest = max(history, key=lambda known: known.order)
    n = max(known.n for known in history) + 1
    if number is None:
        number = latest.order_version
    order_at = sighting.last_updated or latest.order_at
    era = latest.era
    older = (era, number or 0, order_at, n) < latest.order
    if sighting.direct and older and sighting.content_hash != latest.content_hash:
        seen_before = any(known.content_hash == sighting.content_hash for known in history)
        novelty = Novelty.STAMP if seen_before else Novelty.CONTENT
        return _insisting(sighting, history, Place(novelty, n, era, order_at, number, True))
    elif not older and _reappears(sighting, latest):
        novelty = Novelty.CONTENT
    else:
        novelty = _novelty(sighting, history, latest)
    return Place(novelty, n, era, order_at, number, older)


def _novelty(sighting: Sighting, history: Sequence[Known], latest: Known) -> Novelty:
    stamped = sighting.version is not None or sighting.last_updated is not None
    if stamped and any(_same_stamp(sighting, known) for known in history):
        return Novelty.CONTENT if _went_back(sighting, latest) else Novelty.NOTHING
    if sighting.content_hash == latest.content_hash:
        return Novelty.STAMP if stamped else Novelty.NOTHING
    if not stamped and _repeats_group(sighting, history, latest):
        return Novelty.NOTHING
    return Novelty.CONTENT


def _reappears(sighting: Sighting, latest: Known) -> bool:
    """Whether a record that was found missing is shown again by its source, as it was before, maybe.

    A file is no such proof: it may be older than the finding.
    """
    found_missing = latest.deleted and latest.last_updated is None and latest.version is None
    return found_missing and not sighting.deleted and sighting.batch_id is None


def _same_stamp(sighting: Sighting, known: Known) -> bool:
    return (
        known.content_hash == sighting.content_hash
        and known.version == sighting.version
        and known.last_updated == sighting.last_updated
    )


def _went_back(sighting: Sighting, latest: Known) -> bool:
    """Whether a record is as it was before its latest content, under one stamp: stamps of a day or a second tell less.

    Who reads a source sees the record as it is now; a file may say again what the last one said.
    """
    tie = (sighting.version, sighting.last_updated) == (latest.version, latest.last_updated)
    return tie and sighting.content_hash != latest.content_hash and sighting.batch_id is None


def _repeats_group(sighting: Sighting, history: Sequence[Known], latest: Known) -> bool:
    """Whether an import says again what the last import said of a record that it held more than once.

    Files without stamps may hold one record with several contents; to import them twice says nothing new.
    """
    if latest.batch_id is None or latest.batch_id == sighting.batch_id:
        return False
    return any(known.batch_id == latest.batch_id and known.content_hash == sighting.content_hash for known in history)


def _insisting(sighting: Sighting, history: Sequence[Known], as_late: Place) -> Place:
    """A direct read that is older: noted the first time, and taken for a rollback the second time in a row."""
    last = max(history, key=lambda known: known.n)
    if last.direct and last.out_of_order and last.content_hash == sighting.content_hash:
        return Place(Novelty.ROLLBACK, as_late.n, as_late.era + 1, as_late.order_at, as_late.order_version, False)
    return as_late


def _number(version: str | None) -> int | None:
    # At most 18 digits: what Postgres keeps as a bigint.
    return int(version) if version is not None and version.isdecimal() and len(version) <= 18 else None
