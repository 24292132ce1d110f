"""By clinical dates: what lies around today is read again each time, and the content decides what is new.

A change to a record far from today is found by the next full sync, which asks for all dates.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connector_runner.connectors.fhir.profile import Profile
from connector_runner.connectors.fhir.walk import Route, Span
from connector_runner.kernel.errors import Misconfigured

_SLACK = timedelta(days=1)
"""Dates are local: today may be tomorrow or yesterday there."""
_FIRST = 1900


def route(profile: Profile, resource_type: str, now: datetime, *, full: bool) -> Route:
    """The window around ``now``, or all dates when ``full``.

    Raises Misconfigured where the profile knows no date parameter for the type.
    """
    date = profile.date(resource_type)
    if date is None:
        raise Misconfigured("this record type has no date to read it by", code="no_date_parameter", where=resource_type)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    back, ahead = (timedelta(days=days) for days in profile.window_days)
    span = Span(midnight - back - _SLACK, midnight + ahead + 2 * _SLACK)
    if full:
        span = Span(midnight.replace(year=_FIRST, month=1, day=1), None)
    return Route(whole=full, sets=profile.sets(resource_type), span=span, by=date, days=True)
