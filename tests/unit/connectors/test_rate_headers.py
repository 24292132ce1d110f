"""What headers say about the allowance, in the forms that are in use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from requests.structures import CaseInsensitiveDict

from connector_runner.connectors.rate_headers import expires_at, pace_of, retry_after_s
from connector_runner.connectors.sinks import Pace

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("headers", "pace"),
    [
        ({"RateLimit-Limit": "500", "RateLimit-Remaining": "499", "RateLimit-Reset": "1"}, Pace(500, 499, 1.0)),
        ({"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH + 30)},
         Pace(100, 0, 30.0)),
        ({"X-RateLimit-Remaining": "4", "X-RateLimit-Reset": str((EPOCH + 2) * 1000)}, Pace(None, 4, 2.0)),
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, Pace(100, 50, 5.0)),
        ({"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'}, Pace(100, 50, 30.0)),
        ({"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "9"}, Pace(100, 9, None)),
        ({"X-HubSpot-RateLimit-Max": "110", "X-HubSpot-RateLimit-Remaining": "109",
          "X-HubSpot-RateLimit-Interval-Milliseconds": "10000"}, Pace(110, 109, 10.0)),
        ({"Sforce-Limit-Info": "api-usage=25/100000"}, Pace(100000, 99975)),
        ({"Sforce-Limit-Info": "api-usage=100001/100000"}, Pace(100000, 0)),
        ({"X-RateLimit-Remaining": "4", "X-RateLimit-Reset": str(EPOCH - 30)}, Pace(None, 4, 0.0)),
        ({"RateLimit-Limit": "plenty"}, None),
        ({"RateLimit-Remaining": "9" * 400}, Pace(None, int("9" * 15), None)),
        ({}, None),
    ],
)  # fmt: skip
def test_an_allowance(headers: dict[str, str], pace: Pace | None) -> None:
    assert pace_of(CaseInsensitiveDict(headers), NOW) == pace


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Sat, 21 Nov 2026 09:30:20 GMT", 20.0),
        ("Sat, 21 Nov 2026 09:29:00 GMT", 0.0),
        ("-3", 0.0),
        ("999999", 3600.0),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_when_to_come_back(text: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": text}, NOW) == seconds


@pytest.mark.parametrize("off_s", [-7200, 90, 7200])
def test_moments_are_on_the_clock_of_who_states_them(off_s: int) -> None:
    theirs = NOW + timedelta(seconds=off_s)
    headers = {
        "Date": format_datetime(theirs, usegmt=True),
        "Retry-After": format_datetime(theirs + timedelta(seconds=20), usegmt=True),
        "X-RateLimit-Remaining": "4",
        "X-RateLimit-Reset": str(int(theirs.timestamp()) + 30),
    }
    assert retry_after_s(headers, NOW) == 20.0
    assert pace_of(headers, NOW) == Pace(None, 4, 30.0)
    assert retry_after_s({**headers, "Date": "today"}, theirs) == 20.0


@pytest.mark.parametrize("off_s", [-7200, 0, 7200])
def test_what_is_there_for_a_while_is_there_by_our_clock(off_s: int) -> None:
    theirs = NOW + timedelta(seconds=off_s)
    headers = {"Date": format_datetime(theirs, usegmt=True)}
    until = format_datetime(theirs + timedelta(minutes=30), usegmt=True)
    assert expires_at({**headers, "Expires": until}, NOW) == NOW + timedelta(minutes=30)


@pytest.mark.parametrize("text", ["0", "-1", "", "Thu, 19 Nov 1981 08:52:00 GMT", "Sat, 21 Nov 2026 09:30:00 GMT"])
def test_a_word_to_caches_is_no_end(text: str) -> None:
    """Frameworks send it with every answer."""
    assert expires_at({"Expires": text}, NOW) is None
    assert expires_at({}, NOW) is None


def test_an_end_of_all_time_is_far_off() -> None:
    until = expires_at({"Expires": "Fri, 31 Dec 9999 23:59:59 GMT"}, NOW)
    assert until is not None
    assert until > NOW + timedelta(days=300)
