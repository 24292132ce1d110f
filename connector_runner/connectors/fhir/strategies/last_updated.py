"""By the server's own stamp: only what changed since a checkpoint, for servers that heed ``_lastUpdated``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from connector_runner.connectors.fhir.paging import ParsedPage
from connector_runner.connectors.fhir.profile import Profile
from connector_runner.connectors.fhir.walk import LAST_UPDATED, Route, Span

MARGIN: Final = timedelta(seconds=60)
"""A record may be this much older than was asked for: indexes lag behind, and stamps are cut to seconds."""


def route(profile: Profile, resource_type: str, bound: datetime | None) -> Route:
    """Everything since ``bound``, or everything there is."""
    return Route(
        whole=bound is None, sets=profile.sets(resource_type), span=Span(start=bound), by=LAST_UPDATED, sort=True
    )


def disregards(page: ParsedPage, bound: datetime | None) -> bool:
    """Whether a page shows that the server takes no notice of the bound: it holds what is far older."""
    return bound is not None and any(
        record.last_updated is not None and bound - record.last_updated > MARGIN for record in page.records
    )


def turned_back(bound: datetime | None, told: datetime) -> bool:
    """Whether the time that the server tells lies before the bound: what changes now would stay below it for long.

    Its clock was ahead when the checkpoint was made; or a stamp was, and nothing told how late it was then.
    """
    return bound is not None and bound - told > MARGIN
