"""From the evidence of pairs to clusters: a pure function, the same in whatever order the evidence came.

Best link first, ties by name. Two groups are joined only where their members as a whole speak for it: one likeness
between two records never chains together others that speak against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

Pair = tuple[str, str]
"""Two records, the smaller name first."""

UNSEEN: Final = -3.0
"""What a pair counts of which one says nothing of who it is."""
APART: Final = -inf
"""What a pair counts that may never be in one cluster."""
_MOST: Final = 12.0
_LEAST: Final = -8.0
"""No single pair outweighs all others; and one doubt less than one likeness."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """``of``: record -> the cluster's smallest record. ``links``: the pairs that joined groups.

    ``refused``: pairs that would have linked and are not in one cluster, as their groups as a whole, or a decision,
    spoke against it.
    """

    of: Mapping[str, str]
    links: tuple[Pair, ...]
    refused: tuple[Pair, ...]


def clusters(
    records: Iterable[str],
    bits: Mapping[Pair, float],
    *,
    threshold: float,
    must: frozenset[Pair] = frozenset(),
    never: frozenset[Pair] = frozenset(),
    weigh: Callable[[Pair], float] = lambda _: UNSEEN,
) -> Clusters:
    """Group ``records`` by the ``bits`` of their pairs: those of ``threshold`` and more may link.

    ``must`` are pairs that a person (or the source itself) joined, taken first; ``never`` those that may not be in
    one cluster, whatever else says so. Where they contradict one another, apart is the safe side. ``weigh`` is asked
    for the bits of other pairs (fewer than ``threshold``, or APART) where it is to be decided if their groups join.
    """
    group = {record: [record] for record in sorted(records)}
    links: list[Pair] = []
    refused: list[Pair] = []
    known = dict(bits) | dict.fromkeys(never, APART)

    def between(one: list[str], other: list[str]) -> Iterator[float]:
        for two in (pair(a, b) for a in one for b in other):
            if two not in known:
                known[two] = weigh(two)
            yield known[two]

    wanted = sorted(((score, two) for two, score in bits.items() if score >= threshold), key=_best_first)
    for two in (*sorted(must), *(two for _, two in wanted if two not in must)):
        one, other = group[two[0]], group[two[1]]
        if one is other:
            continue
        if _speaks_against(between(one, other), must=two in must):
            refused.append(two)
            continue
        one.extend(other)
        for record in other:
            group[record] = one
        links.append(two)
    # What spoke against two groups may be outweighed by who joined them later.
    apart = tuple(two for two in refused if group[two[0]] is not group[two[1]])
    names = {id(members): min(members) for members in group.values()}
    return Clusters({record: names[id(members)] for record, members in group.items()}, tuple(links), apart)


def _best_first(scored: tuple[float, Pair]) -> tuple[float, Pair]:
    return -scored[0], scored[1]


def pair(one: str, other: str) -> Pair:
    """The two in order."""
    return (one, other) if one < other else (other, one)


def _speaks_against(found: Iterable[float], *, must: bool) -> bool:
    """Whether two groups may not join: a pair is kept apart, or all pairs together are more unlike than like."""
    total = 0.0
    for value in found:
        if value == APART:
            return True
        total += max(_LEAST, min(_MOST, value))
    return not must and total < 0
