"""What sets one vendor's server apart from the plain FHIR system: a hook before and after each request.

A vendor's module has ``make(store, behaviour) -> Quirks`` and says where each of its quirks is told of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..messages import Answer, Request

if TYPE_CHECKING:
    from ..bundle_pages import Behaviour
    from ..journal import Entry
    from ..store import Store

VENDORS = ("epic", "cerner", "athenahealth", "eclinicalworks")

Handler = Callable[[Request], Answer]
"""Answers a request to a route of the vendor's own; ``FhirError`` refuses it. Writes are committed by the caller."""


class Quirks(Protocol):
    """How a vendor's server differs.

    ``behaviour`` are settings of the plain system that are otherwise with this vendor. ``routes`` are APIs outside
    ``/fhir`` by the prefix of their path (``/v1``); their requests carry the prefix in ``route``, and ``path`` is what
    follows. ``settings`` is what a test can turn under ``/_sandbox/vendor``.
    """

    behaviour: Mapping[str, Any]
    routes: Mapping[str, Handler]
    settings: dict[str, Any]

    def before(self, request: Request, entry: Entry) -> Answer | Request | None:
        """Before anything else of a request but its token: an answer in place of the system's, the request as the
        plain system understands it (a tenant taken out of its path), or None to let it pass."""

    def after(self, request: Request, answer: Answer) -> Answer:
        """What the vendor makes of an answer, refusals among them. What was to be written is written by then."""

    def capability(self, statement: dict[str, Any]) -> dict[str, Any]:
        """The CapabilityStatement of the vendor, from that of the plain system."""

    def native(self, resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The people and records that it begins with, as this vendor names them."""

    def reset(self) -> None:
        """Back to the start."""


class Plain:
    """No quirk at all: what a vendor's own class begins with."""

    def __init__(self) -> None:
        self.behaviour: Mapping[str, Any] = {}
        self.routes: Mapping[str, Handler] = {}
        self.settings: dict[str, Any] = {}
        self._first = dict(self.settings)

    def before(self, request: Request, entry: Entry) -> Answer | Request | None:
        """Let it pass."""
        return None

    def after(self, request: Request, answer: Answer) -> Answer:
        """As it is."""
        return answer

    def capability(self, statement: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return statement

    def native(self, resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are."""
        return resources

    def reset(self) -> None:
        """Settings as they were when it began."""
        self.settings.clear()
        self.settings.update(self._first)

    def offer(self, **settings: Any) -> None:
        """Settings that a test can turn, with what they begin with."""
        self.settings.update(settings)
        self._first.update(settings)


def quirks_of(vendor: str, store: Store, behaviour: Behaviour) -> Quirks:
    """The quirks of a vendor, none for ""; ``ValueError`` when there is no such vendor."""
    if not vendor:
        return Plain()
    if vendor not in VENDORS:
        raise ValueError(f"a vendor is one of {', '.join(VENDORS)}")
    made: Quirks = import_module(f"{__name__}.{vendor}").make(store, behaviour)
    return made
