"""How eClinicalWorks' FHIR facade is read (CapabilityStatement of 2026-08-14; README has the sources)."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.fhir.profile import Profile, Strategy

DATES: Final = {
    "DiagnosticReport": "date",
    "DocumentReference": "date",
    "Encounter": "date",
    "Immunization": "date",
    "MedicationRequest": "authoredon",
    "Observation": "date",
    "Procedure": "date",
    "QuestionnaireResponse": "authored",
    "ServiceRequest": "authored",
}
"""Date parameters by which types are searched."""

_BY_DATE: Final[tuple[Strategy, ...]] = ("date_window", "roster", "bulk", "whole")
_BY_PATIENT: Final[tuple[Strategy, ...]] = ("roster", "bulk", "whole")
_LISTED: Final = ("Group", "Location", "Organization", "Patient", "Practitioner", "PractitionerRole")

PROFILE: Final = Profile(
    vendor="eclinicalworks",
    # No type is searched by _lastUpdated, none has a history, and nothing tells what changed: the content decides.
    strategies={
        "": _BY_PATIENT,
        **dict.fromkeys(DATES, _BY_DATE),
        **dict.fromkeys(_LISTED, ("whole", "bulk")),
    },
    dates=DATES,
    token_in_quota=True,
    # Pages are numbered, so that what is added or taken away while they are read shifts what is on the rest.
    lossy_pages=True,
)
