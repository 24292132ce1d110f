"""The rate that a system allows; those who overshoot get 429."""

from __future__ import annotations

import math
import time


class RateLimit:
    """A bucket of ``burst`` tokens that fills by ``rate`` a second; a rate of 0 means no limit."""

    def __init__(self, rate: float = 0, burst: float = 1) -> None:
        self.change(rate, burst)

    def change(self, rate: float, burst: float) -> None:
        """Set a new limit, with a full bucket; ``ValueError`` for a limit that would let nothing through."""
        if rate < 0 or (rate > 0 and burst < 1):
            raise ValueError("rate is at least 0 and burst at least 1")
        self.rate, self.burst = float(rate), float(burst)
        self._tokens = self.burst
        self._at = time.monotonic()

    def take(self) -> float:
        """0 when a request may pass, else the seconds until one may."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.rate

    def left(self) -> float:
        """How many requests would pass at once now."""
        return min(self.burst, self._tokens + (time.monotonic() - self._at) * self.rate)

    def full_in(self) -> int:
        """Whole seconds until the bucket is full again."""
        return math.ceil((self.burst - self.left()) / self.rate) if self.rate else 0
