"""Patient by patient: for servers that refuse a search without a patient. The content decides what is new.

Complete as far as the roster is: what belongs to a patient whom nobody has told us of is not found.
"""

from __future__ import annotations

from connector_runner.connectors.fhir.profile import Profile, Roster
from connector_runner.connectors.fhir.spoilt import parting
from connector_runner.connectors.fhir.walk import LAST_UPDATED, Route

_AHEAD = 100


class Turns:
    """Whose turn is next; looks a few patients ahead."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._ahead: list[str] = []
        self._last: str | None = None

    def __call__(self, after: str | None) -> str | None:
        """The patient behind ``after``, None at the end."""
        if not self._ahead or after != self._last:
            self._ahead = list(reversed(self._roster.patients(after, _AHEAD)))
        self._last = self._ahead.pop() if self._ahead else None
        return self._last


def route(profile: Profile, resource_type: str, roster: Roster) -> Route:
    """A search, or one for each mandatory set, for every patient on the roster."""
    by = parting(profile, resource_type)
    return Route(
        whole=True,
        sets=profile.sets(resource_type),
        by=by,
        days=by not in (None, LAST_UPDATED),
        parameter=profile.patient_parameter(resource_type),
        next_patient=Turns(roster),
    )
