"""Calls with what an agent noted of them, and whether it is true. Seeded: the same seed gives the same calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from tests.calls import held_out, phrases, unseen, values
from tests.calls.values import Value

WHEN: Final = datetime(2026, 3, 2, 15, tzinfo=UTC)
_MAKE: Final[dict[str, Callable[[Random], Value]]] = {
    "phone": values.phone,
    "email": values.email,
    "birth": values.birth,
    "address": values.address,
    "name": values.name,
    "member_id": values.member_id,
    "allergy": values.allergy,
    "medicine": values.medicine,
    "start": values.start,
}
ENTITY_TYPES: Final = {
    "patient": ("phone", "email", "birth", "address", "name"),
    "insurance_plan": ("member_id",),
    "allergy_intolerance": ("allergy",),
    "medication_order": ("medicine",),
    "appointment": ("start",),
}
_SMALL_TALK: Final = {**phrases.SMALL_TALK, "unseen": unseen.SMALL_TALK, "held_out": held_out.SMALL_TALK}
_RELATIVES: Final = {**phrases.RELATIVES, "unseen": unseen.RELATIVES, "held_out": held_out.RELATIVES}
_NOUNS: Final = {**phrases.NOUNS, "unseen": unseen.NOUNS, "held_out": held_out.NOUNS}
_ASKS: Final = {**phrases.ASKS, "unseen": unseen.ASKS, "held_out": held_out.ASKS}
_TRUE: Final = {**phrases.TRUE, "unseen": unseen.TRUE, "held_out": held_out.TRUE}
_FALSE: Final = {**phrases.FALSE, "unseen": unseen.FALSE, "held_out": held_out.FALSE}
_SPECIAL_TRUE: Final = {**phrases.SPECIAL_TRUE, "unseen": unseen.SPECIAL_TRUE, "held_out": held_out.SPECIAL_TRUE}
_SPECIAL_FALSE: Final = {**phrases.SPECIAL_FALSE, "unseen": unseen.SPECIAL_FALSE, "held_out": held_out.SPECIAL_FALSE}
_SHARES: Final = ("patient",) * 12 + ("insurance_plan", "allergy_intolerance", "medication_order", "appointment")


@dataclass(frozen=True)
class Said:
    """A claim of a call: ``category`` says how it is false, ``true`` or ``language``. ``forms`` are how it was said."""

    atom: str
    value: Any
    category: str
    forms: tuple[str, ...]

    @property
    def is_true(self) -> bool:
        """Whether the caller said so of himself, in whatever language."""
        return self.category in ("true", "language")


@dataclass(frozen=True)
class Call:
    """One conversation and the event that an agent made of it."""

    number: int
    book: str
    entity_type: str
    facts: dict[str, Any]
    turns: tuple[dict[str, str], ...]
    claims: tuple[Said, ...] = field(default=())

    @property
    def session(self) -> str:
        """Its name."""
        return f"call-{self.book}-{self.number}"


def calls(count: int, *, seed: int = 6, books: tuple[str, ...] = ("first", "second")) -> Iterator[Call]:
    """So many calls, in turn from the books."""
    for number in range(count):
        book = books[number % len(books)]
        yield _call(Random(f"{seed}-{book}-{number}"), number, book)


def _call(random: Random, number: int, book: str) -> Call:
    if random.random() < 0.02:
        return _empty(random, number, book)
    entity_type = random.choice(_SHARES)
    kinds = list(ENTITY_TYPES[entity_type])
    random.shuffle(kinds)
    turns: list[str] = [*random.choice(_SMALL_TALK[book])]
    facts: dict[str, Any] = {}
    claims = []
    for kind in kinds[: random.choice((1, 1, 2, 3))]:
        said, lines = _fragment(random, book, kind)
        if said.value_field in facts:
            continue
        facts |= said.facts
        claims.append(said.claim)
        turns += lines
        if random.random() < 0.3:
            turns += random.choice(_SMALL_TALK[book])
    return Call(number, book, entity_type, facts, tuple(_turn(line) for line in turns), tuple(claims))


def _empty(random: Random, number: int, book: str) -> Call:
    value = values.phone(random)
    claim = Said(value.atom, value.facts["telecom"][0], "absent", value.said)
    return Call(number, book, "patient", value.facts, (), (claim,))


@dataclass(frozen=True)
class _Fragment:
    claim: Said
    facts: dict[str, Any]

    @property
    def value_field(self) -> str:
        return next(iter(self.facts))


def _fragment(random: Random, book: str, kind: str) -> tuple[_Fragment, list[str]]:
    value, other = _MAKE[kind](random), _MAKE[kind](random)
    while other.facts == value.facts or other.said[0] == value.said[0]:
        other = _MAKE[kind](random)
    category, template = _template(random, book, kind)
    special = kind not in phrases.SPOKEN_OF
    filled = {
        "v": random.choice(value.said),
        "r": random.choice(value.read),
        "w": random.choice(other.said),
        "x": random.choice(other.read),
        "rel": random.choice(_RELATIVES[book]),
        "noun": "" if special else random.choice(_NOUNS[book][kind]),
        "ask": "" if special else random.choice(_ASKS[book][kind]),
    }
    found = next(iter(value.facts.values()))
    said = Said(value.atom, found[0] if isinstance(found, list) else found, category, (filled["v"], filled["r"]))
    return _Fragment(said, value.facts), [turn.format(**filled) for turn in template]


def _template(random: Random, book: str, kind: str) -> tuple[str, phrases.Template]:
    if kind == "phone" and random.random() < 0.05:
        return "language", random.choice(phrases.OTHER_LANGUAGE)
    special = kind not in phrases.SPOKEN_OF
    if random.random() < 0.55:
        return "true", random.choice(_SPECIAL_TRUE[book][kind] if special else _TRUE[book])
    wrong = _SPECIAL_FALSE[book][kind] if special else _FALSE[book]
    category = random.choice(sorted(wrong))
    return category, random.choice(wrong[category])


def _turn(line: str) -> dict[str, str]:
    speaker = {"a": "agent", "c": "caller", "o": "background voice"}[line[0]]
    return {"speaker": speaker, "text": line[2:]}
