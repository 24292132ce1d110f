"""When to try again, as a value: pauses that double, with full jitter.

Full jitter (AWS, "Exponential Backoff And Jitter"): a pause is anything up to the bound, so those who failed together
do not come back together. A time that the other side stated is waited for in full.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Random = Callable[[], float]
"""Gives a number from 0 to 1."""
_MOST_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """The bound of the first pause is ``base_s``, of each later one twice that, at most ``cap_s``.

    ``floor`` is the part of the bound below which no pause is: 0 is full jitter, 1 none at all.
    """

    base_s: float
    cap_s: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.base_s <= self.cap_s and 0 <= self.floor <= 1):
            raise ValueError("a backoff needs 0 < base_s <= cap_s and a floor from 0 to 1")

    def bound_s(self, failures: int) -> float:
        """The longest pause after so many failures in a row, at least one."""
        return min(self.cap_s, self.base_s * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS))

    def pause_s(
        self, failures: int, *, random: Random = randomness.random, retry_after_s: float | None = None
    ) -> float:
        """Seconds until the next try after so many failures in a row, and no fewer than ``retry_after_s``."""
        bound = self.bound_s(failures)
        jittered = bound * (self.floor + (1 - self.floor) * random())
        return max(jittered, retry_after_s or 0.0)
