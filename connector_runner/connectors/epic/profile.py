"""How an Epic is read. Where each fact comes from stands in the README beside this file."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.fhir.profile import Parameters, Profile

# The allowed values that Epic's own refusal of a search without a category names (error 59159).
CARE_PLANS: Final[tuple[Parameters, ...]] = tuple(
    (("category", code),)
    for code in (
        "38717003", "734163000", "736271009", "736353004", "738906000", "736378000", "719091000000102",
        "959871000000107", "inpatient-pathway", "409073007", "care-path",
    )
)  # fmt: skip

# A search wants a category or a code (error 59108); these are the categories that US Core demands of a server.
OBSERVATIONS: Final[tuple[Parameters, ...]] = tuple(
    (("category", code),) for code in ("vital-signs", "laboratory", "social-history")
)

PROFILE: Final = Profile(
    vendor="epic",
    strategies={
        "": ("roster", "bulk"),
        # A roster knows no new patient; an export of the group does.
        "Patient": ("bulk", "roster"),
        "DocumentReference": ("last_updated", "roster", "bulk"),
        "MeasureReport": ("last_updated", "roster", "bulk"),
        "Practitioner": ("whole",),
        "PractitionerRole": ("whole",),
        "Location": ("whole",),
        "Organization": ("whole",),
    },
    parameters={"CarePlan": CARE_PLANS, "Observation": OBSERVATIONS},
    caps={"Patient": 100},
    dates={
        "Patient": "birthdate",
        "Appointment": "date",
        "Encounter": "date",
        "Observation": "date",
        "DiagnosticReport": "date",
        "DocumentReference": "date",
        "Immunization": "date",
        "MedicationRequest": "date",
        "Procedure": "date",
    },
    ignored_warning=frozenset({"4122", "59100"}),
    partial_warning=frozenset({"4118", "4119", "4130", "4131", "4134", "59022", "59203", "59204"}),
    cap_codes=frozenset({"4127", "59133"}),
    expired_codes=frozenset({"4113"}),
    quiet_codes=frozenset({"4101", "processing", "informational"}),
    conflict_statuses=frozenset({412}),
)
