"""Time as a parameter: who decides by the clock is handed one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], datetime]

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


# Records that arrive together carry few different times.
@lru_cache(maxsize=4096)
def parse_instant(text: str) -> datetime | None:
    """A FHIR ``instant`` or a dateTime with a zone (R4 datatypes, 2.24.0.1); None when it is neither.

    A leap second counts as the second before it, and a fraction is cut to microseconds.
    """
    if len(text) < 19 or text[10] not in "Tt":
        return None
    if text[17:19] == "60":
        text = text[:17] + "59" + text[19:]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None
