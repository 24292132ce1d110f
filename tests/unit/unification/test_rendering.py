"""State written out as FHIR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import Dependency, OutboundContext

MAPPINGS = load_mappings(Path(__file__).parents[3] / "mappings")
PATIENT = {"ref": "ehr:Patient:p-1"}
DOCTOR = {"ref": "ehr:Practitioner:d-1"}


def render(entity_type: str, state: dict[str, Any], **held: str) -> dict[str, Any]:
    known = {"ehr:Patient:p-1": "Patient/900", **{key.replace("__", ":"): value for key, value in held.items()}}
    mapping = MAPPINGS.outbound("fhir_r4", entity_type)
    assert mapping is not None
    return mapping.render(state, OutboundContext(known.get))


def test_only_what_the_state_says_is_written() -> None:
    assert render("patient", {"birth_date": "1984-02-29", "extra": 1}) == {
        "resourceType": "Patient",
        "birthDate": "1984-02-29",
    }


def test_a_number_that_was_captured_is_written_in_its_normal_form() -> None:
    state = {"telecom": [{"system": "phone", "value": "+15035550142"}]}
    assert render("patient", state)["telecom"] == [{"system": "phone", "value": "+15035550142"}]


def test_raw_that_no_longer_fits_the_value_is_not_written() -> None:
    state = {"telecom": [{"system": "phone", "value": "+15035550142", "raw": "503-555-0199"}]}
    assert render("patient", state)["telecom"] == [{"system": "phone", "value": "+15035550142"}]


def test_extensions_stand_side_by_side() -> None:
    written = render("patient", {"birth_sex": "F", "race": {"code": "2106-3", "display": "White"}})["extension"]
    assert {item["url"].rsplit("-", 1)[1] for item in written} == {"race", "birthsex"}
    assert {"url": "text", "valueString": "White"} in written[0]["extension"]


@pytest.mark.parametrize(
    ("value", "element", "written"),
    [
        ({"value": 5, "unit": "mg"}, "valueQuantity", {"value": 5, "unit": "mg"}),
        ({"code": "a", "system": "s"}, "valueCodeableConcept", {"coding": [{"code": "a", "system": "s"}]}),
        ({"text": "high"}, "valueCodeableConcept", {"text": "high"}),
        ("2024", "valueString", "2024"),
        ({"date_time": "2024"}, "valueDateTime", "2024"),
        (True, "valueBoolean", True),
        (3, "valueInteger", 3),
        ({"start": "2024"}, "valuePeriod", {"start": "2024"}),
    ],
)
def test_a_choice_is_told_by_its_shape(value: Any, element: str, written: Any) -> None:
    resource = render("observation", {"patient": PATIENT, "value": value})
    assert resource[element] == written
    assert [key for key in resource if key.startswith("value")] == [element]


def test_a_required_reference_is_waited_for() -> None:
    state = {"status": "final", "patient": {"ref": "ehr:Patient:unknown"}}
    with pytest.raises(NotYet) as caught:
        render("lab_result", state)
    assert (caught.value.code, caught.value.where) == ("dependency", "subject")
    assert "ehr:Patient:unknown" in caught.value.message
    with pytest.raises(BadRecord) as refused:
        render("lab_result", {"status": "final"})
    assert refused.value.code == "missing_field"


def test_an_optional_reference_keeps_only_its_display() -> None:
    state = {
        "patient": PATIENT,
        "encounter": {"ref": "ehr:Encounter:e-1"},
        "performer": [{**DOCTOR, "display": "Dr. V"}],
    }
    resource = render("lab_result", state)
    assert "encounter" not in resource
    assert resource["performer"] == [{"display": "Dr. V"}]
    assert resource["subject"] == {"reference": "Patient/900"}


def test_the_participants_follow_the_single_fields() -> None:
    state = {
        "status": "booked",
        "patient": PATIENT,
        "practitioner": {"ref": "ehr:Practitioner:d-2"},
        "participant": [{"actor": PATIENT, "status": "tentative"}, {"actor": DOCTOR, "status": "accepted"}],
    }
    resource = render("appointment", state, ehr__Practitioner__d_1="x", **{"ehr__Practitioner__d-2": "Practitioner/2"})
    assert resource["participant"] == [
        {"actor": {"reference": "Patient/900"}, "status": "tentative"},
        {"actor": {"reference": "Practitioner/2"}, "status": "accepted"},
    ]


def test_dependencies_name_the_fields_that_are_written() -> None:
    mapping = MAPPINGS.outbound("fhir_r4", "observation")
    assert mapping is not None
    found = mapping.dependencies({"patient": PATIENT, "performer": [DOCTOR], "unwritten": {"ref": "a:B:c"}})
    assert set(found) == {
        Dependency("patient", "ehr:Patient:p-1", True),
        Dependency("performer", "ehr:Practitioner:d-1", False),
    }


def test_fields_name_the_elements_they_are_written_to() -> None:
    mapping = MAPPINGS.outbound("fhir_r4", "patient")
    assert mapping is not None
    fields = mapping.fields()
    assert fields["birth_date"] == ("birthDate",)
    assert fields["deceased"] == ("deceasedBoolean", "deceasedDateTime")
    assert fields["other_names"] == fields["name"] == ("name",)
