"""What the limiter must not forget with Redis: pauses, learned rates, and what was booked of quotas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Period:
    """A minute or a day on the clock; ``starts`` and ``ends`` are epoch seconds, ``name`` is unique for a sink."""

    name: str
    starts: int
    ends: int

    @property
    def is_minute(self) -> bool:
        """A minute, not a day."""
        return self.name.startswith("m")


@dataclass(frozen=True, slots=True)
class Recalled:
    """``pause_s`` seconds of a pause remain; ``rate`` requests a second was the learned rate ``rate_age_s`` ago."""

    pause_s: float = 0.0
    rate: float | None = None
    rate_age_s: float = 0.0


class Memory(Protocol):
    """Where it is kept. Methods may raise Unavailable; then nothing is granted."""

    def recall(self, workspace_id: str, sink: str) -> Recalled:
        """What was kept."""

    def keep(self, workspace_id: str, sink: str, *, pause_s: float, rate: float | None) -> None:
        """A pause begins (one that ends later stays); with ``rate``, that is the learned rate from now on."""

    def book(
        self, workspace_id: str, sink: str, period: Period, known: int | None, *, block: int, quota: int
    ) -> tuple[int, int]:
        """Book another ``block`` of a period, up to its ``quota``: how many may have been granted, and may be now.

        ``known`` is what the caller has as booked, None when it was lost. Where somebody else booked meanwhile,
        theirs is answered.
        """

    def rest(self, workspace_id: str, sink: str, wait_s: float) -> None:
        """Nothing will be granted for so long, so nobody need look."""


class _NoMemory:
    """Remembers nothing, so it has no quota to give."""

    def recall(self, workspace_id: str, sink: str) -> Recalled:
        return Recalled()

    def keep(self, workspace_id: str, sink: str, *, pause_s: float, rate: float | None) -> None:
        return None

    def book(
        self, workspace_id: str, sink: str, period: Period, known: int | None, *, block: int, quota: int
    ) -> tuple[int, int]:
        return quota, quota

    def rest(self, workspace_id: str, sink: str, wait_s: float) -> None:
        return None


NO_MEMORY: Final[Memory] = _NoMemory()
