"""Reading around a record that the server cannot show, and for which it refuses every search that finds it. Pure.

The search is parted by time again and again, until what is left out is the record and what was changed (or took place)
in the same instant; whatever is known of the record stays as it is. Servers whose profile names ``spoilt_codes`` only.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from connector_runner.connectors.base import BadEntry
from connector_runner.connectors.fhir.paging import ParsedPage
from connector_runner.connectors.fhir.profile import Profile
from connector_runner.connectors.fhir.walk import LAST_UPDATED, Route, Walk
from connector_runner.connectors.fhir.window import Window
from connector_runner.infra.http import Answer

LEAST: Final = timedelta(seconds=1)
"""Stamps may be cut to seconds."""
_NOT_PARTED: Final = frozenset({400, 403, 405, 422, 501})


def parting(profile: Profile, resource_type: str) -> str | None:
    """What a search is parted by: the server's stamp where it is searched by that, for all have one; or a date."""
    if profile.spoilt_codes and "last_updated" in profile.order(resource_type):
        return LAST_UPDATED
    return profile.date(resource_type)


def shows(profile: Profile, page: ParsedPage, codes: set[str]) -> bool:
    """Whether a page stands for a search that one of its records spoilt."""
    return bool(codes & profile.spoilt_codes) and not page.records and bool(page.bad)


def around(route: Route, window: Window, now: datetime) -> Walk | None:
    """The first of the parts to search instead; None when none is smaller."""
    return route.narrowed(window.walk, now, LEAST)


def left_out(profile: Profile, window: Window, answer: Answer, place: str) -> tuple[ParsedPage, Window] | None:
    """What takes the place of a search that the server does not let be parted: the rest of it is not read.

    None where the answer means something else.
    """
    if not profile.spoilt_codes or len(window.walk.spans) < 2 or answer.status not in _NOT_PARTED:
        return None
    bad = BadEntry(
        place, "search_spoilt", "a record spoils a search that cannot be parted: what else it finds is not read", b""
    )
    walk = Walk(window.walk.spans[-1:], window.walk.set, window.walk.patient, narrowed=True)
    return ParsedPage((), (bad,), (), None, None, None), window.left(walk)
