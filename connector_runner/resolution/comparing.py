"""How far two identities agree, field by field, as one of a few levels each. Silence is no level: it is left out."""

from __future__ import annotations

import re
from typing import Final

from rapidfuzz.distance import OSA, JaroWinkler, Levenshtein

from connector_runner.resolution.identity import CANONICAL, SSN_SYSTEM, Identity
from connector_runner.resolution.names import nicknames

Levels = dict[str, str]
"""Field -> level, of those fields that both records have."""

FIELDS: Final = ("given", "middle", "family", "birth", "sex", "phone", "email", "place", "identifier")
_ALIKE: Final = frozenset({"equal", "nickname", "close", "near"})
_TYPED_SSNS: Final = frozenset({"123456789", "987654321", "078051120", "219099999"})
"""Those that are typed where none is known, or were printed as examples: of whoever has one, and of nobody."""
_SEPARATORS = re.compile(r"[._\-\d]+")


def compare(one: Identity, other: Identity) -> Levels:
    """The level of each field that both speak of. Symmetric."""
    found = {
        "given": _given(one.given, other.given),
        "middle": _equal(one.middle, other.middle),
        "family": _family(one, other),
        "birth": _birth(one.birth, other.birth),
        "sex": _equal(one.sex, other.sex),
        "phone": _phone(one.phones, other.phones),
        "email": _email(one.emails, other.emails),
        "place": _place(one, other),
        "identifier": _identifier(one, other),
    }
    if _are_swapped(one, other):
        found["given"] = found["family"] = "swapped"
    return {field: level for field, level in found.items() if level}


def contradiction(one: Identity, other: Identity) -> str | None:
    """Why two records cannot be one person whatever else agrees, or None: another SSN, as it was given out."""
    ssn, others = (_values(person, SSN_SYSTEM) - _TYPED_SSNS for person in (one, other))
    if ssn and others and not ssn & others:
        return "ssn"
    return None


def is_silent(one: Identity, other: Identity) -> bool:
    """Whether nothing can be told of two, as one is called what nobody is, and neither says to be the other."""
    return (one.never or other.never) and not any(of == CANONICAL for of, _ in one.identifiers & other.identifiers)


def shared_identifiers(one: Identity, other: Identity) -> frozenset[tuple[str, str]]:
    """Business identifiers that both carry, system and value."""
    shared = one.identifiers & other.identifiers
    return frozenset(found for found in shared if found[0] != SSN_SYSTEM or found[1] not in _TYPED_SSNS)


def _identifier(one: Identity, other: Identity) -> str:
    """``same_record``: one says that it is the other. ``chart_differs``: all they have of one system are numbers of
    charts. Of another SSN see contradiction."""
    shared = {system for system, _ in shared_identifiers(one, other)}
    if shared:
        return "same_record" if CANONICAL in shared else "equal"
    both = {system for system, _ in one.identifiers} & {system for system, _ in other.identifiers}
    both -= {CANONICAL, SSN_SYSTEM}
    if not both:
        return ""
    return "chart_differs" if both <= {*one.charts, *other.charts} else "differs"


def _values(person: Identity, system: str) -> set[str]:
    return {value for named, value in person.identifiers if named == system}


def _equal(one: str, other: str) -> str:
    if not one or not other:
        return ""
    return "equal" if one == other else "different"


def _is_close(one: str, other: str) -> bool:
    apart = OSA.distance(one, other, score_cutoff=2)
    return apart == 1 or (apart == 2 and min(len(one), len(other)) >= 6)


def _given(one: str, other: str) -> str:
    if not one or not other:
        return ""
    if one == other:
        return "equal" if len(one) > 1 else "initial"
    if len(one) == 1 or len(other) == 1:
        return "initial" if one[0] == other[0] else "different"
    if nicknames(one) & nicknames(other):
        return "nickname"
    if _is_close(one, other):
        return "close"
    if OSA.distance(one, other, score_cutoff=2) == 2 and _jaro_winkler(one, other) >= 0.85:
        return "near"
    return "near" if _is_cut_short(one, other) else "different"


def _jaro_winkler(one: str, other: str) -> float:
    """Of the two in order: which letters are matched can depend on whose are looked up in whose."""
    return JaroWinkler.similarity(*sorted((one, other)))


def _is_cut_short(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= 3 and (one.startswith(other) or other.startswith(one))


def _family(one: Identity, other: Identity) -> str:
    if not one.family or not other.family:
        return ""
    if one.family == other.family:
        return "equal"
    if one.family_parts & other.family_parts:
        return "part"
    if _is_close(one.family, other.family):
        return "close"
    if (
        OSA.distance(one.family, other.family, score_cutoff=2) == 2
        or _jaro_winkler(one.family, other.family) >= 0.9
        or _is_cut_short(one.family, other.family)
    ):
        return "near"
    return "different"


def _are_swapped(one: Identity, other: Identity) -> bool:
    """Whether the given name of each is the family name of the other, or nearly, and they do not agree as they are."""
    names = (one.given, one.family, other.given, other.family)
    if min(map(len, names)) < 2 or one.given == other.given or one.family == other.family:
        return False
    crosswise = {_given(one.given, other.family), _given(one.family, other.given)}
    return crosswise <= _ALIKE and len(crosswise & {"equal", "close"}) > 0


def _birth(one: tuple[int, int, int] | None, other: tuple[int, int, int] | None) -> str:
    if one is None or other is None:
        return ""
    if one == other:
        return "equal" if one[2] else "year"
    if not one[2] or not other[2]:
        return "year" if one[0] == other[0] else "different"
    if one[0] == other[0] and one[1:] == other[:0:-1]:
        return "swapped"
    first, second = (f"{year:04}{month:02}{day:02}" for year, month, day in (one, other))
    if OSA.distance(first, second, score_cutoff=1) == 1:
        return "one_digit"
    agreeing = sum(mine == theirs for mine, theirs in zip(one, other, strict=True))
    if agreeing == 2:
        return "one_part"
    if one[0] == other[0]:
        return "same_year"
    return "same_decade" if abs(one[0] - other[0]) <= 10 else "different"


def _phone(one: frozenset[str], other: frozenset[str]) -> str:
    if not one or not other:
        return ""
    if any(len(number) >= 10 for number in one & other):
        return "equal"
    best = "different"
    for mine in one:
        for theirs in other:
            if mine[-7:] == theirs[-7:]:
                return "last_seven"
            if len(mine) == len(theirs) and OSA.distance(mine, theirs, score_cutoff=1) == 1:
                best = "one_digit"
    return best


def _email(one: frozenset[str], other: frozenset[str]) -> str:
    if not one or not other:
        return ""
    if one & other:
        return "equal"
    rank = {"different": 0, "same_names": 1, "same_box": 2, "close": 3}
    levels = (_mailboxes(mine, theirs) for mine in sorted(one) for theirs in sorted(other))
    return max(levels, key=lambda level: rank[level])


def _mailboxes(one: str, other: str) -> str:
    box, other_box = one.partition("@")[0], other.partition("@")[0]
    apart = OSA.distance(one, other, score_cutoff=3)
    if apart <= 1 or (box == other_box and apart <= 3):
        return "close"
    if box == other_box:
        return "same_box"
    if len(box) > 5 and sorted(_SEPARATORS.split(box)) == sorted(_SEPARATORS.split(other_box)):
        return "same_names"
    return "different"


def _place(one: Identity, other: Identity) -> str:
    """Street, postal code and city are one variable: who moves changes all of them at once."""
    if not (one.street or one.postal_code) or not (other.street or other.postal_code):
        return ""
    code = one.postal_code != "" and one.postal_code == other.postal_code
    street = _street(one.street, other.street)
    if street in ("equal", "alike"):
        return f"{street}_and_code" if code else street
    if code:
        if street == "":
            return "code_alone"
        return "house_and_code" if one.house and one.house == other.house else "code"
    if one.city and other.city and OSA.distance(one.city, other.city, score_cutoff=1) <= 1:
        return "city"
    if len(one.postal_code) == len(other.postal_code) == 5 and OSA.distance(one.postal_code, other.postal_code) == 1:
        return "code_close"
    return "region_differs" if one.region and other.region and one.region != other.region else "different"


def _street(one: str, other: str) -> str:
    if not one or not other:
        return ""
    if one == other:
        return "equal"
    if min(len(one), len(other)) <= 6:
        return "different"
    alike = one.startswith(other) or other.startswith(one) or Levenshtein.normalized_similarity(one, other) >= 0.75
    return "alike" if alike else "different"
