"""How athenahealth's FHIR server is read (CapabilityStatement of 2022-06-06; README has the sources)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from connector_runner.connectors.athenahealth.ids import department_token, practice_token
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.fhir.profile import Parameters, Profile

INTENTS: Final = "proposal,plan,order,option"
"""All that a search of MedicationRequest is asked for: patient and intent are a mandatory pair."""

DEPARTMENTS_OF: Final = frozenset({"CarePlan", "CareTeam", "Goal", "Patient"})
"""Types whose search declares ``ah-department``."""
BRANDS_OF: Final = frozenset({"CarePlan", "CareTeam", "Goal", "Patient"})
"""Types whose search declares ``ah-brand``."""
UNSTAMPED: Final = ("Practitioner", "Location", "Organization", "Medication", "Specimen")
"""Types that are searched by neither ``_lastUpdated`` nor patient."""
_TYPES: Final = (
    "AllergyIntolerance", "CarePlan", "CareTeam", "Condition", "Coverage", "Device", "DiagnosticReport",
    "DocumentReference", "Encounter", "Goal", "Immunization", "MedicationRequest", "Observation", "Patient",
    "Procedure", "ServiceRequest",
)  # fmt: skip


def profile_of(settings: AthenahealthSettings) -> Profile:
    """The profile of one practice; what its settings say of searches stands beside the practice."""
    usual = Profile(
        vendor="athenahealth",
        strategies={
            "Patient": ("changed_feed", "last_updated", "whole"),
            "MedicationRequest": ("roster", "bulk"),
            **dict.fromkeys(UNSTAMPED, ("whole",)),
            "": ("last_updated", "roster", "bulk", "whole"),
        },
        parameters={"": (_standing(settings, ""),), **{name: (_standing(settings, name),) for name in _TYPES}},
    )
    stated = settings.profile(usual)
    own = {
        kind: tuple((*_standing(settings, kind), *parameters) for parameters in stated.parameters[kind])
        for kind in settings.searches
    }
    return replace(usual, parameters={**usual.parameters, **own})


def _standing(settings: AthenahealthSettings, resource_type: str) -> Parameters:
    """What every search of a type says: which practice, and what else it needs."""
    params = [("ah-practice", practice_token(settings.practice))]
    if settings.brand is not None and resource_type in BRANDS_OF:
        params.append(("ah-brand", settings.brand))
    if settings.departments and resource_type in DEPARTMENTS_OF:
        tokens = (department_token(settings.practice, number) for number in settings.departments)
        params.append(("ah-department", ",".join(tokens)))
    if resource_type == "MedicationRequest" and resource_type not in settings.searches:
        params.append(("intent", INTENTS))
    return tuple(params)
