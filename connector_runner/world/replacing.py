"""Records in whose place their own system put another: what they say, where several records are one person. Pure.

R4, patient.html#links: the data of a record that was replaced is to be used no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from connector_runner.world.confidence import NONE, confidence_class
from connector_runner.world.events import StoredEvent

_REPLACED_BY: Final = "replaced-by"
_REPLACES: Final = "replaces"
_BY_A_PERSON: Final = "human"


class Said(Protocol):
    """What is asked of a claim, judged."""

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
    def confidence(self) -> float:
        """How far it is believed."""

    @property
    def verdict(self) -> str | None:
        """Who judged it, if anybody did."""

    @property
    def echo(self) -> bool:
        """Whether it is another's word, which was written there."""


Claim = TypeVar("Claim", bound=Said)


@dataclass(frozen=True, slots=True)
class Replaced:
    """``entities`` are those whose own records were replaced; ``records`` the keys of those of which the record in
    their place is among the events, too.
    """

    entities: frozenset[str]
    records: frozenset[str]


def replaced(links: Iterable[Said], events: Mapping[str, StoredEvent]) -> Replaced:
    """What was replaced, by what a record says itself or the one in its place says, unless that was rejected."""
    named = {event.record_key: event.entity_id for event in events.values() if event.record_key is not None}
    entities: set[str] = set()
    records: set[str] = set()
    for claim in links:
        own = claim.record_key
        if claim.echo or confidence_class(claim.confidence) == NONE:
            continue
        for word, other in _words(claim):
            if word == _REPLACED_BY:
                entities.add(events[claim.event_id].entity_id)
                records |= {own} if own is not None and other in named and other != own else set()
            elif word == _REPLACES and other in named and other != own:
                entities.add(named[other])
                records.add(other)
    return Replaced(frozenset(entities), frozenset(records))


def _words(claim: Said) -> Iterator[tuple[str, str]]:
    for link in claim.value if isinstance(claim.value, list) else ():
        if isinstance(link, dict):
            other = link.get("other")
            yield str(link.get("type")), str(other.get("ref")) if isinstance(other, dict) else ""


def still_said(claims: Iterable[Claim], gone: frozenset[str]) -> list[Claim]:
    """The claims about an atom less those of records that are ``gone`` and of whose system another has a word.

    A word that a person rejected is none, and one that a person stands by counts wherever it was said.
    """
    every = list(claims)
    left = {
        claim.data_source_id
        for claim in every
        if claim.record_key is not None
        and claim.record_key not in gone
        and not claim.echo
        and confidence_class(claim.confidence) != NONE
    }
    return [
        claim
        for claim in every
        if claim.record_key not in gone or claim.verdict == _BY_A_PERSON or claim.data_source_id not in left
    ]
