"""Settings of how a source may be read: how fast, when, how often each record type, and when it is left alone."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connector_runner.connectors.windows import OpenHours
from connector_runner.kernel.errors import Misconfigured
from connector_runner.resilience.breaker import BreakerLimits
from connector_runner.resilience.calendar import Calendar, zone

MAX_CADENCE_S: Final = 31 * 86400
_OWN_RATE: Final = ("per_second", "burst", "concurrency", "per_day", "per_minute_fixed")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class HoursRate(OpenHours):
    """Another rate in some hours of the week, such as those in which a clinic's own staff use the server.

    An EHR that allows an application a share of its database (Epic: 1 % from about 07 to 19 local time, 5 % otherwise)
    states no requests a second; its administrator tells what that share comes to.
    """

    per_second: float = Field(ge=1e-5, le=10_000, allow_inf_nan=False)
    concurrency: int | None = Field(None, ge=1, le=1000)

    @cached_property
    def spans(self) -> tuple[tuple[frozenset[int], int, int], ...]:
        """Days (0 is Monday) and minutes of the day; two where the hours go past midnight."""
        hours = self.hours()
        if hours.end > hours.start:
            return ((hours.days, hours.start, hours.end),)
        following = frozenset((day + 1) % 7 for day in hours.days)
        return ((hours.days, hours.start, 24 * 60), (following, 0, hours.end))

    def covers(self, local: datetime) -> bool:
        """Whether the clock on the wall shows a time within these hours."""
        minute = local.hour * 60 + local.minute
        return any(local.weekday() in days and start <= minute < end for days, start, end in self.spans)


class ReadRate(_Part):
    """What a source takes of us when it is read: as RateSettings has it for a sink, and by hours of the week.

    ``hours``: the first that covers the moment is in force, by the clock of ``zone``. ``shared``: reads and writes are
    counted in one quota, that of the sink's ``rate``; then only ``hours`` may be stated here.
    """

    per_second: float = Field(20, ge=1e-5, le=10_000, allow_inf_nan=False)
    burst: int = Field(20, ge=1, le=100_000)
    concurrency: int = Field(8, ge=1, le=1000)
    per_day: int | None = Field(None, ge=1, le=10**9)
    per_minute_fixed: int | None = Field(None, ge=1, le=10**9)
    zone: str = "UTC"
    hours: tuple[HoursRate, ...] = ()
    shared: bool = False

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            zone(value)
        except Misconfigured as exc:
            raise ValueError(exc.message) from None
        return value

    @model_validator(mode="after")
    def _one_quota(self) -> ReadRate:
        own = [name for name in _OWN_RATE if name in self.model_fields_set]
        if self.shared and own:
            raise ValueError(f"a shared rate is that of the sink: leave out {', '.join(own)}")
        return self

    def at(self, now: datetime) -> HoursRate | None:
        """What is in force in the hours of ``now``, None when it is the rate of all other hours."""
        if not self.hours:
            return None
        local = now.astimezone(zone(self.zone))
        return next((hours for hours in self.hours if hours.covers(local)), None)

    def calendar(self) -> Calendar:
        """The days of ``per_day``."""
        return Calendar(self.zone)


class ReadBreakerSettings(_Part):
    """After ``failures`` in a row a source is left alone for ``first_open_s``, then twice as long, to ``most_open_s``.

    Failures of all its record types count together; after each stretch one request finds out if it works again.
    """

    failures: int = Field(5, ge=1, le=1000)
    first_open_s: float = Field(5, gt=0, le=86400, allow_inf_nan=False)
    most_open_s: float = Field(300, gt=0, le=86400, allow_inf_nan=False)

    @model_validator(mode="after")
    def _growing(self) -> ReadBreakerSettings:
        if self.most_open_s < self.first_open_s:
            raise ValueError("most_open_s must not be less than first_open_s")
        return self

    def limits(self) -> BreakerLimits:
        """As the breaker takes them."""
        return BreakerLimits(self.failures, self.first_open_s, self.most_open_s)


class Cadence(_Part):
    """Between polls at least ``min_s`` and at most ``max_s``: half as long once something came, twice while nothing."""

    min_s: float = Field(gt=0, le=MAX_CADENCE_S)
    max_s: float = Field(gt=0, le=MAX_CADENCE_S)

    @model_validator(mode="after")
    def _wide(self) -> Cadence:
        if self.max_s < self.min_s:
            raise ValueError("max_s must not be less than min_s")
        return self

    def after(self, cadence_s: float, changes: int) -> float:
        """Seconds to the next poll after one at ``cadence_s`` that brought so many changes."""
        next_s = cadence_s / 2 if changes else cadence_s * 2
        return min(max(next_s, self.min_s), self.max_s)
