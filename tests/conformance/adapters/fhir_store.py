"""A FHIR store without a vendor's quirks."""

from __future__ import annotations

from connector_runner.kernel.errors import Forbidden, RateLimited, TokenExpired, Unavailable
from tests.conformance.adapters import bodies
from tests.conformance.clinic import Adapter, Trouble, Write, read_all

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

ADAPTER = Adapter(
    name="fhir_store",
    source_type="fhir_store",
    settings=lambda origin: {"base_url": f"{origin}/fhir", "page_size": 9, "sink": {"entity_types": ["patient"]}},
    reads=("Patient", "Observation", "Condition", "Appointment"),
    writes=(
        Write("Patient", bodies.a_patient, bodies.renamed),
        Write("Observation", bodies.an_observation, bodies.corrected),
    ),
    troubles=TROUBLES,
    own_ids=True,
)
