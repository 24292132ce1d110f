"""When a record type is polled next: on its own grid, or after a growing pause while it fails. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from connector_runner.resilience.retry import Backoff, Random

BACKOFF_BASE_S: Final = 5.0
BACKOFF_CAP_S: Final = 300.0
EARLY: Final = 0.1
"""The part of its cadence by which a poll may come early, lest a hint just before its time be wasted."""
SLACK_S: Final = 2.0
"""By no more than that may a poll have been late to stay on its grid."""
MIN_LEASE_S: Final = 30.0


def next_due(due_at: datetime, cadence_s: float, now: datetime) -> datetime:
    """The next time on the grid of ``due_at``; on a later grid for who was late.

    Those who were due at once, and so came one after the other, are due one after the other from then on.
    """
    slack = timedelta(seconds=min(cadence_s * EARLY, SLACK_S))
    return max(due_at, now - slack) + timedelta(seconds=cadence_s)


def retry_due(errors: int, cadence_s: float, now: datetime, *, retry_after_s: float | None, random: Random) -> datetime:
    """When to try again after ``errors`` failures in a row: pauses double up to five minutes.

    A time that the other side stated is waited for in full. What is polled more often than the first pause is tried
    again as soon as that.
    """
    backoff = Backoff(min(cadence_s, BACKOFF_BASE_S), BACKOFF_CAP_S)
    return now + timedelta(seconds=backoff.pause_s(errors, random=random, retry_after_s=retry_after_s))


def reads_all(
    *,
    due_at: datetime | None,
    every_s: float | None,
    full_every: int | None,
    polls_since: int,
    fresh: bool,
    now: datetime,
) -> bool:
    """Whether a poll reads everything and not only what changed.

    It does when its full sync is due (``due_at``; none was yet: due if there are any, ``every_s``), and where
    every so manieth poll does (``full_every``) after ``polls_since`` polls of changes alone, or when it is the first
    of all (``fresh``).
    """
    if due_at <= now if due_at is not None else every_s is not None:
        return True
    return full_every is not None and (fresh or polls_since + 1 >= full_every)


def lease_s(request_timeout_s: float) -> float:
    """How long one page may take from its request to its commit before another worker may take over."""
    return max(MIN_LEASE_S, 2 * request_timeout_s + 10)
