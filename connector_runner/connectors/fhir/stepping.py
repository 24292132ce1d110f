"""Reading on by stamp where a server only numbers its pages. Pure.

What changes or goes while numbered pages are read shifts what is on the rest: a row slips to a page that was read
already, and no link leads to it. Where rows come in the order of their stamps the next search can begin at the last of
them instead of at a number, and then nothing shifts. Any other link (a token, a session) is the server's own affair.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from connector_runner.connectors.fhir.paging import ParsedPage
from connector_runner.connectors.fhir.walk import Span, Walk
from connector_runner.connectors.fhir.window import Window

SLACK: Final = timedelta(seconds=1)
"""Filters may be cut to seconds."""
_OF_THE_ANSWER: Final = frozenset({"_format", "_pretty", "_summary", "_elements", "_total", "_bundletype"})


def numbered(link: str, asked: Collection[str]) -> bool:
    """Whether a link to the next page adds nothing but numbers to what was asked for."""
    pairs = parse_qsl(urlsplit(link).query, keep_blank_values=True)
    added = [value for name, value in pairs if name not in asked and name not in _OF_THE_ANSWER]
    return bool(added) and all(value.isascii() and value.isdigit() and len(value) < 10 for value in added)


def step(window: Window, page: ParsedPage) -> Walk | None:
    """The search that goes on where ``page`` ended; None where all of it is of one instant, or not in order."""
    stamps = [record.last_updated for record in page.records if record.last_updated is not None]
    if not window.sorted or window.undated or window.steady is None or not stamps:
        return None
    start = window.steady.replace(microsecond=window.steady.microsecond // 1000 * 1000)
    if start - min(stamps) <= SLACK:
        return None
    span = window.walk.spans[0]
    return replace(window.walk, spans=(Span(start, span.end), *window.walk.spans[1:]))


def disregarded(window: Window, page: ParsedPage) -> bool:
    """Whether a search that began at a stamp shows rows of before it: the server takes no notice, and begins anew."""
    start = _begun(window)
    return start is not None and any(
        record.last_updated is not None and start - record.last_updated > SLACK for record in page.records
    )


def _begun(window: Window) -> datetime | None:
    start = window.walk.spans[0].start
    return start if not window.walk.narrowed and start != window.span.start else None
