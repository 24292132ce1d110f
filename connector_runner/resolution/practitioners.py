"""Practitioners: told by a checked NPI, else by name and specialty. Never by a phone, which a whole clinic shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rapidfuzz.distance import OSA

from connector_runner.resolution.comparing import Levels, compare, shared_identifiers
from connector_runner.resolution.identity import NPI_SYSTEM, Identity
from connector_runner.resolution.names import words

VERSION: Final = "practitioner-1"
VETO: Final = -99.0
_NPI_BITS: Final = 40.0
_GIVEN: Final = {"equal": 6.0, "nickname": 4.0, "close": 3.0, "near": 2.5, "initial": 2.0, "swapped": 5.0}
_FAMILY: Final = {"equal": 8.0, "close": 6.0, "part": 4.0, "near": 4.0, "swapped": 6.0}
_SPECIALTY: Final = {"equal": 4.0, "different": -12.0}
_IDENTIFIER_BITS: Final = 20.0
_PRIOR: Final = -9.0
"""For two colleagues who share a name and nothing else is known."""
_DIFFERENT: Final = -8.0
_SHORT: Final = {
    "cards": "cardiovascular", "cardiology": "cardiovascular", "obgyn": "obstetrics gynecology",
    "fnp": "nurse practitioner family", "fp": "family medicine", "familypractice": "family medicine",
    "peds": "pediatrics", "gi": "gastroenterology", "ent": "otolaryngology", "heme": "hematology",
}  # fmt: skip

Judgement = tuple[float, Levels, dict[str, float], str | None, str | None]


def judge_practitioners(one: Identity, other: Identity) -> Judgement:
    """Bits, levels, the weight of each field, why they cannot be the same (another NPI), and why they may not link.

    ``name_alone``: neither a number nor a specialty tells two who are called alike.
    """
    mine, theirs = _npis(one), _npis(other)
    names = compare(one, other)
    levels: Levels = {name: level for name, level in names.items() if name in ("given", "family")}
    if mine and theirs and not mine & theirs:
        return VETO, {**levels, "npi": "different"}, {"npi": VETO}, "npi", None
    weights = {"prior": _PRIOR}
    if mine & theirs:
        levels["npi"], weights["npi"] = "equal", _NPI_BITS
    if "given" in levels:
        weights["given"] = _GIVEN.get(levels["given"], _DIFFERENT)
    if "family" in levels:
        weights["family"] = _FAMILY.get(levels["family"], _DIFFERENT)
    if one.specialties and other.specialties:
        alike = any(is_same_specialty(a, b) for a in one.specialties for b in other.specialties)
        levels["specialty"] = "equal" if alike else "different"
        weights["specialty"] = _SPECIALTY[levels["specialty"]]
    if any(system != NPI_SYSTEM for system, _ in shared_identifiers(one, other)):
        weights["identifier"] = _IDENTIFIER_BITS
    held = None if {"npi", "specialty"} & levels.keys() or "identifier" in weights else "name_alone"
    return sum(weights.values()), levels, weights, None, held


def is_same_specialty(one: str, other: str) -> bool:
    """Whether two wordings mean one specialty: shortened words, initials, a spelling apart, or fewer of the words."""
    first, second = _terms(one), _terms(other)
    if not first or not second:
        return False
    fewer, more = sorted((first, second), key=lambda terms: (len(terms), terms))
    if len(fewer) == 1 and fewer[0] == "".join(word[0] for word in more):
        return True
    return all(any(_is_short_for(word, term) for term in more) for word in fewer)


def _terms(text: str) -> list[str]:
    joined = "".join(words(text))
    found = words(_SHORT.get(joined, text))
    return [term for word in found for term in words(_SHORT.get(word, word)) if term not in ("and", "of", "the")]


def _is_short_for(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) >= 2 and long.startswith(short):
        return len(short) >= 3 or len(long) <= 12
    common = _common_prefix(short, long)
    return common >= 5 or (len(short) > 4 and OSA.distance(short, long) <= 1)


def _common_prefix(one: str, other: str) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _npis(person: Identity) -> set[str]:
    return set(_values(person.identifiers))


def _values(identifiers: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (value for system, value in identifiers if system == NPI_SYSTEM)
