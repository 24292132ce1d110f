"""How good links are, as far as people's words about pairs tell: per rule and score band, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final

FALSE_LINKS: Final = 0.01
"""The share of links that may be false."""
_Z: Final = 1.96
"""Of an interval that holds the true share 95 times in 100."""
_BANDS: Final = (0.0, 2.0, 4.0, 6.0, 10.0, 15.0)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A pair with what a person last said of it, and what the evidence said then.

    ``held`` is why the pair might not link by itself; ``rule`` the deterministic rule that it meets, if any.
    """

    same: bool
    bits: float
    held: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """``part`` of ``whole``, with the 95 % interval of the true share (Wilson's score interval)."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """The share found; None of nothing."""
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float]:
        """Between what and what the true share lies; anything, where nothing was seen."""
        if not self.whole:
            return 0.0, 1.0
        n, p, z2 = self.whole, self.part / self.whole, _Z * _Z
        middle, apart = p + z2 / (2 * n), _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, (middle - apart) / (1 + z2 / n)), min(1.0, (middle + apart) / (1 + z2 / n))


@dataclass(frozen=True, slots=True)
class Group:
    """The labelled pairs of a rule (or of no rule but their score) with bits in a band."""

    rule: str
    band: str
    precision: Share
    recall: Share


@dataclass(frozen=True, slots=True)
class Bound:
    """What threshold keeps false links within a bound. ``bits`` is None where labels are too few to say so.

    ``needed``: how many labels of pairs that link, none of them false, would be enough.
    """

    allowed: float
    bits: float | None
    precision: Share
    recall: Share
    needed: int


def groups(labels: Sequence[Labelled]) -> list[Group]:
    """Per rule and band: of the labelled pairs in it how many are the same, and which part of all same pairs."""
    all_same = sum(label.same for label in labels)
    found: dict[tuple[str, int], list[bool]] = {}
    for label in labels:
        found.setdefault((label.held or label.rule or "score", _band(label.bits)), []).append(label.same)
    return [
        Group(rule, _name(band), Share(sum(same), len(same)), Share(sum(same), all_same))
        for (rule, band), same in sorted(found.items())
    ]


def bound(labels: Iterable[Labelled], allowed: float = FALSE_LINKS) -> Bound:
    """The lowest threshold at which, with 95 % confidence, no more than ``allowed`` of the links are false."""
    known = list(labels)
    same = sum(label.same for label in known)
    linking = sorted((label for label in known if label.held is None), key=lambda label: -label.bits)
    best: tuple[float, Share] | None = None
    right = 0
    for count, label in enumerate(linking, start=1):
        right += label.same
        is_last = count == len(linking) or linking[count].bits < label.bits
        if is_last and 1 - Share(right, count).interval[0] <= allowed:
            best = label.bits, Share(right, count)
    whole = best[1] if best else Share(sum(label.same for label in linking), len(linking))
    return Bound(allowed, best[0] if best else None, whole, Share(whole.part, same), labels_needed(allowed))


def labels_needed(allowed: float) -> int:
    """So many labels, none of them of a false link, bear out that no more than ``allowed`` are false."""
    return ceil(_Z * _Z * (1 - allowed) / allowed)


def _band(bits: float) -> int:
    return sum(bits >= edge for edge in _BANDS)


def _name(band: int) -> str:
    if band == 0:
        return f"< {_BANDS[0]:g}"
    return f">= {_BANDS[-1]:g}" if band == len(_BANDS) else f"{_BANDS[band - 1]:g} to {_BANDS[band]:g}"
