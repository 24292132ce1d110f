"""Reading on by stamp where a server only numbers its pages. Pure.

What changes or goes while numbered pages are read shifts what is on the rest: a row slips to a page that was read
already, and no link leads to it. Where rows come in the order of their stamps the next search can begin at the last of
them instead of at a number, and then nothing shifts; where the server is known to heed such a bound. Any other link (a
token, a session) is its own affair, and so are all again once it takes no notice of the bound: what it shows then comes
in no order any more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

from connector_runner.connectors.fhir.paging import ParsedPage, split
from connector_runner.connectors.fhir.walk import Span, Walk
from connector_runner.connectors.fhir.window import Window

SLACK: Final = timedelta(seconds=1)
"""Filters may be cut to seconds."""
_OF_THE_ANSWER: Final = frozenset({"_format", "_pretty", "_summary", "_elements", "_total", "_bundletype"})


def numbered(link: str, asked: Collection[str]) -> bool:
    """Whether a link to the next page adds nothing but numbers to what was asked for."""
    pairs = parse_qsl(split(link).query, keep_blank_values=True)
    added = [value for name, value in pairs if name not in asked and name not in _OF_THE_ANSWER]
    return bool(added) and all(value.isascii() and value.isdigit() and len(value) < 10 for value in added)


def step(window: Window, page: ParsedPage) -> Walk | None:
    """The search that goes on where ``page`` ended; None where all of it is of one instant, or not in order.

    It begins at the last instant but one: some servers take a bound for exclusive.
    """
    steady = window.steady
    if not window.sorted or window.undated or steady is None:
        return None
    stamps = [record.last_updated for record in page.records if record.last_updated is not None]
    instants = sorted({_cut(stamp) for stamp in stamps if stamp <= steady})
    if len(instants) < 2 or instants[-2] - min(stamps) <= SLACK:
        return None
    start = instants[-2]
    span = window.walk.spans[0]
    return replace(window.walk, spans=(Span(start, span.end), *window.walk.spans[1:]))


def _cut(stamp: datetime) -> datetime:
    return stamp.replace(microsecond=stamp.microsecond // 1000 * 1000)
