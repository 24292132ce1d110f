"""eClinicalWorks."""

from __future__ import annotations

from datetime import UTC, datetime

from connector_runner.connectors.sinks import Json
from connector_runner.kernel.errors import Forbidden, RateLimited, TokenExpired, Unavailable
from tests.conformance.adapters import bodies
from tests.conformance.clinic import Adapter, Clinic, Trouble, Write, read_all

PRACTICE = "FEIGCD"

TROUBLES = (
    Trouble(
        "more than a minute allows",
        lambda clinic: clinic.vendor(per_minute=1),
        lambda clinic: [read_all(clinic.source(), "Patient") for _ in range(2)],
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
        "not allowed",
        lambda clinic: clinic.fault("GET Patient", "status", status=403),
        lambda clinic: read_all(clinic.source(), "Patient"),
        Forbidden,
        "forbidden",
    ),
    Trouble(
        "token refused",
        lambda clinic: clinic.fault("GET Patient", "expired_token"),
        lambda clinic: read_all(clinic.source(), "Patient"),
        TokenExpired,
        "unauthorized",
    ),
)


def answers(clinic: Clinic) -> Json:
    """A questionnaire that was filled in."""
    return {
        "resourceType": "QuestionnaireResponse",
        "status": "completed",
        "questionnaire": "urn:test:intake",
        "subject": {"reference": f"Patient/{clinic.any_patient()}"},
        "authored": "2026-03-04T10:00:00Z",
        "item": [{"linkId": "1", "answer": [{"valueBoolean": True}]}],
    }


def dated(record: Json) -> Json:
    """Observations are read by their date: one of today is looked at in each poll."""
    if record["resourceType"] != "Observation":
        return record
    return {**record, "effectiveDateTime": datetime.now(UTC).isoformat(timespec="seconds")}


ADAPTER = Adapter(
    name="eclinicalworks",
    vendor="eclinicalworks",
    settings=lambda origin: {
        "adapter": "eclinicalworks",
        "server": f"{origin}/fhir",
        "practice_code": PRACTICE,
        "page_size": 9,
        "sink": {"entity_types": ["questionnaire_response"]},
    },
    writes=(Write("QuestionnaireResponse", answers),),
    refuses=(Write("Patient", bodies.a_patient), Write("QuestionnaireResponse", answers, dict)),
    troubles=TROUBLES,
    ready=lambda clinic: clinic.vendor(per_minute=100_000),
    dated=dated,
    looks="Observation within 30 days back and 365 ahead, the rest at the next full sync",
)
