"""A record that an EHR keeps in its own words is the one that was sent; one that says something else may be."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.connectors.fhir.likeness import may_be, says_all

SNOMED = "http://snomed.info/sct"
SENT: dict[str, Any] = {
    "resourceType": "Appointment",
    "status": "proposed",
    "description": "Follow-up visit",
    "start": "2026-12-01T14:00:00Z",
    "minutesDuration": 20,
    "reasonCode": [{"coding": [{"system": SNOMED, "code": "38341003", "display": "Hypertension"}], "text": "Pressure"}],
    "participant": [{"actor": {"reference": "Patient/7"}, "status": "accepted"}],
}


def kept(**change: Any) -> dict[str, Any]:
    return {**SENT, "id": "1", "created": "2026-11-20", **change}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"start": "2026-12-01T09:00:00-05:00"},
        {"start": "2026-12-01T14:00:00.000Z"},
        {"description": "  FOLLOW-UP   visit "},
        {"reasonCode": [{"coding": [{"system": SNOMED, "code": "38341003", "display": "High blood pressure"}]}]},
        {"participant": [{"status": "tentative"}, *SENT["participant"]]},
        {"participant": [{"actor": {"reference": "https://ehr/fhir/Patient/7"}, "status": "accepted"}]},
    ],
)
def test_its_own_words_say_the_same(change: dict[str, Any]) -> None:
    assert says_all(kept(**change), SENT)


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"status": "booked"}, True),
        ({"minutesDuration": 30}, True),
        ({"description": "Another visit"}, True),
        ({"start": "2026-12-01T14:30:00Z"}, False),
        ({"start": "2026-12-01"}, False),
        ({"start": None}, False),
    ],
)
def test_one_that_says_something_else_is_another_or_one_for_a_person(change: dict[str, Any], alike: bool) -> None:
    assert not says_all(kept(**change), SENT)
    assert may_be(kept(**change), SENT) is alike


def test_of_the_same_instant_only_the_same_thing_may_be_it() -> None:
    def measured(code: str, value: int, when: str = "2026-12-01T14:00:00Z") -> dict[str, Any]:
        coded = {"coding": [{"system": "http://loinc.org", "code": code}]}
        return {"code": coded, "effectiveDateTime": when, "valueQuantity": {"value": value}}

    assert may_be(measured("8867-4", 71), measured("8867-4", 72))
    assert not may_be(measured("9279-1", 72), measured("8867-4", 72))
    day = "2026-12-01"
    assert not may_be(measured("8867-4", 71, day), measured("8867-4", 72, day)), "of a day there may be several"
