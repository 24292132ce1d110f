"""What the headers of an answer say about the sender's allowance. Pure.

Read: Retry-After (RFC 9110, section 10.2.3) and Azure's in milliseconds; RateLimit-* of the earlier and RateLimit
of the later drafts of the HTTP working group; X-RateLimit-*; HubSpot's; Salesforce's Sforce-Limit-Info.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from connector_runner.connectors.sinks import Pace

_MOST_RESET_S: Final = 24 * 3600.0
_LONGEST_LIFE: Final = timedelta(days=365)
_EPOCH: Final = 1_000_000_000
"""From here on a number of seconds is a moment, not a span."""
_PART = re.compile(r"\b(limit|remaining|reset|r|t|q|w)=(\d{1,15})")
_SFORCE = re.compile(r"\bapi-usage=(\d{1,12})/(\d{1,12})")
_LEADING = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)")


def retry_after_s(headers: Mapping[str, str], now: datetime, *, most_s: float = 3600.0) -> float | None:
    """Seconds to wait as the answer states them (a number, or an HTTP date); None when it does not."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        milliseconds = _number(headers.get("x-ms-retry-after-ms"))
        return None if milliseconds is None else min(milliseconds / 1000, most_s)
    try:
        seconds = float(text)
    except ValueError:
        moment = http_date(text)
        if moment is None:
            return None
        seconds = (moment - _their_now(headers, now)).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), most_s)


def _their_now(headers: Mapping[str, str], now: datetime) -> datetime:
    """By the clock that moments in an answer are on (``Date``; RFC 9110, section 6.6.1): it may differ from ours."""
    return http_date(headers.get("Date")) or now


def expires_at(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """Until when what was answered is there, by our clock; None when that is not said.

    A time that is over is a word to caches (RFC 9111, section 5.3): it is sent with answers of any kind.
    """
    moment = http_date(headers.get("Expires"))
    left = moment - _their_now(headers, now) if moment is not None else timedelta(0)
    return now + min(left, _LONGEST_LIFE) if left > timedelta(0) else None


def http_date(text: str | None) -> datetime | None:
    """An HTTP date (RFC 9110, section 5.6.7), or None when it is not one."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def pace_of(headers: Mapping[str, str], now: datetime) -> Pace | None:
    """The allowance as the answer states it, None when it does not."""
    # Each of their names has the word, and most answers have none of them.
    if not any("limit" in name.lower() for name in headers):
        return None
    theirs = _their_now(headers, now)
    for read in (_structured, _separate, _hubspot, _salesforce):
        pace = read(headers, theirs)
        if pace is not None:
            return pace
    return None


def _structured(headers: Mapping[str, str], now: datetime) -> Pace | None:
    """``RateLimit: limit=100, remaining=50, reset=5``, or ``"default";r=50;t=30`` with ``RateLimit-Policy``."""
    text = headers.get("RateLimit")
    if not text:
        return None
    said = {name: int(value) for name, value in _PART.findall(f"{text};{headers.get('RateLimit-Policy') or ''}")}
    limit, remaining = said.get("limit", said.get("q")), said.get("remaining", said.get("r"))
    return _pace(limit, remaining, said.get("reset", said.get("t")), now)


def _separate(headers: Mapping[str, str], now: datetime) -> Pace | None:
    for prefix in ("RateLimit", "X-RateLimit", "X-Rate-Limit"):
        limit, remaining, reset = (_number(headers.get(f"{prefix}-{name}")) for name in ("Limit", "Remaining", "Reset"))
        pace = _pace(limit, remaining, reset, now)
        if pace is not None:
            return pace
    return None


def _hubspot(headers: Mapping[str, str], now: datetime) -> Pace | None:
    limit, remaining = (_number(headers.get(f"X-HubSpot-RateLimit-{name}")) for name in ("Max", "Remaining"))
    interval = _number(headers.get("X-HubSpot-RateLimit-Interval-Milliseconds"))
    return _pace(limit, remaining, None if interval is None else interval / 1000, now)


def _salesforce(headers: Mapping[str, str], now: datetime) -> Pace | None:
    found = _SFORCE.search(headers.get("Sforce-Limit-Info") or "")
    return None if found is None else Pace(int(found[2]), max(int(found[2]) - int(found[1]), 0))


def _pace(limit: float | None, remaining: float | None, reset: float | None, now: datetime) -> Pace | None:
    if limit is None and remaining is None:
        return None
    if reset is not None and reset >= _EPOCH:
        # Some count in milliseconds since 1970.
        reset = (reset / 1000 if reset >= _EPOCH * 1000 else reset) - now.timestamp()
    return Pace(
        None if limit is None else int(limit),
        None if remaining is None else int(remaining),
        None if reset is None else min(max(float(reset), 0.0), _MOST_RESET_S),
    )


def _number(text: str | None) -> float | None:
    """The number that a header begins with (``100;w=60`` and ``10, 100`` mean their first)."""
    found = _LEADING.match(text or "")
    return float(found[1]) if found else None
