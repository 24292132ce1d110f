"""Records to write, as a mapping would render them."""

from __future__ import annotations

from connector_runner.connectors.sinks import Json
from tests.conformance.clinic import Clinic


def a_patient(clinic: Clinic) -> Json:
    """A person whom nobody knows yet."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:test:mrn", "value": "77001"}],
        "name": [{"use": "official", "family": "Quillfeather", "given": ["Odalys"]}],
        "gender": "female",
        "birthDate": "1961-02-03",
    }


def an_observation(clinic: Clinic) -> Json:
    """A pulse."""
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "Heart rate"},
        "subject": {"reference": f"Patient/{clinic.any_patient()}"},
        "effectiveDateTime": "2026-03-04T10:00:00Z",
        "valueQuantity": {"value": 71, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    }


def a_problem(clinic: Clinic) -> Json:
    """A problem of the list."""
    clinical = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
    category = {"system": "http://terminology.hl7.org/CodeSystem/condition-category", "code": "problem-list-item"}
    return {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [clinical]},
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]},
        "subject": {"reference": f"Patient/{clinic.any_patient()}"},
    }


def an_appointment(clinic: Clinic) -> Json:
    """A visit that was agreed on."""
    return {
        "resourceType": "Appointment",
        "status": "booked",
        "slot": [{"reference": "Slot/24477854-1"}],
        "start": "2026-12-01T15:00:00Z",
        "end": "2026-12-01T15:30:00Z",
        "participant": [{"actor": {"reference": f"Patient/{clinic.any_patient()}"}, "status": "accepted"}],
    }


def corrected(body: Json) -> Json:
    """An observation whose value was wrong."""
    return {**body, "valueQuantity": {**body["valueQuantity"], "value": 88}}


def renamed(body: Json) -> Json:
    """A person with another family name."""
    return {**body, "name": [{**body["name"][0], "family": "Ravensworth"}]}


def cancelled(body: Json) -> Json:
    """An appointment that does not take place."""
    return {**body, "status": "cancelled"}
