"""The outbound side of a connector: what a sink takes, and what became of a request to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, Protocol, runtime_checkable

Json = dict[str, Any]
NO_ID: Final = "no_id"
"""The code where a success shows a record without an id."""
OTHER_RECORD: Final = "other_record"
"""The code where a success shows, or names, another record than it is about."""
NOT_SEARCHABLE: Final = "not_searchable"
"""The cause where a sink has nothing by which our record could be found."""
IDENTITY_DROPPED: Final = "identity_dropped"
"""The cause where a sink made what it was sent, less the identity by which we would find that again."""
POSSIBLE_DUPLICATE: Final = "possible_duplicate"
"""The code where a record of the sink may be the one that is to be made: a person says whether it is."""


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
    FORBIDDEN = "forbidden"
    """A policy refuses this record to us; others of the sink pass."""
    QUOTA = "quota"
    """The allowance of the day is used up: nothing was done, nothing will pass until it is renewed."""
    UNDONE = "undone"
    """Undone with the transaction that it was part of; ``entry`` of the reply names the step that failed."""
    NOT_SENT = "not_sent"
    """No byte left this machine."""
    UNKNOWN = "unknown"
    """Sent, and no usable answer: it may have been done."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What an answer says of the sender's allowance: of ``limit`` requests ``remaining`` until ``reset_s`` from now."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a sink can do. ``if_match``: the status that answers a stale version, None where none is checked.

    ``at_least_once``: nothing keeps a repeated create from making a second record.
    """

    client_id: bool = True
    conditional_create: bool = True
    if_match: Literal[412, 409] | None = 412
    patch: bool = False
    transaction: bool = False
    validate: bool = False
    search: bool = True
    at_least_once: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A classified answer. ``code`` is ours or the standard's; texts of the other side are not in it.

    ``ref`` is ``Type/id`` in the sink. ``body`` is the resource as the sink holds it, when it said so; ``raw``
    are the bytes of the answer as they came. ``cause`` names the rule that classified it, ``where`` the path in
    what was sent that it is about, ``entry`` the failed step of a transaction, counted from 0.
    """

    outcome: Outcome
    code: str = ""
    status: int | None = None
    ref: str | None = None
    etag: str | None = None
    body: Json | None = None
    raw: bytes = b""
    retry_after_s: float | None = None
    pace: Pace | None = None
    entry: int | None = None
    cause: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search in the sink found. ``reply``: LANDED when there is some, ABSENT when none, or why it cannot be
    told. ``resources`` are those that bear what was searched for, whatever else the sink sent along."""

    reply: Reply
    resources: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One write of a transaction. A body refers to the record of another step as ``urn:uuid:<its client_ref>``.

    ``ref`` is the record that an update replaces, None for a create; ``etag`` the version it must still be.
    """

    operation: Literal["create", "update"]
    ref: str | None
    body: Json
    etag: str | None
    client_ref: str


class Sink(Protocol):
    """A system that can be written to. No method retries, and none raises for what the other side answered."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def read(self, ref: str) -> Reply:
        """The resource now: LANDED with body and ETag, ABSENT, GONE, or why it cannot be told."""

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """The resource that carries our identifier: LANDED, ABSENT, DUPLICATES, or why it cannot be told."""

    def candidates(self, body: Json) -> Found:
        """Resources that could be the record of ``body``: a shared identifier, else what people are known by."""

    def check(self, body: Json, ref: str | None) -> Reply:
        """What the sink itself thinks of ``body``: LANDED when it would take it, POISON with ``where`` when not.

        Changes nothing there. LANDED with cause ``not_offered`` where it cannot be asked.
        """

    def create(self, body: Json, client_ref: str) -> Reply:
        """Create under the identity ``client_ref``, which is the same for ever: a repeat makes no second one."""

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """Bring the resource to ``body`` if it is still the version that ``etag`` names.

        ``before`` is the resource as it was read: with it, only the difference is sent where the sink can patch.
        """

    def transact(self, steps: Sequence[Step]) -> list[Reply]:
        """All steps or none, in one request; one reply for each, in their order.

        When one failed, its reply says why and the others are UNDONE; when the sink does not say which, every
        reply is the same and has no ``entry``. Raises Misconfigured where it has no transactions.
        """

    def identified(self, body: Json, client_ref: str) -> Json:
        """The body as ``create`` would send it, our identity in it."""


@runtime_checkable
class FindsCreated(Protocol):
    """A sink that can tell its record from what was sent, where our identifier alone does not say how to look."""

    def find_created(self, body: Json, client_ref: str) -> Reply:
        """What a create made of ``body`` as sent: LANDED, ABSENT, DUPLICATES, or why it cannot be told."""
