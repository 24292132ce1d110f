"""From how many bits on a pair links by itself, and from how many on a person is asked."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

_LINK: Final = 2.5
_POSSIBLE: Final = 2.0
_HELD: Final = 3.0
_SMALL: Final = 8_000
_A_DOUBLING: Final = 1.2
_MOST: Final = 4.0
_ASKED: Final = 0.4


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
    else that could explain the pair, and on badly kept records of known truth fewer than one cluster in a hundred then
    holds two people. Among more records a mistake in a hundred is more than anybody puts right: 1.2 bits more are
    wanted with each doubling, up to odds of 90 to 1. That parts little where records are kept well: there hardly any
    link has so few. Whom people are asked about grows by 0.4 times as much, so that who does not link is a question.
    """
    more = min(_MOST, max(0.0, _A_DOUBLING * log2(max(size, 1) / _SMALL)))
    return Thresholds(_LINK + more, _POSSIBLE + _ASKED * more, _HELD + _ASKED * more)


SMALLEST: Final = thresholds(0)
