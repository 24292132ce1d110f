"""Oracle Health Millennium."""

from __future__ import annotations

from tests.conformance.adapters import bodies
from tests.conformance.adapters.fhir_store import TROUBLES
from tests.conformance.clinic import Adapter, Write

TENANT = "ec2458f2-0000-4000-8000-000000000001"

ADAPTER = Adapter(
    name="cerner",
    vendor="cerner",
    settings=lambda origin: {
        "adapter": "cerner",
        "server": f"{origin}/fhir",
        "tenant": TENANT,
        "page_size": 9,
        "sink": {"entity_types": ["patient"]},
    },
    reads=("Patient", "Observation", "Condition", "Appointment"),
    refuses=(Write("Schedule", lambda clinic: {"resourceType": "Schedule"}),),
    writes=(
        Write("Patient", bodies.a_patient, bodies.renamed),
        Write("Observation", bodies.an_observation, bodies.corrected),
        Write("Appointment", bodies.an_appointment, bodies.cancelled),
    ),
    troubles=tuple(trouble for trouble in TROUBLES if trouble.name != "not allowed"),
)
