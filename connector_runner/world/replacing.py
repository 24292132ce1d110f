"""Records in whose place their own system put another: what they say, where several records are one person. Pure.

R4, patient.html#links: the data of a record that was replaced is to be used no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar

from connector_runner.world.events import StoredEvent

_REPLACED_BY: Final = "replaced-by"
_REPLACES: Final = "replaces"


class Said(Protocol):
    """What is asked of a claim."""

    @property
    def value(self) -> Any:
        """What it says."""

    @property
    def event_id(self) -> str:
        """The event that says it."""

    @property
    def data_source_id(self) -> str | None:
        """Whose record does."""

    @property
    def record_key(self) -> str | None:
        """Which record does; None for a word of a conversation."""

    @property
    def echo(self) -> bool:
        """Whether it is another's word, which was written there."""


Claim = TypeVar("Claim", bound=Said)


def replaced(links: Iterable[Said], events: Mapping[str, StoredEvent]) -> frozenset[str]:
    """The entities whose records were replaced, by what they say themselves or the one in their place says."""
    named = {event.record_key: event.entity_id for event in events.values() if event.record_key is not None}
    found: set[str] = set()
    for claim in links:
        if claim.echo:
            continue
        of = events[claim.event_id].entity_id
        for word, other in _words(claim):
            if word == _REPLACED_BY:
                found.add(of)
            elif word == _REPLACES and named.get(other, of) != of:
                found.add(named[other])
    return frozenset(found)


def _words(claim: Said) -> Iterator[tuple[str, str]]:
    for link in claim.value if isinstance(claim.value, list) else ():
        if isinstance(link, dict):
            other = link.get("other")
            yield str(link.get("type")), str(other.get("ref")) if isinstance(other, dict) else ""


def still_said(claims: Iterable[Claim], gone: frozenset[str], events: Mapping[str, StoredEvent]) -> list[Claim]:
    """The claims about an atom less those of replaced records about which another record of their system has a word."""
    every = list(claims)
    left = {claim.data_source_id for claim in every if not claim.echo and events[claim.event_id].entity_id not in gone}
    return [
        claim
        for claim in every
        if events[claim.event_id].entity_id not in gone or claim.record_key is None or claim.data_source_id not in left
    ]
