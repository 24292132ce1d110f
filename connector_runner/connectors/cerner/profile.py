"""How a Millennium is read. Where each fact comes from stands in the README beside this file."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.fhir.profile import Profile, Strategy

_BY_PATIENT: Final[tuple[Strategy, ...]] = ("roster", "bulk")
_STAMPED: Final[tuple[Strategy, ...]] = ("last_updated", "roster", "bulk")

PROFILE: Final = Profile(
    vendor="cerner",
    strategies={
        "": _BY_PATIENT,
        # A roster knows no new patient; an export of the group does.
        "Patient": ("bulk", "roster"),
        **dict.fromkeys(
            (
                "AllergyIntolerance",
                "Condition",
                "DiagnosticReport",
                "DocumentReference",
                "Encounter",
                "Immunization",
                "MedicationDispense",
                "MedicationRequest",
                "NutritionOrder",
                "Observation",
                "Procedure",
                "ServiceRequest",
            ),
            _STAMPED,
        ),
        "Practitioner": ("whole",),
        "Location": ("whole",),
        "Organization": ("whole",),
    },
    # A date is demanded beside the patient.
    parameters={"Appointment": ((("date", "ge1900-01-01"),),)},
    dates={
        "Appointment": "date",
        "Encounter": "date",
        "Observation": "date",
        "DiagnosticReport": "date",
        "DocumentReference": "date",
        "Immunization": "date",
        "Procedure": "date",
    },
    count_with_id=False,
    partial_warning=frozenset({"required", "suppressed", "forbidden"}),
    spoilt_codes=frozenset({"required"}),
    conflict_statuses=frozenset({409, 412}),
    lossy_pages=True,
)
