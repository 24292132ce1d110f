"""Whether a record that is about to be made is in the sink already: the same person, perhaps the same, or nobody. Pure.

Who is known from a conversation only has no number that a system of record gave out. One strong likeness is enough
to go on with the record that is there; anything less certain is for a person to decide, for two records of one
patient, and one record of two, both do harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from connector_runner.outbound.gating.choosing import OUR_IDENTIFIER
from connector_runner.world.atoms import split

SEARCHED: Final = frozenset({"patient"})
"""Entity types of which one and the same may be told from what is said of them."""

Facts = Mapping[str, Any]


class Likeness(IntEnum):
    """How much a record of the sink is like the one to be made."""

    NONE = 0
    POSSIBLE = 1
    STRONG = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """``same`` is the record to go on with; ``possible`` those that a person must look at. Neither: there is none."""

    same: str | None
    possible: tuple[str, ...] = ()


def judge(meant: Facts, found: Iterable[tuple[str, Facts]]) -> Judged:
    """Compare what is to be created with what a search found: (``Type/id``, facts)."""
    likeness = {ref: like(meant, facts) for ref, facts in found}
    alike = sorted(ref for ref, degree in likeness.items() if degree is not Likeness.NONE)
    if len(alike) == 1 and likeness[alike[0]] is Likeness.STRONG:
        return Judged(alike[0])
    return Judged(None, tuple(alike))


def like(one: Facts, other: Facts) -> Likeness:
    """How alike two records of people are.

    Strong: a number of the same system in common; or name, birth date and a telephone. A birth date, a given name (a
    family has one number of its insurance) or a number that contradicts, or a record that was put out of use, leaves
    it possible at most.
    """
    mine, theirs = _numbers(one), _numbers(other)
    shared = bool(mine & theirs)
    named = _name(one) is not None and _name(one) == _name(other)
    born = one.get("birth_date") is not None and one.get("birth_date") == other.get("birth_date")
    phoned = bool(_phones(one) & _phones(other))
    if not (shared or (named and (born or phoned))):
        return Likeness.NONE
    numbered = {system for system, _ in mine}
    contradicted = (
        _differ(one.get("birth_date"), other.get("birth_date"))
        or (not shared and any(system in numbered for system, _ in theirs))
        or other.get("active") is False
    )
    if contradicted and not shared and not born:
        # Somebody of the same name in the same household.
        return Likeness.NONE
    sure = not contradicted and not _are_called_differently(one, other)
    return Likeness.STRONG if sure and (shared or (named and born and phoned)) else Likeness.POSSIBLE


def unlike(one: Facts, other: Facts) -> bool:
    """Whether two records are told apart by name and by birth date, with neither a number nor a telephone in common."""
    named, others_name = _name(one), _name(other)
    apart = named is not None and others_name is not None and named != others_name
    born = _differ(one.get("birth_date"), other.get("birth_date"))
    return apart and born and not (_numbers(one) & _numbers(other)) and not (_phones(one) & _phones(other))


def _are_called_differently(one: Facts, other: Facts) -> bool:
    """By their given names; a family name changes with a marriage."""
    mine, theirs = _given(one), _given(other)
    return mine is not None and theirs is not None and mine != theirs


def _differ(one: Any, other: Any) -> bool:
    """Whether two dates contradict each other: one that is less precise does not."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    return not (one.startswith(other) or other.startswith(one))


def _numbers(facts: Facts) -> set[tuple[str, str]]:
    """Identifiers that say whose number they are, less our own."""
    found = set()
    for atom, item in split({"identifier": facts.get("identifier") or []}).items():
        if isinstance(item, dict) and item.get("system") and item.get("value") and not atom.startswith(OUR_IDENTIFIER):
            found.add((str(item["system"]), str(item["value"])))
    return found


def _name(facts: Facts) -> tuple[str, str] | None:
    given, name = _given(facts), facts.get("name")
    if given is None or not isinstance(name, dict) or not name.get("family"):
        return None
    return _plain(name["family"]), given


def _given(facts: Facts) -> str | None:
    name = facts.get("name")
    return _plain(name["given"][0]) if isinstance(name, dict) and name.get("given") else None


def _plain(text: Any) -> str:
    return " ".join(str(text).casefold().split())


def _phones(facts: Facts) -> set[str]:
    return {
        str(item["value"])
        for item in facts.get("telecom") or ()
        if isinstance(item, dict) and item.get("system") in ("phone", "sms") and item.get("value")
    }
