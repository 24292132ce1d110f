"""Dates and times of R4 as spans of time, so that values of different precision can be put in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

_DAY = timedelta(days=1)
# A date without a zone is somewhere's day: between UTC+14 and UTC-12.
_EAST, _WEST = timedelta(hours=14), timedelta(hours=12)


@lru_cache(maxsize=4096)
def span(text: str) -> tuple[datetime, datetime] | None:
    """The first and the last moment that a date, dateTime or instant can mean; None when it is none."""
    try:
        if len(text) > 10:
            moment = datetime.fromisoformat(text.replace(":60", ":59"))
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return moment, moment
        year, month, day = int(text[:4]), int(text[5:7] or 1), int(text[8:10] or 1)
        first = datetime(year, month, day, tzinfo=UTC)
        if len(text) == 10:
            last = first
        elif len(text) == 7:
            last = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) - _DAY
        else:
            last = datetime(year, 12, 31, tzinfo=UTC)
        return first - _EAST, last + _DAY + _WEST
    except (ValueError, OverflowError):
        return None


def in_order(first: Any, second: Any) -> bool:
    """Whether ``first`` can be no later than ``second``. What is missing or no date is not judged here."""
    if type(first) is not str or type(second) is not str:
        return True
    if len(first) == len(second) and len(first) <= 10:
        return first <= second
    one, other = span(first), span(second)
    return one is None or other is None or one[0] <= other[1]


def is_past(text: Any, now: datetime) -> bool:
    """Whether ``text`` can have come already at ``now``; what is no date is not judged here."""
    found = span(text) if type(text) is str else None
    return found is None or found[0] <= now
