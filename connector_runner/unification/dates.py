"""FHIR dates and times (R4 datatypes, 2.24.0.1): checked, and kept with the precision they came with."""

from __future__ import annotations

from datetime import date, datetime, time


def is_date(text: str) -> bool:
    """``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``, and a day that exists."""
    size = len(text)
    if size == 10:
        if text[4] != "-" or text[7] != "-":
            return False
    elif size == 7:
        if text[4] != "-":
            return False
        text += "-01"
    elif size == 4:
        text += "-01-01"
    else:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_date_time(text: str) -> bool:
    """A date, or a date with a time of day.

    A missing zone, missing seconds, a leap second and hour 24 all occur in the wild and pass.
    """
    if len(text) <= 10:
        return is_date(text)
    if len(text) < 16 or text[10] not in "Tt " or text[13] != ":" or text[4] != "-" or text[7] != "-":
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return _is_odd_time(text)
    return True


def _is_odd_time(text: str) -> bool:
    if text[17:19] == "60":
        text = text[:17] + "59" + text[19:]
    elif text[11:13] == "24" and text[14:16] == "00":
        text = text[:11] + "00" + text[13:]
    else:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_time(text: str) -> bool:
    """``hh:mm:ss`` with an optional fraction; ``hh:mm`` passes."""
    if len(text) < 5 or text[2] != ":":
        return False
    try:
        return time.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
