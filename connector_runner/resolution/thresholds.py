"""From how many bits on a pair links by itself, and from how many on a person is asked."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

_LINK: Final = 2.5
_POSSIBLE: Final = 2.0
_HELD: Final = 1.5
_SMALL: Final = 12_000
_A_DOUBLING: Final = 0.4


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``link``: a pair of so many bits links by itself. ``possible``: from so many on a person is asked.

    ``held``: so many bits held evidence must have for a person to be asked: what says that a pair may not link by
    itself counts against it.
    """

    link: float
    possible: float
    held: float

    def is_possible(self, bits: float, held: str | None) -> bool:
        """Whether a person is asked about a pair, should it not be in one cluster."""
        return bits >= (self.held if held else self.possible)


def thresholds(size: int) -> Thresholds:
    """The thresholds of a population of ``size`` records.

    Bits already count how many strangers there are to be mistaken for; 2.5 of them are odds of 5.7 to 1 against all
    else that could explain the pair. On records of known truth fewer than one cluster in a hundred then holds two
    people. Beyond a town more are wanted, as what the weights leave out (families with the same names in the same
    street) is met more often: 0.4 bits with each doubling.
    """
    more = max(0.0, _A_DOUBLING * log2(max(size, 1) / _SMALL))
    link = _LINK + more
    return Thresholds(link, _POSSIBLE + more, link + _HELD - 0.5)


SMALLEST: Final = thresholds(0)
