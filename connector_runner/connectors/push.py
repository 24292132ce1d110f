"""What a system pushes to us: settings, what a delivery says, and how subscriptions are kept there.

A push never carries truth. Whatever it holds, it says only which records to read; what is read lands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from connector_runner.auth import signatures
from connector_runner.auth.settings import Endpoint, SecretReference, Strict

ResourceType = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
Kind = Literal["event", "handshake", "heartbeat", "status"]
Content = Literal["empty", "id-only", "full-resource"]
SubscriptionStatus = Literal["requested", "active", "error", "off", "unknown"]


class JSONPaths(Strict):
    """Where a JSON body says what changed; dot-paths, relative to each of ``items`` (none: the body, or its elements).

    ``types`` translates what stands at ``type`` to record types of the source; what it does not list is passed over.
    ``event``: what together names an event for good, so that a repeat is known.
    """

    items: str | None = None
    type: str
    id: str
    types: dict[str, ResourceType] = Field(min_length=1)
    event: tuple[str, ...] = ()
    subscription: str | None = None


class SubscriptionSettings(Strict):
    """One subscription that we keep at the server. ``*_s`` are seconds.

    With ``topic`` (a canonical URL) it is a topic-based one by the R5 backport, with ``filters`` and ``content``;
    without, one of R4 over ``criteria`` (default: all of the type), whose notifications come with a resource when
    ``content`` is full-resource. ``lifetime_s`` sets its ``end``, before which it is renewed.
    """

    criteria: str | None = Field(None, max_length=2000)
    topic: Endpoint | None = None
    filters: tuple[str, ...] = ()
    content: Content = "id-only"
    lifetime_s: float = Field(7 * 86400, ge=60, le=366 * 86400)
    heartbeat_s: int | None = Field(60, ge=1, le=86400)
    timeout_s: int | None = Field(None, ge=1, le=3600)
    max_count: int | None = Field(None, ge=1, le=10_000)

    @model_validator(mode="after")
    def _one_kind(self) -> SubscriptionSettings:
        if self.topic is not None and self.criteria is not None:
            raise ValueError("takes a topic (R5 backport) or criteria (R4), not both")
        if self.topic is None and self.filters:
            raise ValueError("filters belong to a topic")
        return self


class PushSettings(Strict):
    """How a source's deliveries to us are verified and read. ``*_s`` are seconds.

    ``scheme`` names the signature (auth/signatures.py); all of ``secrets`` are active at once. ``header``,
    ``stamp_header`` and ``prefix`` where the sender calls them otherwise than usual. ``parser``: ``fhir`` for
    notifications of FHIR subscriptions, ``json_path`` as ``paths`` says; without it that of the vendor, else ``fhir``.
    ``public_url`` is where the sender reaches our web process. ``subscribe`` are subscriptions by record type: they
    are created and renewed by us, with a secret that is made for them. ``concurrency``: records read at once.
    ``gap_grace_s``: how long a missing event number may be late.
    """

    scheme: signatures.Name = "static_header"
    secrets: tuple[SecretReference, ...] = Field((), max_length=10)
    header: str | None = Field(None, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,128}$")
    stamp_header: str | None = Field(None, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,128}$")
    prefix: str = Field("Bearer ", max_length=64, pattern=r"^[\x20-\x7e]*$")
    tolerance_s: float = Field(signatures.TOLERANCE_S, gt=0, le=3600)
    parser: Literal["fhir", "json_path"] | None = None
    paths: JSONPaths | None = None
    public_url: Endpoint | None = None
    subscribe: dict[ResourceType, SubscriptionSettings] = Field(default_factory=dict)
    concurrency: int = Field(4, ge=1, le=32)
    gap_grace_s: float = Field(5, ge=0, le=3600)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A plain list of record types means a subscription to all of each."""
        if isinstance(value, dict) and isinstance(value.get("subscribe"), list):
            return {**value, "subscribe": {str(name): {} for name in value["subscribe"]}}
        return value

    @model_validator(mode="after")
    def _complete(self) -> PushSettings:
        if (self.parser == "json_path") != (self.paths is not None):
            raise ValueError("parser json_path needs paths, and no other takes them")
        if self.subscribe and (self.public_url is None or self.scheme != "static_header"):
            raise ValueError("subscribe needs a public_url, and the scheme static_header")
        if self.scheme == "hubspot_v3" and self.public_url is None:
            raise ValueError("hubspot_v3 signs the URL: public_url is needed")
        if not self.secrets and not self.subscribe:
            raise ValueError("secrets: at least one is needed")
        return self

    def signature(self) -> signatures.Scheme:
        """How deliveries are verified."""
        return signatures.scheme(self.scheme, header=self.header, stamp_header=self.stamp_header, prefix=self.prefix)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A verified delivery. ``target`` is what follows our address in the URL: ``Type/id``, ``Type``, or nothing.

    ``body`` is the JSON that was sent, None when nothing was.
    """

    method: str
    target: str
    body: Any


@dataclass(frozen=True, slots=True)
class PushEvent:
    """Something happened to a record. ``number`` counts the events of a subscription, from 1.

    ``key`` names the event for good where the sender does; a record id that is None says that something of the type
    changed and not what.
    """

    resource_type: str
    record_id: str | None = None
    number: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """What a delivery says. ``subscription`` is the server's id of it, "" where it does not say.

    ``total`` is how many events there were since the subscription began, as of this notification; ``status`` that of
    the subscription. ``ignored`` counts events of which nothing can be read.
    """

    kind: Kind
    events: tuple[PushEvent, ...] = ()
    subscription: str = ""
    status: SubscriptionStatus | None = None
    total: int | None = None
    ignored: int = 0


PushParser = Callable[[Arrived, PushSettings], Notification]
"""Reads a delivery. Raises BadRecord when it is none of the kind that was agreed on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription as we want it. ``endpoint`` is ours, ``secret`` what it is to send us in ``header``."""

    resource_type: str
    settings: SubscriptionSettings
    endpoint: str
    header: str
    secret: str = field(repr=False)
    until: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """A subscription as it is at the server. ``until`` is when it ends, None: never or unknown."""

    remote_id: str
    status: SubscriptionStatus
    until: datetime | None = None


class Subscriptions(Protocol):
    """The subscriptions of one server; each call raises as a read of that source does."""

    def find(self, wanted: Wanted) -> Kept | None:
        """One to the same endpoint and over the same things that is there already."""

    def create(self, wanted: Wanted) -> Kept:
        """A new one, ``requested``."""

    def renew(self, remote_id: str, wanted: Wanted) -> Kept | None:
        """Bring one to what is wanted, ``requested`` again; None when it is not there any more."""

    def look(self, remote_id: str) -> Kept | None:
        """How one is; None when it is not there any more."""

    def remove(self, remote_id: str) -> None:
        """End one, there or not."""

    def count(self, remote_id: str) -> Notification | None:
        """Status and number of events, by ``$status``; None where that is not offered."""

    def events(self, remote_id: str, since: int, until: int) -> bytes | None:
        """The notification of events ``since`` to ``until``, by ``$events``; None where that is not offered."""
