"""Epic."""

from __future__ import annotations

from tests.conformance.adapters import bodies
from tests.conformance.adapters.fhir_store import TROUBLES
from tests.conformance.clinic import Adapter, Write

ADAPTER = Adapter(
    name="epic",
    vendor="epic",
    settings=lambda origin: {
        "adapter": "epic",
        "base_url": f"{origin}/fhir",
        "page_size": 9,
        "sink": {"entity_types": ["patient"]},
    },
    reads=("Patient", "Observation", "Condition", "Appointment"),
    ready=lambda clinic: clinic.vendor(versions=True),
    refuses=(
        Write("Appointment", bodies.an_appointment),
        Write("Appointment", bodies.an_appointment, bodies.cancelled),
        Write("Patient", bodies.a_patient, bodies.renamed),
        Write("Condition", bodies.a_problem, dict),
    ),
    writes=(
        Write("Patient", bodies.a_patient),
        Write("Condition", bodies.a_problem),
        Write("Observation", bodies.an_observation, bodies.corrected),
    ),
    troubles=TROUBLES,
)
