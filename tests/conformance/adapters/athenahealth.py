"""athenahealth."""

from __future__ import annotations

from connector_runner.connectors.sinks import Json
from connector_runner.kernel.errors import Forbidden, RateLimited, TokenExpired, Unavailable
from tests.conformance.adapters import bodies
from tests.conformance.clinic import Adapter, Clinic, Trouble, Write, read_all

PRACTICE = "195900"
OURS = f"a-{PRACTICE}."

TROUBLES = (
    Trouble(
        "too fast",
        lambda clinic: clinic.fault("GET Patient", "status", status=429, retry_after=7),
        lambda clinic: read_all(clinic.source(), "Patient"),
        RateLimited,
        "rate_limited",
    ),
    Trouble(
        "out of order",
        lambda clinic: clinic.fault("GET Patient", "html"),
        lambda clinic: read_all(clinic.source(), "Patient"),
        Unavailable,
        "http_502",
    ),
    Trouble(
        "no right to this type",
        lambda clinic: clinic.fault("GET Condition", "status", status=403),
        lambda clinic: read_all(clinic.source(), "Condition"),
        Forbidden,
        "forbidden",
    ),
    Trouble(
        "token refused",
        lambda clinic: clinic.fault("GET Condition", "expired_token"),
        lambda clinic: read_all(clinic.source(), "Condition"),
        TokenExpired,
        "unauthorized",
    ),
)


def a_problem(clinic: Clinic) -> Json:
    """A problem with the day on which it began."""
    return {**bodies.a_problem(clinic), "onsetDateTime": "2026-02-27"}


def a_weight(clinic: Clinic) -> Json:
    """A weight in pounds."""
    return {
        **bodies.an_observation(clinic),
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "valueQuantity": {"value": 150, "unit": "lb", "system": "http://unitsofmeasure.org", "code": "[lb_av]"},
    }


ADAPTER = Adapter(
    name="athenahealth",
    vendor="athenahealth",
    settings=lambda origin: {
        "adapter": "athenahealth",
        "base_url": f"{origin}/fhir",
        "practice": PRACTICE,
        "zone": "America/New_York",
        "page_size": 9,
        "sink": {
            "entity_types": ["condition", "observation", "questionnaire_response"],
            "department": "1",
        },
    },
    reads=("Patient", "Observation", "Condition", "MedicationRequest"),
    writes=(Write("Condition", a_problem), Write("Observation", a_weight)),
    refuses=(
        Write("Patient", bodies.a_patient),
        Write("Condition", a_problem, dict),
        Write("Observation", a_weight, bodies.corrected),
    ),
    create_calls={
        "Condition": f"POST {PRACTICE}/chart/*/problems",
        "Observation": f"POST {PRACTICE}/chart/*/vitals",
    },
    troubles=TROUBLES,
    shows=lambda record: record["id"].startswith(OURS) or not record["id"].startswith("a-"),
)
