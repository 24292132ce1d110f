"""From the evidence of pairs to clusters: a pure function, the same in whatever order the evidence came.

Best link first, ties by name. Two groups are joined only where their members as a whole speak for it: one likeness
between two records never chains together others that speak against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Pair = tuple[str, str]
"""Two records, the smaller name first."""

_UNSEEN: Final = -3.0
"""What a pair counts that no blocking key brought together: it has nothing in common worth comparing."""
_MOST: Final = 12.0
"""No single pair outweighs all others."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """``of``: record -> the cluster's smallest record. ``links``: the pairs that joined groups.

    ``refused``: pairs that would have linked, and whose groups as a whole, or a decision, spoke against it.
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
) -> Clusters:
    """Group ``records`` by the ``bits`` of their pairs: those of ``threshold`` and more may link.

    ``must`` are pairs that a person (or the source itself) joined, taken first; ``never`` those that may not be in
    one cluster, whatever else says so. Where they contradict one another, apart is the safe side.
    """
    group = {record: [record] for record in sorted(records)}
    links: list[Pair] = []
    refused: list[Pair] = []
    wanted = sorted(((score, pair) for pair, score in bits.items() if score >= threshold), key=_best_first)
    for pair in (*sorted(must), *(pair for _, pair in wanted if pair not in must)):
        one, other = group[pair[0]], group[pair[1]]
        if one is other:
            continue
        if _kept_apart(one, other, never) or (pair not in must and _mean(one, other, bits) < 0):
            refused.append(pair)
            continue
        one.extend(other)
        for record in other:
            group[record] = one
        links.append(pair)
    names = {id(members): min(members) for members in group.values()}
    return Clusters({record: names[id(members)] for record, members in group.items()}, tuple(links), tuple(refused))


def _best_first(scored: tuple[float, Pair]) -> tuple[float, Pair]:
    return -scored[0], scored[1]


def pair(one: str, other: str) -> Pair:
    """The two in order."""
    return (one, other) if one < other else (other, one)


def _kept_apart(one: list[str], other: list[str], never: frozenset[Pair]) -> bool:
    return bool(never) and any(pair(a, b) in never for a in one for b in other)


def _mean(one: list[str], other: list[str], bits: Mapping[Pair, float]) -> float:
    total = sum(max(-_MOST, min(_MOST, bits.get(pair(a, b), _UNSEEN))) for a in one for b in other)
    return total / (len(one) * len(other))
