"""Dates and times as systems of the United States write them: ``MM/DD/YYYY``, a local time of day beside it.

Such a time names no zone. Where the record says in which it was written, the moment gets its offset; a time that the
clocks leapt over in spring does not exist there, and one that they showed twice in autumn is the first of the two.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector_runner.unification.dates import is_date
from connector_runner.unification.run import Run

_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])\.?[Mm]\.?)?")


def us_date(value: Any, path: str, run: Run) -> str | None:
    """``MM/DD/YYYY`` as a FHIR date; a date that does not exist, or in another order, is a problem."""
    if type(value) is not str:
        run.wrong_type(path, value, "a date")
        return None
    if not value.strip():
        return None
    found = iso_date(value)
    if found is None:
        run.problem(path, "invalid_date", "not a date that exists, as MM/DD/YYYY")
    return found


def us_date_time(value: Any, path: str, run: Run) -> str | None:
    """``MM/DD/YYYY hh:mm:ss``, or the date alone, as a FHIR dateTime without a zone."""
    day, _, clock = value.strip().partition(" ") if type(value) is str else (value, "", "")
    return us_moment([day, clock or None, None], path, run)


def us_moment(value: Any, path: str, run: Run) -> str | None:
    """Of [date, time of day, zone]: a FHIR dateTime, with its offset where the zone is known."""
    day, clock, zone = value
    if day is None:
        return None
    date = us_date(day, path, run)
    if date is None or clock is None or clock == "":
        return date
    time = _clock(clock)
    if time is None:
        run.problem(path, "invalid_date", "not a time of day, as hh:mm")
        return date
    return f"{date}T{time}" if zone is None else _in_zone(f"{date}T{time}", zone, path, run)


def iso_date(text: str) -> str | None:
    """``MM/DD/YYYY`` as ``YYYY-MM-DD``; None when it is no such date."""
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return None
    date = f"{found[3]}-{found[1]:0>2}-{found[2]:0>2}"
    return date if is_date(date) else None


def _clock(text: Any) -> str | None:
    found = _TIME.fullmatch(text.strip()) if type(text) is str else None
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if found[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[4] in "Pp" else 0)
    return f"{hour:02}:{minute:02}:{second:02}" if hour < 24 and minute < 60 and second < 60 else None


def _in_zone(local: str, zone: Any, path: str, run: Run) -> str | None:
    try:
        named = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError):
        run.problem(path, "unknown_zone", "no such time zone: the time is kept without one")
        return local
    moment = datetime.fromisoformat(local).replace(tzinfo=named)
    if moment.astimezone(UTC).astimezone(named).replace(tzinfo=None) != moment.replace(tzinfo=None):
        run.problem(path, "invalid_date", "the clocks of this zone leapt over this time")
        return None
    return moment.isoformat()
