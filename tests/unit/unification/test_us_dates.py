"""``MM/DD/YYYY``, as athenahealth's v1 API writes dates (vendors.md, "v1 dates MM/DD/YYYY"; Metriport)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector_runner.unification.model import MappingContext
from connector_runner.unification.run import Run
from connector_runner.unification.us_dates import us_date, us_date_time, us_moment


def outcome(transform: Callable[[Any, str, Run], Any], value: Any) -> tuple[Any, list[str]]:
    run = Run(MappingContext("athena"), {})
    found = transform(value, "date", run)
    return found, [problem.code for problem in run.problems]


@pytest.mark.parametrize(
    ("text", "date"),
    [("12/25/1974", "1974-12-25"), ("02/29/2024", "2024-02-29"), ("3/9/2026", "2026-03-09"), ("", None)],
)
def test_month_first(text: str, date: str | None) -> None:
    assert outcome(us_date, text) == (date, [])


@pytest.mark.parametrize(
    "text", ["25/12/1974", "02/29/2023", "1974-12-25", "12/25/74", "00/10/2020", "12-25-1974", "x"]
)
def test_what_is_no_such_date_is_a_problem_and_never_another_day(text: str) -> None:
    assert outcome(us_date, text) == (None, ["invalid_date"])


def test_a_date_of_the_wrong_type() -> None:
    assert outcome(us_date, 12251974) == (None, ["wrong_type"])


def test_a_time_of_day_beside_it() -> None:
    assert outcome(us_date_time, "02/27/2026 16:41:09") == ("2026-02-27T16:41:09", [])
    assert outcome(us_date_time, "02/27/2026") == ("2026-02-27", [])
    assert outcome(us_date_time, "02/27/2026 25:00") == ("2026-02-27", ["invalid_date"])


@pytest.mark.parametrize(
    ("clock", "moment"),
    [("08:15", "08:15:00"), ("8:15 AM", "08:15:00"), ("12:05 am", "00:05:00"), ("12:05 PM", "12:05:00")],
)
def test_ways_to_write_a_time(clock: str, moment: str) -> None:
    assert outcome(us_moment, ["03/09/2026", clock, None]) == (f"2026-03-09T{moment}", [])


def test_the_zone_of_the_practice_makes_it_a_moment() -> None:
    zone = "America/New_York"
    assert outcome(us_moment, ["03/09/2026", "08:15", zone]) == ("2026-03-09T08:15:00-04:00", [])
    assert outcome(us_moment, ["03/06/2026", "08:15", zone]) == ("2026-03-06T08:15:00-05:00", [])
    # Shown twice: the first. Leapt over: no time at all.
    assert outcome(us_moment, ["11/01/2026", "01:30", zone]) == ("2026-11-01T01:30:00-04:00", [])
    assert outcome(us_moment, ["03/08/2026", "02:30", zone]) == (None, ["invalid_date"])
    assert outcome(us_moment, ["03/08/2026", "08:15", "Mars/Base"]) == ("2026-03-08T08:15:00", ["unknown_zone"])
