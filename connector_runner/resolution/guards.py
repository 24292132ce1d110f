"""What may not link by itself however likely it is: the pair stays a possible match, for a person to decide.

A probability is right on the average of a population; the two below are wrong for the same families every time.
"""

from __future__ import annotations

from typing import Final

from connector_runner.resolution.comparing import Levels
from connector_runner.resolution.identity import Identity

HELD_BITS: Final = 1.5
"""The most that held evidence counts: possible, and below every threshold at which records link."""
_COMMON: Final = 1e-5
"""The share of people with one given and one family name from which on the pair of names is common: 1 in 100,000."""
_SAYS_NOTHING: Final = frozenset({"different", "region_differs"})
_BESIDES_NAMES: Final = frozenset({"phone", "email", "place"})


def held_back(one: Identity, other: Identity, levels: Levels, *, name_share: float, identified: bool) -> str | None:
    """Why a pair may not link by itself, or None.

    ``given_name``: another given name, and neither a mailbox nor an identifier in common: twins and siblings share all
    the rest. ``common_name``: nothing but a common name and a date of birth; ``first_of_january``: a name and
    a date that stands for an unknown one. ``phone_alone``: one of the two says nothing but a phone.
    """
    if identified:
        return None
    if levels.get("given") == "different" and levels.get("email") != "equal":
        return "given_name"
    agreeing = {name for name, level in levels.items() if level not in _SAYS_NOTHING}
    if not agreeing & _BESIDES_NAMES:
        days = [person.birth[1:] for person in (one, other) if person.birth]
        if any(day == (1, 1) for day in days):
            return "first_of_january"
        if name_share >= _COMMON:
            return "common_name"
    return "phone_alone" if set(levels) <= {"phone"} else None
