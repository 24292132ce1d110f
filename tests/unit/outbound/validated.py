"""Bodies that are right, and what validation finds in one."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connector_runner.outbound.validation import Rules, check

NOW = datetime(2026, 3, 4, tzinfo=UTC)
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": "urn:mrn", "value": "M1"}],
    "name": [{"family": "Okafor", "given": ["Ada"], "use": "official"}],
    "telecom": [{"system": "phone", "value": "617-555-0101", "use": "home"}],
    "gender": "female",
    "birthDate": "1982-03-04",
    "managingOrganization": {"reference": "Organization/o1"},
}
APPOINTMENT: dict[str, Any] = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "booked",
    "start": "2026-12-01T09:00:00Z",
    "end": "2026-12-01T09:20:00Z",
    "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"text": "weight"},
    "subject": {"reference": "Patient/p1"},
    "valueQuantity": {"value": Decimal("70.50"), "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
}
ORDER: dict[str, Any] = {
    "resourceType": "MedicationRequest",
    "status": "active",
    "intent": "order",
    "medicationCodeableConcept": {"text": "aspirin"},
    "subject": {"reference": "Patient/p1"},
    "dosageInstruction": [{"timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}}}],
}


def found(body: dict[str, Any], before: dict[str, Any] | None = None, **rules: Any) -> list[tuple[str, str, str]]:
    """Layer, path and code of what is found."""
    problems = check(body, before=before, now=NOW, rules=Rules(**rules))
    return [(problem.layer, problem.path, problem.code) for problem in problems]


def changed(base: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """``base`` with ``value`` at a dotted place; ``...`` takes the place away."""
    body = copy.deepcopy(base)
    *way, last = [int(word) if word.isdigit() else word for word in place.split(".")]
    target: Any = body
    for step in way:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return body
