"""What a reading works with, and the strategies for which that is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.profile import ChangedFeed, Measured, Profile, Roster, Strategy


@dataclass(frozen=True, slots=True)
class Means:
    """What a reading works with."""

    client: FHIRClient
    profile: Profile
    measured: Mapping[str, Measured]
    roster: Roster | None
    feeds: Mapping[Strategy, ChangedFeed | None]
    clock: Callable[[], datetime]


def able(means: Means, resource_type: str) -> set[Strategy]:
    """The strategies for which everything is at hand."""
    found: set[Strategy] = {"last_updated", "whole"}
    if means.profile.date(resource_type) is not None:
        found.add("date_window")
    if means.roster is not None:
        found.add("roster")
    return found | {name for name, feed in means.feeds.items() if feed is not None}
