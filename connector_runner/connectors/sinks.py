"""The outbound side of a connector: what a sink takes, and what became of a request to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Json = dict[str, Any]


class Outcome(StrEnum):
    """What became of a request, by what to do next."""

    LANDED = "landed"
    """Done; for a read: found."""
    EXISTED = "existed"
    """A conditional create found what it would have made."""
    ABSENT = "absent"
    """The resource is not there (404)."""
    GONE = "gone"
    """The resource was deleted (410)."""
    CONFLICT = "conflict"
    """The precondition failed: somebody else wrote in between."""
    DUPLICATES = "duplicates"
    """More than one resource carries our identifier."""
    REFUSED = "refused"
    """Too fast, or not now (429, 503): nothing was done."""
    POISON = "poison"
    """This content will never be accepted."""
    AUTH = "auth"
    """The credential was refused: nothing of this sink will pass."""
    NOT_SENT = "not_sent"
    """No byte left this machine."""
    UNKNOWN = "unknown"
    """Sent, and no usable answer: it may have been done."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A classified answer. ``code`` is ours or the standard's; texts of the other side are not in it.

    ``ref`` is ``Type/id`` in the sink. ``body`` is the resource as the sink holds it, when it said so; ``raw``
    are the bytes of the answer as they came.
    """

    outcome: Outcome
    code: str = ""
    status: int | None = None
    ref: str | None = None
    etag: str | None = None
    body: Json | None = None
    raw: bytes = b""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class SinkTerms:
    """What is to be known of a sink without opening it. ``entity_types``: type -> its confidence threshold.

    ``quiet_period_s`` is how long a request whose answer was lost may still land.
    """

    sink_id: str
    name: str
    system: str
    entity_types: Mapping[str, float]
    accept_from: frozenset[str] = field(default_factory=frozenset)
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    per_second: float = 10.0
    burst: int = 5
    concurrency: int = 2
    quiet_period_s: float = 5.0
    request_timeout_s: float = 15.0
    client_id: bool = True
    base_url: str | None = None


class Sink(Protocol):
    """A system that can be written to. No method retries, and none raises for what the other side answered."""

    def read(self, ref: str) -> Reply:
        """The resource now: LANDED with body and ETag, ABSENT, GONE, or why it cannot be told."""

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """The resource that carries our identifier: LANDED, ABSENT, DUPLICATES, or why it cannot be told."""

    def create(self, body: Json, client_ref: str) -> Reply:
        """Create under the identity ``client_ref``, which is the same for ever: a repeat makes no second one."""

    def update(self, ref: str, body: Json, etag: str | None) -> Reply:
        """Replace the resource if it is still the version that ``etag`` names."""

    def identified(self, body: Json, client_ref: str) -> Json:
        """The body as ``create`` would send it, our identity in it."""
