"""Drawing from what is not equally frequent."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterable
from itertools import accumulate
from typing import Generic, TypeVar

T = TypeVar("T")


class Weighted(Generic[T]):
    """Options, each drawn as often as its weight says; their sums are made once."""

    def __init__(self, options: Iterable[T], weights: Iterable[float]) -> None:
        self.options = tuple(options)
        self._sums = tuple(accumulate(weights))
        if len(self._sums) != len(self.options):
            raise ValueError("every option has one weight")
        self._total = self._sums[-1]
        self._last = len(self.options) - 1

    def draw(self, rng: random.Random) -> T:
        """One of the options."""
        return self.options[bisect(self._sums, rng.random() * self._total, 0, self._last)]


def long_tail(words: str, flat: float) -> Weighted[str]:
    """Words of a text, in which ``_`` stands for a space: the first the commonest, then as a power law falls.

    The law is Zipf's and Mandelbrot's; the greater ``flat`` is, the less the first few stand out.
    """
    options = [word.replace("_", " ") for word in words.split()]
    return Weighted(options, (1 / (rank + flat) for rank in range(len(options))))
