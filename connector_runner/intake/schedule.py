"""When a record type is polled next: on its own grid, or after a growing pause while it fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

BACKOFF_BASE_S: Final = 5.0
BACKOFF_CAP_S: Final = 300.0
EARLY: Final = 0.1
"""The part of its cadence by which a poll may come early, lest a hint just before its time be wasted."""
MIN_LEASE_S: Final = 30.0


def next_due(due_at: datetime, cadence_s: float, now: datetime) -> datetime:
    """The next time on the grid of ``due_at``, or now when that has passed already."""
    following = due_at + timedelta(seconds=cadence_s)
    return following if following > now else now + timedelta(seconds=cadence_s * (1 - EARLY))


def retry_due(
    errors: int, cadence_s: float, now: datetime, *, retry_after_s: float | None, random: Callable[[], float]
) -> datetime:
    """When to try again after ``errors`` failures in a row: doubling pauses to five minutes, half of it jitter.

    A time that the other side stated is waited for in full. ``random`` gives a number from 0 to 1.
    """
    longest = min(BACKOFF_CAP_S, min(cadence_s, BACKOFF_BASE_S) * 2.0 ** min(errors - 1, 16))
    pause = longest * (0.5 + random() / 2)
    return now + timedelta(seconds=max(pause, retry_after_s or 0.0))


def lease_s(request_timeout_s: float) -> float:
    """How long one page may take from its request to its commit before another worker may take over."""
    return max(MIN_LEASE_S, 2 * request_timeout_s + 10)
