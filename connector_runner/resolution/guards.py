"""What may not link by itself however likely it is: the pair stays a possible match, for a person to decide.

A probability is right on the average of a population; these are wrong for the same families every time.
"""

from __future__ import annotations

from typing import Final

from connector_runner.resolution.comparing import Levels
from connector_runner.resolution.identity import Identity
from connector_runner.resolution.names import is_common

HELD_BITS: Final = 1.5
"""The most that held evidence counts where clusters are made: it speaks for those around it, and never links."""
CLEAR: Final = 3.5
"""So many bits above the threshold all that twins share does not come to: day of birth, surname, home and phone."""
ONLY_PHONE: Final = "only_phone"
_COMMON: Final = 1e-5
"""The share of people with one given and one family name from which on the pair of names is common: 1 in 100,000."""
_CHILD_SINCE: Final = 2008
"""Who was born since is a child, as of this version of the rules."""
_A_GENERATION: Final = 15
"""Years by which a parent is older at least."""
_AT_HOME_SINCE: Final = 2000
"""Who was born since may live with the parents, as of this version of the rules."""
_BY_A_PARENT_SINCE: Final = 2012
"""Who was born since goes by a parent's phone and mailbox, as of this version of the rules."""
_SAYS_NOTHING: Final = frozenset({"different", "region_differs"})
_BESIDES_NAMES: Final = frozenset({"phone", "email", "place"})
_ONE_MAILBOX: Final = frozenset({"equal", "close"})
_BORN_ALIKE: Final = frozenset({"equal", "one_digit", "one_part", "swapped"})
_BORN_APART: Final = frozenset({"same_year", "same_decade", "different"})
_ALMOST: Final = frozenset({"close", "near"})
_ONE_GIVEN: Final = frozenset({"equal", "nickname", "swapped"})
_AT_HOME: Final = frozenset({"equal", "equal_and_code", "alike_and_code", "house_and_code"})


def counted_bits(bits: float, held: str | None) -> float:
    """What a pair counts where clusters are made."""
    return min(bits, HELD_BITS) if held else bits


def held_back(
    one: Identity, other: Identity, levels: Levels, *, name_share: float, clear: bool, names: bool
) -> str | None:
    """Why a pair may not link by itself, or None. ``clear``: it has CLEAR bits more than a link needs. ``names``: the
    given name of either is one that others have.

    ``generation``: senior and junior, or a child and somebody old enough to be a parent, whose phone and mailbox the
    child goes by. ``given_name``: another given name, and nothing that twins and siblings do not share too (see
    _is_beyond_twins): all the rest they have in common, and a family a number of its insurance; or one as twins have
    (see _are_called_as_twins).
    ``only_phone``: one of the two is nothing but a phone, which both have (see phones); ``phone_alone``: they have
    nothing but a phone to compare. ``family_name``: another family name, and nothing in common by which to reach
    them. For ``perhaps_parent`` and ``other_birth`` see _of_one_family, and of a number in common
    _have_a_familys_number; for the rest _by_name. What a source says
    itself is never held back, and a number in common only by the first two.
    """
    number = levels.get("identifier")
    if number == "same_record":
        return None
    if _are_of_two_generations(one, other):
        return "generation"
    if levels.get("given") == "different" and not _is_beyond_twins(one, other, levels, clear):
        return "given_name"
    if levels.get("given") in _ALMOST and _are_called_as_twins(one, other, levels, names):
        return "given_name"
    if number == "equal":
        return "other_birth" if _have_a_familys_number(one, other, levels) else None
    if levels.keys() <= {"phone", "sex", "identifier"}:
        lone = (one.is_only_phone or other.is_only_phone) and bool(one.phones & other.phones)
        return ONLY_PHONE if lone else "phone_alone"
    at_home = _are_at_one_home(one, other, levels)
    if levels.get("family") == "different" and not at_home and not _are_reached_alike(levels):
        return "family_name"
    return _of_one_family(one, other, levels) or _by_name(one, other, levels, at_home, name_share)


def _of_one_family(one: Identity, other: Identity, levels: Levels) -> str | None:
    """Families hand a name down, and whoever is young shares a home with those who have it too.

    ``perhaps_parent``: one is young and the other says no date of birth, and nothing is in common but a name and a
    home, or what a child has of a parent. ``other_birth``: dates of birth that are no slip of one another, and one is
    young.
    """
    years = [person.birth[0] for person in (one, other) if person.birth]
    if not years or max(years) < _AT_HOME_SINCE:
        return None
    if len(years) == 2:
        return "other_birth" if levels.get("birth") in ("different", "same_decade") else None
    child = max(years) >= _BY_A_PARENT_SINCE
    return "perhaps_parent" if child or not _are_reached_alike(levels) else None


def _by_name(one: Identity, other: Identity, levels: Levels, at_home: bool, name_share: float) -> str | None:
    """What has a name in common and little else.

    ``name_alone``: nothing but a name, or a name and a year, a town or a mailbox that is made of the name.
    ``common_name``: nothing but a common name and a date of birth; ``first_of_january``: a name and a date that
    stands for an unknown one.
    """
    agreeing = {name for name, level in levels.items() if level not in _SAYS_NOTHING}
    born = levels.get("birth")
    if not agreeing & _BESIDES_NAMES:
        if born not in _BORN_ALIKE:
            return "name_alone"
        days = [person.birth[1:] for person in (one, other) if person.birth]
        if any(day == (1, 1) for day in days):
            return "first_of_january"
        if name_share >= _COMMON or any(is_common(person.given, person.family) for person in (one, other)):
            return "common_name"
        return None
    if born in _BORN_ALIKE or _are_reached_alike(levels) or (born is None and levels.get("middle") == "equal"):
        return None
    return None if at_home or levels.get("place") in ("code", "code_alone") else "name_alone"


def _are_of_two_generations(one: Identity, other: Identity) -> bool:
    if one.generation and other.generation:
        return one.generation != other.generation
    if one.birth is None or other.birth is None:
        return False
    younger, older = max(one.birth[0], other.birth[0]), min(one.birth[0], other.birth[0])
    return younger >= _CHILD_SINCE and younger - older >= _A_GENERATION


def _are_called_as_twins(one: Identity, other: Identity, levels: Levels, names: bool) -> bool:
    """Whether given names that are nearly one are of two: a boy's and a girl's, or two that rhyme and of one day of
    birth. A slip of the hand is seldom at the beginning, and seldom makes a name that others have.
    """
    if levels.get("sex") == "different":
        return True
    return names and levels.get("birth") == "equal" and one.given[0] != other.given[0]


def _have_a_familys_number(one: Identity, other: Identity, levels: Levels) -> bool:
    """Whether two have a number in common as relatives have that of their insurance: born on days that are no slip of
    one another, with another given name, or a generation apart with one.
    """
    if one.birth is None or other.birth is None or levels.get("birth") not in _BORN_APART:
        return False
    return levels.get("given") not in _ONE_GIVEN or abs(one.birth[0] - other.birth[0]) >= _A_GENERATION


def _is_beyond_twins(one: Identity, other: Identity, levels: Levels, clear: bool) -> bool:
    """Whether two have something in common that neither twins nor a couple have: a day of birth and a mailbox named
    after one of them, or so much besides that no twins have it; or a phone that went along from one home to another,
    with either of both.
    """
    born = levels.get("birth")
    if levels.get("middle") == "different" or not (born is None or born in _BORN_ALIKE):
        return False
    one_mailbox = levels.get("email") in _ONE_MAILBOX
    own = one_mailbox and _is_own_mailbox(one, other)
    if born and (own or (clear and not one_mailbox and levels.get("identifier") != "equal")):
        return True
    moved = "place" in levels and levels["place"] != "alike" and not _are_at_one_home(one, other, levels)
    grown = born == "equal" and all(person.birth and person.birth[0] < _AT_HOME_SINCE for person in (one, other))
    return moved and levels.get("phone") == "equal" and (grown or own)


def _is_own_mailbox(one: Identity, other: Identity) -> bool:
    """Whether a mailbox of both, or the like of it, is named after one of them, and not after a family or a parent."""
    shared = one.emails & other.emails or one.emails | other.emails
    return any(_is_named(box.partition("@")[0], person) for box in shared for person in (one, other) if person.given)


def _is_named(box: str, person: Identity) -> bool:
    """After the given name, or its initial beside the family name."""
    if len(person.given) >= 3 and person.given[:4] in box:
        return True
    letters = "".join(filter(str.isalpha, box))
    before, family, after = letters.partition(person.family) if person.family else ("", "", "")
    return bool(family) and before + after == person.given[0]


def _are_at_one_home(one: Identity, other: Identity, levels: Levels) -> bool:
    """Whether both live in one house; a street alone is long, and many towns have it."""
    place = levels.get("place")
    return place in _AT_HOME or (place == "alike" and one.house != "" and one.house == other.house)


def _are_reached_alike(levels: Levels) -> bool:
    phone = levels.get("phone") in ("equal", "last_seven", "one_digit")
    return phone or levels.get("email") in ("equal", "close")
