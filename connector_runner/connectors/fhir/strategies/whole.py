"""Everything, each time: the content decides what is new. For servers that filter by nothing."""

from __future__ import annotations

from connector_runner.connectors.fhir.profile import Profile
from connector_runner.connectors.fhir.walk import LAST_UPDATED, Route


def route(profile: Profile, resource_type: str, *, filters: bool) -> Route:
    """All records of a type; too many for one search are parted by time where the server ``filters`` by its stamp."""
    date = profile.date(resource_type)
    by = LAST_UPDATED if filters else date
    return Route(
        whole=True, sets=profile.sets(resource_type), by=by, days=by is not None and by != LAST_UPDATED, sort=True
    )
