"""Locations: told by an identifier, else by their address, where their names do not speak against it."""

from __future__ import annotations

from typing import Final

from rapidfuzz.distance import OSA, Levenshtein

from connector_runner.resolution.comparing import Levels, shared_identifiers
from connector_runner.resolution.identity import CANONICAL, Identity

VERSION: Final = "location-1"
_PRIOR: Final = -8.0
_CANONICAL_BITS: Final = 40.0
_IDENTIFIER_BITS: Final = 20.0
_ADDRESS: Final = {"equal_and_code": 14.0, "equal": 9.0, "alike_and_code": 9.0, "code": 1.0, "different": -10.0}
_NAME: Final = {"equal": 5.0, "close": 4.0, "part": 2.0, "different": -4.0}
_PHONE: Final = {"equal": 2.0, "different": 0.0}

Judgement = tuple[float, Levels, dict[str, float], str | None]


def judge_locations(one: Identity, other: Identity) -> Judgement:
    """Bits, levels, the weight of each field, and why they may not link by themselves, if so.

    ``place_name``: one address and two names, as of the departments of a hospital.
    """
    levels = {"family": _name(one, other), "place": _address(one, other), "phone": _phone(one, other)}
    levels = {name: level for name, level in levels.items() if level}
    weights = {"prior": _PRIOR}
    tables = {"family": _NAME, "place": _ADDRESS, "phone": _PHONE}
    weights |= {name: tables[name][level] for name, level in levels.items()}
    shared = {system for system, _ in shared_identifiers(one, other)}
    if shared:
        weights["identifier"] = _CANONICAL_BITS if CANONICAL in shared else _IDENTIFIER_BITS
    held = "place_name" if not shared and levels.get("family") == "different" else None
    return sum(weights.values()), levels, weights, held


def _name(one: Identity, other: Identity) -> str:
    if not one.family or not other.family:
        return ""
    if one.family == other.family:
        return "equal"
    if min(len(one.family), len(other.family)) >= 6 and OSA.distance(one.family, other.family) <= 2:
        return "close"
    fewer, more = sorted((one.family_parts, other.family_parts), key=len)
    return "part" if fewer <= more else "different"


def _address(one: Identity, other: Identity) -> str:
    """The street with its number, and the postal code; another number is another place."""
    if not one.street or not other.street:
        return ""
    code = one.postal_code != "" and one.postal_code == other.postal_code
    if one.street == other.street:
        town = one.city != "" and one.city == other.city
        apart = one.postal_code and other.postal_code and not code
        return "equal_and_code" if code else "different" if apart and not town else "equal"
    alike = one.house == other.house and Levenshtein.normalized_similarity(one.street, other.street) >= 0.8
    return "alike_and_code" if alike and code else "code" if code else "different"


def _phone(one: Identity, other: Identity) -> str:
    if not one.phones or not other.phones:
        return ""
    return "equal" if one.phones & other.phones else "different"
