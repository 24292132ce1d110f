"""FHIR dates: a value of limited precision is a stretch of time."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?)?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

Interval = tuple[int, int]
"""First millisecond since 1970 and the first one after it."""


def interval(text: str) -> Interval:
    """The stretch that a date covers; ``ValueError`` when it is not a FHIR date. No zone means UTC."""
    found = _DATE.fullmatch(text)
    if not found:
        raise ValueError("not a FHIR date")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
    if hour is None:
        days = 1 if day else calendar.monthrange(start.year, start.month)[1] if month else 365
        if not month:
            days += calendar.isleap(start.year)
        return _ms(start), _ms(start) + days * 86_400_000
    start = start.replace(hour=int(hour), minute=int(minute), second=int(second or 0))
    first = _ms(start) - _offset(zone)
    if fraction:
        first += int((fraction + "00")[:3])
        return first, first + 1
    return first, first + (1000 if second else 60_000)


def _offset(zone: str | None) -> int:
    if zone in (None, "Z"):
        return 0
    assert zone is not None
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return (minutes if zone[0] == "+" else -minutes) * 60_000


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS


def instant(ms: int) -> str:
    """``2026-01-31T10:20:30.123Z``."""
    moment = _EPOCH + ms * _MS
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def http_date(ms: int) -> str:
    """The form of Last-Modified, in whole seconds."""
    return format_datetime(_EPOCH + timedelta(seconds=ms // 1000), usegmt=True)
