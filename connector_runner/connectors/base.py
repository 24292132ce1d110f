"""What a connector is to the rest: records that come in, and a protocol for each direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from connector_runner.auth.credentials import Credential, OpenCredential, Reveal, without_tokens
from connector_runner.auth.minting import Site
from connector_runner.auth.settings import Auth, Direction
from connector_runner.connectors.fhir.profile import Measured, Roster
from connector_runner.connectors.gate import Gate
from connector_runner.connectors.settings import SourceSettings
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import TryAgain

__all__ = [
    "BadEntry",
    "DataSource",
    "Opening",
    "Page",
    "Reveal",
    "Source",
    "SourceKey",
    "SourceRecord",
    "WindowLost",
    "site_of",
]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a connector is given when it is opened for one data source."""

    http: HTTP
    reveal: Reveal
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """By record type, what a probe found; nothing before the first."""
    roster: Roster | None = None
    """The patients that the source is known to have."""
    open_credential: OpenCredential | None = None
    """Opens credentials; without it only the kinds that ask no server for tokens."""
    gate: Gate | None = None
    """What each request that reads goes through; without it nothing is counted."""

    def credential(self, auth: Auth, direction: Direction) -> Credential:
        """The credential that ``auth`` describes, for reading or for writing. Raises Misconfigured."""
        opened = self.open_credential or without_tokens(self.reveal)
        return opened(auth, direction)


class SourceKey(Protocol):
    """Whatever names one data source of one workspace."""

    @property
    def workspace_id(self) -> str:
        """The workspace."""

    @property
    def data_source_id(self) -> str:
        """The data source."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """One external system of one workspace, with its settings read and typed."""

    workspace_id: str
    data_source_id: str
    name: str
    source_type: str
    settings: SourceSettings
    enabled: bool = True


def site_of(source: DataSource) -> Site:
    """Whose requests a credential is for."""
    settings = source.settings
    types = tuple(sorted(name for name, resource in settings.resources.items() if resource.enabled))
    return Site(source.workspace_id, source.data_source_id, settings.base, types)


class SourceRecord(Struct, frozen=True):
    """One record of a source as it came.

    ``raw`` are the bytes, ``body`` the same parsed (None for a delete). ``version`` is opaque and
    ``last_updated`` is the source's own clock; either may be missing (many EHRs send neither).
    ``raw_hash`` is the digest of ``raw`` where all else of the record follows from these bytes; ``place`` is where
    the record stood (file and entry), for people.
    """

    resource_type: str
    record_id: str
    raw: bytes
    body: dict[str, Any] | None
    version: str | None = None
    last_updated: datetime | None = None
    deleted: bool = False
    raw_hash: bytes | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class BadEntry:
    """Something on a page that is no record: quarantined with its place, the page goes on."""

    place: str
    code: str
    message: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a source and the cursor that is true once the page has landed.

    ``last`` ends a window: everything that had changed when it was opened has been seen. ``whole`` says that
    the window held all records of the type, so that what was missing from it may be gone.
    """

    records: tuple[SourceRecord, ...]
    bad: tuple[BadEntry, ...]
    cursor: dict[str, Any]
    last: bool
    whole: bool = False
    window: str = ""
    """Names the window, the same over all its pages, however many polls they take."""
    proves: bool = True
    """Whether what a whole window did not hold may be gone; not where the source said that it left something out."""
    missed: bool = False
    """Whether changes were lost to us for good, so that everything has to be read once more."""
    warnings: tuple[str, ...] = ()
    """Codes by which the source qualified what it gave."""
    ignored: tuple[str, ...] = ()
    """Search parameters that the source was seen to ignore."""
    strategy: str = ""
    """How the window is read (see connectors/fhir/profile)."""


class WindowLost(TryAgain):
    """The window cannot be read to its end; begin it again from the checkpoint."""

    default_code = "window_lost"


class Source(Protocol):
    """The inbound side of a connector."""

    def pages(self, resource_type: str, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        """Pages of what changed since ``cursor``, or of everything when ``full``.

        A cursor taken in the middle of a window goes on with that window. Raises WindowLost,
        Unavailable, RateLimited, TokenExpired, Forbidden, Misconfigured.
        """

    def deletions(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """Pages of explicit deletes since ``cursor``; none at all where the source does not tell."""

    def read(self, resource_type: str, record_id: str) -> SourceRecord | None:
        """One record read directly; a ``deleted`` record when the source says gone, None when it says unknown.

        Raises BadRecord when there is one that cannot be used, and what ``pages`` raises.
        """
