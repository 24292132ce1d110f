"""What a connector is to the rest: records that come in, and a protocol for each direction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record of a source as it came.

    ``raw`` are the bytes, ``body`` the same parsed (None for a delete). ``version`` is opaque and
    ``last_updated`` is the source's own clock; either may be missing (many EHRs send neither).
    """

    resource_type: str
    record_id: str
    raw: bytes
    body: dict[str, Any] | None
    version: str | None = None
    last_updated: datetime | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class BadEntry:
    """Something on a page that is no record: quarantined with its place, the page goes on."""

    place: str
    code: str
    message: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a source and the cursor that is true once the page has landed."""

    records: tuple[SourceRecord, ...]
    bad: tuple[BadEntry, ...]
    cursor: dict[str, Any]
    last: bool


class Source(Protocol):
    """The inbound side of a connector."""

    def pages(self, resource_type: str, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        """Pages of what changed since ``cursor``, or of everything when ``full``."""

    def read(self, resource_type: str, record_id: str) -> SourceRecord | None:
        """One record read directly; a ``deleted`` record when the source says gone, None when it says unknown."""
