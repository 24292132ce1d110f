"""When to leave a sink alone: a value that learns from what became of requests, and says when it is open.

Only faults of the sink count: it cannot be reached, does not answer in time, or answers that it cannot serve.
A record that it refuses is an answer, so it counts as a success.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

REMEMBERED: Final = 20
"""So many of the last outcomes are remembered, none being a success; more than half faults opens the breaker too."""
_ALL: Final = (1 << REMEMBERED) - 1

Phase = Literal["shut", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """``failures`` in a row open it, for ``first_open_s``; each failed try after that doubles it to ``most_open_s``."""

    failures: int = 5
    first_open_s: float = 0.5
    most_open_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state, as a sink's row holds it. Times are seconds on any one clock.

    ``recent`` has a bit for each remembered outcome, the latest in the lowest, 1 for a fault. ``opens`` counts
    how often it opened since it was last shut, ``until`` when it may be tried.
    """

    in_a_row: int = 0
    recent: int = 0
    opens: int = 0
    until: float | None = None

    @property
    def clean(self) -> bool:
        """Whether a success would change nothing."""
        return self.in_a_row == 0 and self.recent == 0 and self.opens == 0 and self.until is None

    def phase(self, now: float) -> Phase:
        """``half_open``: one request may be tried, and what becomes of it decides."""
        if self.opens == 0:
            return "shut"
        return "open" if self.until is not None and now < self.until else "half_open"

    def wait_s(self, now: float) -> float:
        """Seconds until it may be tried."""
        return 0.0 if self.until is None else max(self.until - now, 0.0)

    def failed(self, now: float, limits: BreakerLimits) -> Breaker:
        """A request met a fault of the sink."""
        noted = replace(
            self,
            in_a_row=min(self.in_a_row + 1, 32_000),
            recent=(self.recent << 1 | 1) & _ALL,
        )
        phase = self.phase(now)
        if phase == "open":
            # Begun before it opened: it tells nothing that is not known.
            return noted
        if phase == "shut" and not noted._tripped(limits):
            return noted
        wait = min(limits.first_open_s * 2.0 ** min(self.opens, 30), limits.most_open_s)
        return replace(noted, opens=min(self.opens + 1, 32_000), until=now + wait)

    def succeeded(self, now: float) -> Breaker:
        """The sink answered. Of a half-open breaker this is the one request that it waited for: it is shut, anew."""
        phase = self.phase(now)
        if phase == "half_open":
            return Breaker()
        if phase == "open":
            return self
        return Breaker(0, (self.recent << 1) & _ALL)

    def _tripped(self, limits: BreakerLimits) -> bool:
        return self.in_a_row >= limits.failures or self.recent.bit_count() * 2 > REMEMBERED
