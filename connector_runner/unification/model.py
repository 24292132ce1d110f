"""What the mapping engine is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from connector_runner.unification.phones import DEFAULT_REGION


def same_reference(text: str) -> str | None:
    """The resolver of a record that stands alone: a reference names what it says."""
    return text


def nothing_decided(vocabulary: str, text: str) -> str | None:
    """The decisions of an installation that has made none."""
    return None


@dataclass(frozen=True, slots=True)
class MappingContext:
    """Whose record is mapped.

    ``source`` is the name of the data source and the first part of every canonical id made. ``resolve`` turns
    a reference that is not ``Type/id`` (``urn:uuid:``, conditional, absolute) into ``Type/id``, or None when it
    cannot. ``base_url`` is the FHIR base of the source; absolute references elsewhere are foreign. Without a
    base (a file) an absolute reference is taken to be into the same source. ``region`` (ISO 3166) is where a
    telephone number without a country code is from.
    """

    source: str
    resolve: Callable[[str], str | None] = same_reference
    base_url: str | None = None
    region: str = DEFAULT_REGION


@dataclass(frozen=True, slots=True)
class OutboundContext:
    """``resolve`` answers the ``Type/id`` under which the sink holds a canonical id, None if it does not.

    ``decided`` answers the code that was decided for what rules alone could not translate: for (vocabulary,
    text). None: nothing yet, or that there is none. ``recoded``: the fields whose values are translated, None
    for all; the rest is rendered in its own words.
    """

    resolve: Callable[[str], str | None]
    decided: Callable[[str, str], str | None] = nothing_decided
    recoded: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that was left out. ``message`` is ours and never quotes the value."""

    path: str
    code: str
    message: str


class Mapped(Struct, frozen=True):
    """What one record says.

    ``facts`` may share parts with the resource it came from: neither is to be changed in place.
    ``confidence`` is None where the mapping leaves it to the data source. ``effective_at`` is the record's own
    clinical date, with the precision it came with.
    """

    entity_type: str
    event_type: str
    facts: dict[str, Any]
    confidence: float | None
    mapping_version: str
    effective_at: str | None
    retracted: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A text that rules alone cannot translate. It is protected data; nothing else here is.

    ``field`` is where in the state it stands, ``candidates`` codes that it might mean, with their likeness.
    ``llm``: whether a language model may be asked. ``otherwise``: ``withhold``, ``wait`` or ``fail``.
    """

    field: str
    vocabulary: str
    version: str
    text: str
    candidates: tuple[tuple[str, float], ...]
    llm: bool
    otherwise: str


@dataclass(frozen=True, slots=True)
class Dependency:
    """A record that the rendered resource refers to; ``required`` when it cannot be written without it."""

    field: str
    canonical_id: str
    required: bool
