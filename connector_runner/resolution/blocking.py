"""Keys under which a record is found by those that may be the same: tokens for an equality index, never a scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector_runner.resolution.identity import Identity
from connector_runner.resolution.names import sound

_BROAD: Final = ("nn|", "zn|", "hn|", "el|")
"""Names, a name and a postal code, a name and a house, a mailbox wherever it is."""


def keys(person: Identity) -> frozenset[str]:
    """The blocking keys of a record, about 10 to 20 short texts. They hold parts of what identifies a person: keep
    digests of them where they are stored. A record that must never match has none. One that says too little, or was
    deleted, is found by its own name alone: another may say that it is in its place.
    """
    if person.never:
        return frozenset()
    if person.is_empty:
        return frozenset(_of_numbers(person))
    if person.kind == "practitioner":
        return frozenset(_of_practitioner(person))
    if person.kind == "location":
        return frozenset(_of_location(person))
    return frozenset((*_of_names(person), *_of_contact(person), *_of_place(person)))


def phone_key(number: str) -> str:
    """The key of whoever has this phone; with another area code, or none, it takes a name besides."""
    return f"p|{number}"


def is_broad(key: str) -> bool:
    """Whether strangers have this key in common as soon as there are many of them: it is capped sooner (see store)."""
    return key.startswith(_BROAD)


def _of_numbers(person: Identity) -> Iterator[str]:
    yield from (f"i|{system}|{value}" for system, value in person.identifiers)


def _names(person: Identity) -> list[str]:
    return [name for name in (person.given, person.family) if len(name) > 1]


def _of_practitioner(person: Identity) -> Iterator[str]:
    yield from _of_numbers(person)
    if person.given and person.family:
        first, second = sorted((sound(person.given), sound(person.family)))
        yield f"nn|{first}|{second}"
    yield from (f"n|{name[:5]}" for name in _names(person))


def _of_location(place: Identity) -> Iterator[str]:
    yield from _of_numbers(place)
    if place.street:
        yield f"s|{place.street}|{place.postal_code or place.city}"
        yield f"c|{place.house}|{place.street[len(place.house) :][:4]}|{place.postal_code}"


def _of_names(person: Identity) -> Iterator[str]:
    """Both names as they sound, in either order, and with two parts of the date; each name with the whole date."""
    both = ""
    if person.given and person.family:
        both = "|".join(sorted((sound(person.given), sound(person.family))))
        yield f"nn|{both}"
    if person.birth is None or not person.birth[2]:
        return
    year, month, day = person.birth
    first, last = sorted((month, day))
    yield from (f"nd|{name[:3]}|{year}-{first}-{last}" for name in _names(person))
    if both:
        yield f"ny|{both}|{year}-{month}"
        yield f"ne|{both}|{year}--{day}"
        yield f"nf|{both}|{month}-{day}"
    if person.postal_code:
        yield f"dz|{year}-{month}-{day}|{person.postal_code}"


def _of_contact(person: Identity) -> Iterator[str]:
    for number in person.phones:
        yield phone_key(number)
        yield f"pn|{number[-7:]}|{(person.given or person.family)[:3]}"
    for address in person.emails:
        yield f"e|{address}"
        yield f"el|{address.partition('@')[0]}"
    yield from _of_numbers(person)


def _of_place(person: Identity) -> Iterator[str]:
    for name in _names(person):
        if person.postal_code:
            yield f"zn|{person.postal_code}|{sound(name)}"
        if person.street:
            yield f"hn|{person.street[:8]}|{sound(name)}"
