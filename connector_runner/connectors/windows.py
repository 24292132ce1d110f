"""Settings of when a sink may be written to: weekly opening hours and dated maintenance in its time zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from connector_runner.kernel.errors import Misconfigured
from connector_runner.resilience.calendar import DAYS, Calendar, Hours, Maintenance, zone

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|(24):(00)")
_LAST_MINUTE = 24 * 60
T = TypeVar("T")


def _time_of_day(value: object) -> object:
    # YAML 1.1 takes 18:30 for a number in base 60, which is what is meant: minutes since midnight.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_MINUTE:
        return f"{value // 60:02}:{value % 60:02}"
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("must be a time of day, 00:00 to 24:00")
    return value


def _wall_time(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date and time such as 2026-12-24T18:00") from None
    if not isinstance(value, datetime):
        raise ValueError("must be a date and time such as 2026-12-24T18:00")
    if value.tzinfo is not None:
        raise ValueError("must be in the zone's own time, without an offset")
    if not 2000 <= value.year <= 2200:
        raise ValueError("must lie between the years 2000 and 2200")
    return value


TimeOfDay = Annotated[str, BeforeValidator(_time_of_day)]
WallTime = Annotated[datetime, BeforeValidator(_wall_time)]


def minutes(time_of_day: str) -> int:
    """Minutes since midnight."""
    hour, minute = time_of_day.split(":")
    return int(hour) * 60 + int(minute)


class _Span(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, serialize_by_alias=True, validate_by_name=False
    )


class OpenHours(_Span):
    """Hours on days of the week; with ``to`` before ``from`` they end on the next day."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = DAYS
    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")

    @field_validator("days")
    @classmethod
    def _any(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("hours without a day would never be open")
        return value

    @field_validator("end")
    @classmethod
    def _possible(cls, value: str, info: ValidationInfo) -> str:
        if "days" in info.data and "start" in info.data:
            _refusing(lambda: _hours(info.data["days"], info.data["start"], value))
        return value

    def hours(self) -> Hours:
        """As the calendar takes them."""
        return _hours(self.days, self.start, self.end)


class MaintenanceWindow(_Span):
    """One dated stretch in which nothing is sent, in the zone's own time."""

    start: WallTime = Field(alias="from")
    end: WallTime = Field(alias="to")

    @field_validator("end")
    @classmethod
    def _possible(cls, value: datetime, info: ValidationInfo) -> datetime:
        if "start" in info.data:
            _refusing(lambda: Maintenance(info.data["start"], value))
        return value


class WindowSettings(_Span):
    """``zone`` is the IANA zone of the sink's clock. Without ``open`` it is open but for maintenance."""

    zone: str = "UTC"
    open: tuple[OpenHours, ...] | None = None
    maintenance: tuple[MaintenanceWindow, ...] = ()

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        _refusing(lambda: zone(value))
        return value

    @field_validator("open")
    @classmethod
    def _some(cls, value: tuple[OpenHours, ...] | None) -> tuple[OpenHours, ...] | None:
        if value is not None and not value:
            raise ValueError("without any hours it would never be open; leave it out to be always open")
        return value

    @field_validator("maintenance")
    @classmethod
    def _shown(cls, value: tuple[MaintenanceWindow, ...], info: ValidationInfo) -> tuple[MaintenanceWindow, ...]:
        if "zone" in info.data:
            _refusing(lambda: Calendar(info.data["zone"], None, [Maintenance(w.start, w.end) for w in value]))
        return value

    def calendar(self) -> Calendar:
        """The same as a value that can be asked."""
        hours = None if self.open is None else [item.hours() for item in self.open]
        return Calendar(self.zone, hours, [Maintenance(item.start, item.end) for item in self.maintenance])


def _hours(days: tuple[str, ...], start: str, end: str) -> Hours:
    return Hours(frozenset(DAYS.index(day) for day in days), minutes(start), minutes(end))


def _refusing(make: Callable[[], T]) -> T:
    try:
        return make()
    except Misconfigured as exc:
        raise ValueError(exc.message) from None
