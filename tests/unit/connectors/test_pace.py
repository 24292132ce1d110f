"""Settings of reading: rates by hours of the week, cadences that adapt."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector_runner.connectors.pace import Cadence, ReadRate

PEAK = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "07:00", "to": "19:00", "per_second": 1}


def rate(*hours: dict[str, object]) -> ReadRate:
    return ReadRate.model_validate({"zone": "America/New_York", "hours": hours})


@pytest.mark.parametrize(
    ("moment", "peak"),
    [
        ("2026-03-06T12:00:00Z", True),  # Friday, 07:00 in New York, winter time
        ("2026-03-06T11:59:59Z", False),
        ("2026-03-09T11:00:00Z", True),  # Monday after the clocks went forward: 07:00 is an hour earlier
        ("2026-03-09T10:59:59Z", False),
        ("2026-03-09T22:59:59Z", True),
        ("2026-03-09T23:00:00Z", False),
        ("2026-03-08T15:00:00Z", False),  # Sunday
    ],
)
def test_peak_hours_are_those_of_the_clock_on_the_wall(moment: str, peak: bool) -> None:
    found = rate(PEAK).at(datetime.fromisoformat(moment))
    assert (found is not None) == peak


def test_hours_past_midnight_belong_to_the_day_on_which_they_begin() -> None:
    night = ReadRate.model_validate({"hours": [{"days": ["fri"], "from": "22:00", "to": "06:00", "per_second": 9}]})
    assert night.at(datetime(2026, 3, 6, 23, tzinfo=UTC)) is not None
    assert night.at(datetime(2026, 3, 7, 5, 59, tzinfo=UTC)) is not None
    assert night.at(datetime(2026, 3, 7, 6, tzinfo=UTC)) is None
    assert night.at(datetime(2026, 3, 6, 5, tzinfo=UTC)) is None


def test_the_first_hours_that_cover_the_moment_are_in_force() -> None:
    lunch = {"from": "12:00", "to": "13:00", "per_second": 0.5}
    found = rate(lunch, PEAK).at(datetime.fromisoformat("2026-03-06T17:30:00Z"))
    assert found is not None
    assert found.per_second == 0.5


def test_a_shared_rate_states_nothing_of_its_own() -> None:
    with pytest.raises(ValidationError, match="leave out burst"):
        ReadRate(shared=True, burst=3)
    assert ReadRate(shared=True).shared


@given(st.lists(st.integers(0, 3), max_size=40), st.floats(1, 100), st.floats(100, 10_000))
def test_a_cadence_stays_in_bounds_halves_with_changes_and_doubles_without(
    polls: list[int], least: float, most: float
) -> None:
    cadence = Cadence(min_s=least, max_s=most)
    now_s = least
    for changes in polls:
        before, now_s = now_s, cadence.after(now_s, changes)
        assert least <= now_s <= most
        wanted = before / 2 if changes else before * 2
        assert now_s == min(max(wanted, least), most)


def test_a_quiet_type_is_asked_seldom_and_soon_again_often() -> None:
    cadence = Cadence(min_s=60, max_s=960)
    now_s = 60.0
    for _ in range(4):
        now_s = cadence.after(now_s, 0)
    assert now_s == 960
    for _ in range(4):
        now_s = cadence.after(now_s, 5)
    assert now_s == 60
    with pytest.raises(ValidationError, match="less than min_s"):
        Cadence(min_s=60, max_s=30)
