"""Inbound transforms of single values: text, codes, numbers, dates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connector_runner.unification.dates import is_date, is_date_time, is_time
from connector_runner.unification.run import Run


def text(value: Any, path: str, run: Run) -> str | None:
    """A string without surrounding blanks."""
    if type(value) is str:
        return value.strip() or None
    run.wrong_type(path, value, "a string")
    return None


def texts(value: Any, path: str, run: Run) -> list[str] | None:
    """A list of strings; nulls, which FHIR puts beside primitive extensions, are passed over."""
    if type(value) is not list:
        run.wrong_type(path, value, "a list")
        return None
    found = []
    for index, item in enumerate(value):
        if type(item) is str:
            item = item.strip()
            if item:
                found.append(item)
        elif item is not None:
            run.wrong_type(f"{path}[{index}]", item, "a string")
    return found or None


def boolean(value: Any, path: str, run: Run) -> bool | None:
    """``true`` or ``false``."""
    if type(value) is bool:
        return value
    run.wrong_type(path, value, "a boolean")
    return None


def integer(value: Any, path: str, run: Run) -> int | None:
    """A number without a fraction."""
    if type(value) is int:
        return value
    run.wrong_type(path, value, "an integer")
    return None


def whole_number(value: Any, path: str, run: Run) -> int | None:
    """A number without a fraction, which some systems write as text."""
    if type(value) is str and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return integer(value, path, run)


def number(value: Any, path: str, run: Run) -> int | float | Decimal | None:
    """Any number, with the digits it came with."""
    if is_number(value):
        return value  # type: ignore[no-any-return]
    run.wrong_type(path, value, "a number")
    return None


def is_number(value: Any) -> bool:
    """Whether ``value`` is a JSON number (a boolean is none)."""
    kind = type(value)
    return kind is Decimal or kind is int or kind is float


def date(value: Any, path: str, run: Run) -> str | None:
    """A FHIR date, with its own precision."""
    if type(value) is not str:
        run.wrong_type(path, value, "a date")
    elif is_date(value):
        return value
    elif value:
        run.problem(path, "invalid_date", "not a date that exists, as YYYY, YYYY-MM or YYYY-MM-DD")
    return None


def date_time(value: Any, path: str, run: Run) -> str | None:
    """A FHIR dateTime or instant, with its own precision and zone."""
    if type(value) is not str:
        run.wrong_type(path, value, "a date or time")
    elif is_date_time(value):
        return value
    elif value:
        run.problem(path, "invalid_date", "not a date or time that exists, as YYYY-MM-DDThh:mm:ss+zz:zz")
    return None


def time_of_day(value: Any, path: str, run: Run) -> str | None:
    """A FHIR time."""
    if type(value) is not str:
        run.wrong_type(path, value, "a time of day")
    elif is_time(value):
        return value
    elif value:
        run.problem(path, "invalid_date", "not a time of day, as hh:mm:ss")
    return None


def marked_date_time(value: Any, path: str, run: Run) -> dict[str, str] | None:
    """A dateTime where a plain string is possible too: ``{"date_time": …}``."""
    found = date_time(value, path, run)
    return None if found is None else {"date_time": found}


def marked_time(value: Any, path: str, run: Run) -> dict[str, str] | None:
    """A time of day where a plain string is possible too: ``{"time": …}``."""
    found = time_of_day(value, path, run)
    return None if found is None else {"time": found}


def marked_text(value: Any, path: str, run: Run) -> dict[str, str] | None:
    """A string where a date is possible too: ``{"text": …}``."""
    found = text(value, path, run)
    return None if found is None else {"text": found}
