"""Windows in the zones of sinks, over both changes of their clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_runner.kernel.errors import Misconfigured
from connector_runner.resilience.calendar import Calendar, Hours, Maintenance

DAILY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(start: str, end: str, days: frozenset[int] = DAILY) -> Hours:
    """Opening hours from texts."""
    (a, b), (c, d) = (map(int, text.split(":")) for text in (start, end))
    return Hours(days, a * 60 + b, c * 60 + d)


def openings(calendar: Calendar, begin: datetime, length: timedelta) -> list[tuple[str, str]]:
    """Every stretch in which it is open, as texts of UTC."""
    found, now = [], begin
    while (opens := calendar.next_open(now)) < begin + length:
        closes = calendar.next_close(opens)
        assert closes is not None
        found.append((f"{opens:%d %H:%M}", f"{closes:%d %H:%M}"))
        now = closes
    return found


# zone, hours, a local midnight in UTC, what is open in the two days after it (UTC)
OVER_CHANGES = [
    # New York, 8 March 2026: 02:00 EST -> 03:00 EDT at 07:00Z. The hour that is skipped is not open.
    ("America/New_York", "02:00", "03:00", "2026-03-08T05:00", [("09 06:00", "09 07:00")]),
    ("America/New_York", "01:30", "03:30", "2026-03-08T05:00", [("08 06:30", "08 07:30"), ("09 05:30", "09 07:30")]),
    ("America/New_York", "02:30", "04:00", "2026-03-08T05:00", [("08 07:00", "08 08:00"), ("09 06:30", "09 08:00")]),
    # 1 November 2026: 02:00 EDT -> 01:00 EST at 06:00Z. The hour that comes twice is open twice.
    ("America/New_York", "01:00", "02:00", "2026-11-01T04:00", [("01 05:00", "01 07:00"), ("02 06:00", "02 07:00")]),
    ("America/New_York", "00:30", "01:30", "2026-11-01T04:00",
     [("01 04:30", "01 05:30"), ("01 06:00", "01 06:30"), ("02 05:30", "02 06:30")]),
    ("America/New_York", "08:00", "17:00", "2026-11-01T04:00", [("01 13:00", "01 22:00"), ("02 13:00", "02 22:00")]),
    # Berlin, 29 March 2026: 02:00 CET -> 03:00 CEST at 01:00Z; 25 October: 03:00 -> 02:00 at 01:00Z.
    ("Europe/Berlin", "02:00", "03:00", "2026-03-28T23:00", [("30 00:00", "30 01:00")]),
    ("Europe/Berlin", "02:00", "03:00", "2026-10-24T22:00", [("25 00:00", "25 02:00"), ("26 01:00", "26 02:00")]),
    # Lord Howe moves by half an hour: 5 April 2026 02:00 +11 -> 01:30 +10:30 at 15:00Z of the 4th;
    # 4 October 2026 02:00 +10:30 -> 02:30 +11 at 15:30Z of the 3rd.
    ("Australia/Lord_Howe", "01:00", "02:00", "2026-04-04T13:00", [("04 14:00", "04 15:30"), ("05 14:30", "05 15:30")]),
    ("Australia/Lord_Howe", "02:00", "03:00", "2026-10-03T13:30", [("03 15:30", "03 16:00"), ("04 15:00", "04 16:00")]),
    # Sydney: backwards in April, forwards in October.
    ("Australia/Sydney", "02:00", "03:00", "2026-04-04T13:00", [("04 15:00", "04 17:00"), ("05 16:00", "05 17:00")]),
    ("Australia/Sydney", "02:00", "03:00", "2026-10-03T14:00", [("04 15:00", "04 16:00")]),
    # Santiago jumps over midnight: 6 September 2026 has no 00:00 to 01:00; 5 April 2026 has 23:00 of the 4th twice.
    ("America/Santiago", "23:30", "00:30", "2026-09-05T04:00", [("05 04:00", "05 04:30"), ("06 03:30", "06 04:00"),
                                                                 ("07 02:30", "07 03:30")]),
    ("America/Santiago", "23:00", "24:00", "2026-04-04T03:00", [("05 02:00", "05 04:00")]),
    # Apia had no 30 December 2011 at all.
    ("Pacific/Apia", "08:00", "09:00", "2011-12-29T10:00", [("29 18:00", "29 19:00"), ("30 18:00", "30 19:00")]),
    ("Asia/Kolkata", "22:00", "06:00", "2026-03-08T18:30", [("08 18:30", "09 00:30"), ("09 16:30", "10 00:30"),
                                                            ("10 16:30", "11 00:30")]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "start", "end", "midnight", "expected"), OVER_CHANGES)
def test_hours_over_a_change_of_clocks(
    zone: str, start: str, end: str, midnight: str, expected: list[tuple[str, str]]
) -> None:
    assert openings(Calendar(zone, [hours(start, end)]), at(midnight), timedelta(days=2)) == expected


# zone, maintenance by the wall clock, the stretch in UTC
MAINTENANCE = [
    ("America/New_York", "2026-11-01T00:30", "2026-11-01T01:30", "2026-11-01T04:30", "2026-11-01T06:30"),
    ("America/New_York", "2026-11-01T01:30", "2026-11-01T03:00", "2026-11-01T05:30", "2026-11-01T08:00"),
    ("America/New_York", "2026-03-08T02:30", "2026-03-08T04:00", "2026-03-08T07:00", "2026-03-08T08:00"),
    ("America/New_York", "2026-03-08T01:00", "2026-03-08T02:30", "2026-03-08T06:00", "2026-03-08T07:00"),
    ("Australia/Lord_Howe", "2026-04-05T01:30", "2026-04-05T01:45", "2026-04-04T14:30", "2026-04-04T15:15"),
    ("Europe/London", "2026-12-24T18:00", "2026-12-27T08:00", "2026-12-24T18:00", "2026-12-27T08:00"),
]


@pytest.mark.parametrize(("zone", "start", "end", "closes", "opens"), MAINTENANCE)
def test_maintenance_is_one_stretch(zone: str, start: str, end: str, closes: str, opens: str) -> None:
    calendar = Calendar(zone, None, [Maintenance(datetime.fromisoformat(start), datetime.fromisoformat(end))])
    before = at(closes) - timedelta(hours=3)
    assert calendar.next_close(before) == at(closes)
    assert calendar.next_open(at(closes)) == at(opens)
    assert calendar.in_maintenance(at(closes))
    assert calendar.next_close(at(opens)) is None


def test_a_whole_week_never_closes() -> None:
    calendar = Calendar("America/New_York", [hours("00:00", "12:00"), hours("12:00", "24:00")])
    assert calendar.is_open(at("2026-03-08T07:00"))
    assert calendar.next_close(at("2026-01-01T00:00")) is None
    assert not calendar.always_open
    assert Calendar().always_open


def test_hours_pass_midnight_into_the_next_day_and_the_next_week() -> None:
    calendar = Calendar("UTC", [hours("22:00", "06:00", frozenset({4, 6}))])  # Friday and Sunday
    # 2026-03-06 is a Friday
    assert openings(calendar, at("2026-03-06T00:00"), timedelta(days=4)) == [
        ("06 22:00", "07 06:00"), ("08 22:00", "09 06:00"),
    ]  # fmt: skip


def test_after_maintenance_it_waits_for_hours() -> None:
    closed = Maintenance(datetime(2026, 3, 2, 12), datetime(2027, 3, 2, 20))
    calendar = Calendar("America/Chicago", [hours("08:00", "18:00", WEEKDAYS)], [closed])
    assert calendar.next_open(at("2026-03-02T19:00")) == at("2027-03-03T14:00")


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "../etc/passwd", "America", "/etc/localtime", "localtime", " UTC"]
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Calendar(name)
    assert refused.value.code == "zone"


@pytest.mark.parametrize(
    ("days", "start", "end"),
    [(DAILY, 480, 480), (DAILY, 0, 0), (frozenset(), 0, 60), (DAILY, -1, 60), (DAILY, 0, 1441), (DAILY, 1440, 60),
     (frozenset({7}), 0, 60)],
)  # fmt: skip
def test_hours_that_never_open_are_refused(days: frozenset[int], start: int, end: int) -> None:
    with pytest.raises(Misconfigured):
        Hours(days, start, end)


def test_no_hours_and_impossible_maintenance_are_refused() -> None:
    with pytest.raises(Misconfigured):
        Calendar("UTC", [])
    moment = datetime(2026, 3, 8, 2)
    for end in (moment, moment - timedelta(hours=1)):
        with pytest.raises(Misconfigured):
            Maintenance(moment, end)
    with pytest.raises(Misconfigured, match="skips"):
        Calendar("America/New_York", None, [Maintenance(moment, moment + timedelta(hours=1))])


zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Australia/Sydney", "America/Santiago",
     "Asia/Kolkata", "Africa/Casablanca", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu"]
)  # fmt: skip
spans = st.builds(
    lambda days, start, length: Hours(frozenset(days), start, (start + length - 1) % 1440 + 1),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
)
stops = st.builds(
    lambda start, length: Maintenance(start, start + timedelta(minutes=length)),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
    st.integers(180, 20_000),
)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))


@settings(max_examples=150, deadline=None)
@given(zones, st.none() | st.lists(spans, min_size=1, max_size=3), st.lists(stops, max_size=2), instants, st.data())
def test_the_next_opening_is_open_and_nothing_before_it_is(
    zone: str, weekly: list[Hours] | None, dated: list[Maintenance], now: datetime, data: st.DataObject
) -> None:
    calendar = Calendar(zone, weekly, dated)
    opens = calendar.next_open(now)
    assert opens >= now
    assert calendar.is_open(opens)
    if opens > now:
        assert not calendar.is_open(now)
        assert not calendar.is_open(opens - timedelta(microseconds=1))
        for share in data.draw(st.lists(st.floats(0, 0.999), min_size=10, max_size=30)):
            assert not calendar.is_open(now + (opens - now) * share)
    closes = calendar.next_close(opens)
    if closes is not None:
        assert not calendar.is_open(closes)
        for share in data.draw(st.lists(st.floats(0, 0.999), min_size=10, max_size=30)):
            assert calendar.is_open(opens + (closes - opens) * share)


@settings(max_examples=200, deadline=None)
@given(zones, st.lists(spans, min_size=1, max_size=3), instants)
def test_open_is_what_the_clock_on_the_wall_says(zone: str, weekly: list[Hours], now: datetime) -> None:
    """The rule, told in another way: some day's hours hold the time that the clock shows."""
    wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    shown = False
    for item in weekly:
        for back in (0, 1):
            day = (wall - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
            end = item.end if item.end > item.start else item.end + 1440
            if day.weekday() in item.days:
                shown |= day + timedelta(minutes=item.start) <= wall < day + timedelta(minutes=end)
    assert Calendar(zone, weekly).is_open(now) == shown


@settings(max_examples=100, deadline=None)
@given(zones, instants)
def test_midnights_are_where_the_date_changes(zone: str, now: datetime) -> None:
    where = ZoneInfo(zone)
    days = Calendar(zone).midnights(now)
    assert days[1] <= now < days[2]
    for moment in days:
        before = (moment - timedelta(seconds=1)).astimezone(where)
        assert before.date() < moment.astimezone(where).date() or (before.hour, moment.astimezone(where).hour) == (0, 0)
