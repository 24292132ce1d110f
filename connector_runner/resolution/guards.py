"""What may not link by itself however likely it is: the pair stays a possible match, for a person to decide.

A probability is right on the average of a population; these are wrong for the same families every time.
"""

from __future__ import annotations

from typing import Final

from connector_runner.resolution.comparing import Levels
from connector_runner.resolution.identity import Identity

HELD_BITS: Final = 1.5
"""The most that held evidence counts where clusters are made: it speaks for those around it, and never links."""
ONLY_PHONE: Final = "only_phone"
_COMMON: Final = 1e-5
"""The share of people with one given and one family name from which on the pair of names is common: 1 in 100,000."""
_SAYS_NOTHING: Final = frozenset({"different", "region_differs"})
_BESIDES_NAMES: Final = frozenset({"phone", "email", "place"})


def counted_bits(bits: float, held: str | None) -> float:
    """What a pair counts where clusters are made."""
    return min(bits, HELD_BITS) if held else bits


def held_back(one: Identity, other: Identity, levels: Levels, *, name_share: float, identified: bool) -> str | None:
    """Why a pair may not link by itself, or None.

    ``generation``: senior and junior. ``given_name``: another given name, and neither a mailbox (or only one, and
    another middle name) nor an identifier in common: twins and siblings share all the rest. ``common_name``: nothing
    but a common name and a date of birth; ``first_of_january``: a name and a date that stands for an unknown one.
    ``only_phone``: one of the two is nothing but a phone, which both have (see phones); ``phone_alone``: they have
    nothing but a phone to compare.
    """
    if identified:
        return None
    if one.generation and other.generation and one.generation != other.generation:
        return "generation"
    if levels.get("given") == "different" and (levels.get("email") != "equal" or levels.get("middle") == "different"):
        return "given_name"
    if set(levels) <= {"phone", "sex"}:
        lone = (one.is_only_phone or other.is_only_phone) and bool(one.phones & other.phones)
        return ONLY_PHONE if lone else "phone_alone"
    agreeing = {name for name, level in levels.items() if level not in _SAYS_NOTHING}
    if not agreeing & _BESIDES_NAMES:
        days = [person.birth[1:] for person in (one, other) if person.birth]
        if any(day == (1, 1) for day in days):
            return "first_of_january"
        if name_share >= _COMMON:
            return "common_name"
    return None
