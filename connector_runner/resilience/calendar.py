"""When a sink may be written to by the clock on its own wall: weekly hours and dated maintenance, in an IANA zone.

Weekly hours are read off that clock: open is every instant at which it shows a time within them. So where clocks go
forward, hours that are skipped are not open that day; where they go back, an hour that comes twice is open twice.

Maintenance is one stretch of time: from the first instant at which the clock shows its start (or is past it) to the
last at which it shows its end. So an hour that comes twice is kept free twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector_runner.kernel.errors import Misconfigured

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_MINUTE: Final = timedelta(minutes=1)
_SPAN_DAYS: Final = 9
"""So many days hold every boundary of a week, whatever its clock changes."""
_MOST_SPANS: Final = 20


@lru_cache(maxsize=1000)
def zone(name: str) -> ZoneInfo:
    """An IANA time zone. Raises Misconfigured (``zone``) when there is none of that name."""
    try:
        # A file of this machine rather than a zone; and names are looked up as paths.
        if name in ("localtime", "posixrules") or not name or name != name.strip():
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Misconfigured("there is no such IANA time zone", code="zone") from None


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening hours on some days of the week (0 is Monday); minutes of the day, ``end`` excluded.

    With ``end`` before ``start`` they end on the next day. Raises Misconfigured (``window``) when they never open.
    """

    days: frozenset[int]
    start: int
    end: int

    def __post_init__(self) -> None:
        if not self.days or not self.days <= frozenset(range(7)):
            raise Misconfigured("hours need days of the week, from Monday to Sunday", code="window")
        if not (0 <= self.start < _DAY and 0 <= self.end <= _DAY):
            raise Misconfigured("hours lie between 00:00 and 24:00", code="window")
        if self.start == self.end or (self.start, self.end) == (0, 0):
            raise Misconfigured("hours must end at another time than they begin; a whole day is 00:00 to 24:00",
                                code="window")  # fmt: skip

    def minutes(self) -> Iterator[tuple[int, int]]:
        """The same as stretches of minutes of the week, of which the last may go on past its end."""
        for day in self.days:
            yield day * _DAY + self.start, day * _DAY + (self.end if self.end > self.start else self.end + _DAY)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """One dated stretch, as the wall clock of the zone shows it. Raises Misconfigured (``window``)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise Misconfigured("maintenance is given in the zone's own time, without an offset", code="window")
        if self.end <= self.start:
            raise Misconfigured("maintenance must end after it begins", code="window")


class Calendar:
    """Opening hours of one sink. ``hours`` None is always open but for maintenance.

    Raises Misconfigured (``zone``, ``window``) for a zone that does not exist, no hours at all, or maintenance at a
    time that the clock never shows.
    """

    def __init__(
        self, zone_name: str = "UTC", hours: Sequence[Hours] | None = None, maintenance: Sequence[Maintenance] = ()
    ) -> None:
        self.zone = zone(zone_name)
        self.always_open = hours is None and not maintenance
        self._hours = hours
        self._minutes = _merged(hours)
        self._boundaries = sorted({edge % _DAY for start, end in self._minutes for edge in (start, end)})
        self._maintenance = sorted(_stretch(item, self.zone) for item in maintenance)
        if hours is not None and not hours:
            raise Misconfigured("without any hours it would never be open", code="window")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.zone.key, self._hours is None, tuple(self._minutes), tuple(self._maintenance)

    def is_open(self, now: datetime) -> bool:
        """Whether ``now`` (any instant) lies in the hours and in no maintenance."""
        return self._within_hours(now) and not self.in_maintenance(now)

    def in_maintenance(self, now: datetime) -> bool:
        """Whether it is dated maintenance that keeps it closed."""
        return any(start <= now < end for start, end in self._maintenance)

    def next_open(self, now: datetime) -> datetime:
        """``now`` when it is open, else the first instant at which it is, in UTC.

        Raises Misconfigured (``window``) when half a year without maintenance has none.
        """
        moment = self._first(now, opened=True)
        if moment is None:
            raise Misconfigured("it is not open within half a year", code="window")
        return moment

    def next_close(self, now: datetime) -> datetime | None:
        """``now`` when it is closed, else the first instant at which it is, in UTC; None when half a year has none."""
        return self._first(now, opened=False)

    def midnights(self, now: datetime) -> tuple[datetime, datetime, datetime, datetime]:
        """The beginnings of yesterday, today, tomorrow and the day after by the wall clock, in UTC."""
        today = now.astimezone(self.zone).date()
        return tuple(_first_instant(datetime.combine(today + timedelta(n), time()), self.zone) for n in (-1, 0, 1, 2))  # type: ignore[return-value]

    def _within_hours(self, now: datetime) -> bool:
        if self._hours is None:
            return True
        local = now.astimezone(self.zone)
        minute = local.weekday() * _DAY + local.hour * 60 + local.minute
        return any(start <= minute < end for start, end in self._minutes)

    def _first(self, now: datetime, *, opened: bool) -> datetime | None:
        moment = now.astimezone(UTC)
        if self.is_open(moment) == opened:
            return moment
        for _ in range(_MOST_SPANS):
            if opened:
                moment = self._after_maintenance(moment)
                if self.is_open(moment):
                    return moment
            span_end = moment + timedelta(days=_SPAN_DAYS)
            for edge in self._edges(moment, span_end):
                if self.is_open(edge) == opened:
                    return edge
            moment = span_end
        return None

    def _after_maintenance(self, moment: datetime) -> datetime:
        for start, end in self._maintenance:
            if start <= moment < end:
                moment = end
        return moment

    def _edges(self, after: datetime, until: datetime) -> list[datetime]:
        """Every instant in a span at which it may open or close, in order; and some at which nothing happens."""
        found = {edge for stretch in self._maintenance for edge in stretch}
        if self._hours is not None:
            first = after.astimezone(self.zone).date() - timedelta(1)
            for n in range((until - after).days + 4):
                found.update(self._edges_of(first + timedelta(n)))
            found.update(_changes(self.zone, after, until))
        return sorted(edge for edge in found if after < edge <= until)

    def _edges_of(self, day: date) -> Iterator[datetime]:
        for minute in self._boundaries:
            wall = datetime.combine(day, time()) + minute * _MINUTE
            for fold in (0, 1):
                yield wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)


def _merged(hours: Sequence[Hours] | None) -> list[tuple[int, int]]:
    """Stretches of the week without overlaps, cut where the week ends."""
    cut: list[tuple[int, int]] = []
    for start, end in (stretch for item in hours or () for stretch in item.minutes()):
        cut.append((start, min(end, _WEEK)))
        if end > _WEEK:
            cut.append((0, end - _WEEK))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(cut):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _changes(where: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """The instants in a span at which the zone's offset changes, found by halving the hours in which it does."""
    hour, left = timedelta(hours=1), after
    offset = left.astimezone(where).utcoffset()
    while left < until:
        right = left + hour
        then = right.astimezone(where).utcoffset()
        if then != offset:
            yield _change_between(where, left, right)
        left, offset = right, then


def _change_between(where: ZoneInfo, left: datetime, right: datetime) -> datetime:
    """The first whole second with the later offset."""
    offset = left.astimezone(where).utcoffset()
    low, high = int(left.timestamp()), int(right.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, where).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _stretch(item: Maintenance, where: ZoneInfo) -> tuple[datetime, datetime]:
    start, end = _first_instant(item.start, where), _last_instant(item.end, where)
    if end <= start:
        raise Misconfigured("the clock of the zone skips these hours on that day", code="window")
    return start, end


def _first_instant(wall: datetime, where: ZoneInfo) -> datetime:
    """When the clock first shows ``wall``, or jumps past it."""
    return _instant(wall, where, fold=0)


def _last_instant(wall: datetime, where: ZoneInfo) -> datetime:
    """When the clock last shows ``wall``, or jumps past it."""
    return _instant(wall, where, fold=1)


def _instant(wall: datetime, where: ZoneInfo, *, fold: int) -> datetime:
    before, after = (wall.replace(tzinfo=where, fold=n).astimezone(UTC) for n in (0, 1))
    if after < before:
        # PEP 495: of a time that the clock skips, fold 1 is the earlier reading; the jump lies between the two.
        return _change_between(where, after, before)
    return after if fold else before
