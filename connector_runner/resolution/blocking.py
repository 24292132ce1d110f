"""Keys under which a record is found by those that may be the same: tokens for an equality index, never a scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector_runner.resolution.identity import CANONICAL, Identity
from connector_runner.resolution.names import sound

_BESIDE: Final = "\N{INFORMATION SEPARATOR ONE}"
"""Before it stands what a key has in common with others of the record: they are kept side by side (see place_of)."""
_BROAD: Final = ("zn|", "hn|")
"""A name and a postal code, a name and a house. Both names without a date are broad, too."""
_LOOSE: Final = "zn|"
"""A name and a postal code; so are both names by themselves."""


def keys(person: Identity) -> frozenset[str]:
    """The blocking keys of a record, about 10 to 20 short texts. They hold parts of what identifies a person: keep
    digests of them where they are stored. One that must never match, says too little or was deleted is found by its own
    name alone, and by those in whose place it says to be: another may say that it is in its place.
    """
    if person.never:
        return frozenset(f"i|{system}|{value}" for system, value in person.identifiers if system == CANONICAL)
    if person.is_empty:
        return frozenset(_of_numbers(person))
    if person.kind == "practitioner":
        return frozenset(_of_practitioner(person))
    if person.kind == "location":
        return frozenset(_of_location(person))
    return frozenset((*_of_names(person), *_of_contact(person), *_of_place(person)))


def phone_key(number: str) -> str:
    """The key of whoever has this phone; with another area code, or none, it takes a name besides."""
    return f"p|{number[-7:]}{_BESIDE}{number}"


def place_of(key: str) -> str:
    """What decides where a key is kept: the same for keys that are of one name, one day, one number or one house.

    In an index of gigabytes each other place is another page to be read and written.
    """
    return key.partition(_BESIDE)[0]


def is_broad(key: str) -> bool:
    """Whether strangers have this key in common as soon as there are many: it is capped sooner (see key_store)."""
    return key.startswith(_BROAD) or key.endswith(_BESIDE)


def is_loose(key: str) -> bool:
    """Whether two who say when they were born need more than this key to be brought together.

    Among many, most who share a name and no date are strangers. Who shares the date as well, or most of it, has other
    keys with them; and so has whom it is another's date by mistake, if a postal code or a house goes with the names.
    """
    return key.startswith(_LOOSE) or key.endswith(_BESIDE)


def meet(one: Identity, other: Identity) -> bool:
    """Whether a key brings two records together, as long as not too many have it."""
    both_dated = one.is_dated and other.is_dated
    return any(not (both_dated and is_loose(key)) for key in keys(one) & keys(other))


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
    """Both names as they sound, in either order, also with the year, the day, the place; each with the whole date."""
    both = ""
    if person.given and person.family:
        both = "|".join(sorted((sound(person.given), sound(person.family))))
        yield f"nn|{both}{_BESIDE}"
    if person.birth is None or not person.is_dated:
        return
    year, month, day = person.birth
    first, last = sorted((month, day))
    for name in _names(person):
        yield f"d|{year}-{first}-{last}{_BESIDE}{name[:3]}"
    if both:
        yield f"nn|{both}{_BESIDE}{year}"
        yield f"nn|{both}{_BESIDE}{month}-{day}"
        if person.postal_code:
            yield f"nn|{both}{_BESIDE}|{person.postal_code}"
    if person.postal_code:
        yield f"d|{year}-{first}-{last}{_BESIDE}{month}|{person.postal_code}"


def _of_contact(person: Identity) -> Iterator[str]:
    for number in person.phones:
        yield phone_key(number)
        yield f"p|{number[-7:]}{_BESIDE}|{(person.given or person.family)[:3]}"
    yield from (f"e|{address}" for address in person.emails)
    yield from _of_numbers(person)


def _of_place(person: Identity) -> Iterator[str]:
    for name in _names(person):
        if person.postal_code:
            yield f"zn|{person.postal_code}|{sound(name)}"
        if person.street:
            yield f"hn|{person.street[:8]}{_BESIDE}{sound(name)}"
