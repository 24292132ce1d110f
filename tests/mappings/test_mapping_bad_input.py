"""One bad value costs that value and no more."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.kernel.errors import BadRecord
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import Mapped, MappingContext

GOOD = {
    "resourceType": "Patient",
    "id": "p-1",
    "birthDate": "1982-03-05",
    "gender": "female",
    "name": [{"family": "Tamsin"}],
    "telecom": [{"system": "phone", "value": "503-555-0111"}],
    "identifier": [{"system": "urn:example:mrn", "value": "7"}],
    "address": [{"city": "Millhaven"}],
}


def map_patient(shipped: MappingSet, **changes: Any) -> Mapped:
    mapping = shipped.inbound("fhir_r4", "Patient")
    assert mapping is not None
    return mapping.map({**GOOD, **changes}, MappingContext("clinic"))


def map_observation(shipped: MappingSet, **elements: Any) -> Mapped:
    mapping = shipped.inbound("fhir_r4", "Observation")
    assert mapping is not None
    resource = {"resourceType": "Observation", "id": "o-1", "status": "final", **elements}
    return mapping.map(resource, MappingContext("clinic"))


@pytest.mark.parametrize(
    ("element", "value", "field", "path", "code"),
    [
        ("birthDate", "1982-13-45", "birth_date", "birthDate", "invalid_date"),
        ("birthDate", "1982-02-30", "birth_date", "birthDate", "invalid_date"),
        ("birthDate", 1982, "birth_date", "birthDate", "wrong_type"),
        ("birthDate", ["1982-03-05"], "birth_date", "birthDate", "wrong_type"),
        ("name", None, "name", "name", "wrong_type"),
        ("name", ["Tamsin"], "name", "name[0]", "wrong_type"),
        ("telecom", "x", "telecom", "telecom", "wrong_type"),
        ("telecom", [{"system": "phone", "value": 5035550111}], "telecom", "telecom[0].value", "wrong_type"),
        ("identifier", {}, "identifier", "identifier", "wrong_type"),
        ("gender", ["female"], "gender", "gender", "wrong_type"),
        ("gender", "banana", "gender", "gender", "unknown_code"),
        ("address", {"city": "Millhaven"}, "address", "address", "wrong_type"),
        ("link", [{"other": {"reference": 5}}], "link", "link[0].other.reference", "wrong_type"),
        ("link", [{"other": {"reference": "no form"}}], "link", "link[0].other.reference", "bad_reference"),
        ("contact", [{"gender": 1}], "contact", "contact[0].gender", "wrong_type"),
    ],
)
def test_a_bad_value_is_left_out_with_its_path(
    shipped: MappingSet, element: str, value: Any, field: str, path: str, code: str
) -> None:
    good = map_patient(shipped)
    assert good.problems == ()
    bad = map_patient(shipped, **{element: value})
    assert [(problem.path, problem.code) for problem in bad.problems] == [(path, code)]
    assert field not in bad.facts
    assert {**good.facts, field: None} == {**bad.facts, field: None}


def test_a_problem_never_quotes_the_value(shipped: MappingSet) -> None:
    bad = map_patient(shipped, birthDate="Odalys-Brannock", gender="Brannock", telecom="Odalys")
    assert len(bad.problems) == 3
    assert "Odalys" not in repr(bad.problems)
    assert "Brannock" not in repr(bad.problems)


def test_the_good_elements_of_a_list_are_kept(shipped: MappingSet) -> None:
    points = [{"system": "phone", "value": "503-555-0111"}, 7, {"system": "email", "value": "a@example.org"}]
    mapped = map_patient(shipped, telecom=points)
    assert [point["value"] for point in mapped.facts["telecom"]] == ["+15035550111", "a@example.org"]
    assert [problem.path for problem in mapped.problems] == ["telecom[1]"]


@pytest.mark.parametrize("first", ["valueString", "valueQuantity"])
def test_two_values_of_a_choice_are_neither(shipped: MappingSet, first: str) -> None:
    values = {"valueString": "high", "valueQuantity": {"value": 5, "unit": "mg"}}
    ordered = {first: values.pop(first), **values}
    mapped = map_observation(shipped, **ordered, issued="2024-01-01T00:00:00Z")
    assert "value" not in mapped.facts
    assert {problem.code for problem in mapped.problems} == {"two_values"}
    assert mapped.facts["issued"] == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ([], "not_an_object"),
        (None, "not_an_object"),
        ({"resourceType": "Practitioner", "id": "x"}, "resource_type"),
        ({"resourceType": ["Patient"], "id": "x"}, "resource_type"),
        ({"resourceType": "Patient"}, "no_id"),
        ({"resourceType": "Patient", "id": ""}, "no_id"),
        ({"resourceType": "Patient", "id": {"value": "x"}}, "no_id"),
    ],
)
def test_a_record_that_is_none_is_refused(shipped: MappingSet, record: Any, code: str) -> None:
    mapping = shipped.inbound("fhir_r4", "Patient")
    assert mapping is not None
    with pytest.raises(BadRecord) as caught:
        mapping.map(record, MappingContext("clinic"))
    assert caught.value.code == code


def test_the_laboratory_is_told_from_other_observations(shipped: MappingSet) -> None:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    laboratory = {"coding": [{"system": system, "code": "laboratory"}]}
    assert map_observation(shipped, category=[{"text": "x"}, laboratory]).entity_type == "lab_result"
    assert map_observation(shipped, category=[{"coding": [{"code": "vital-signs"}]}]).entity_type == "observation"
    assert map_observation(shipped).event_type == "observation.updated"


def test_entered_in_error_retracts(shipped: MappingSet) -> None:
    assert map_observation(shipped, status="entered-in-error").retracted is True
    assert map_observation(shipped, status="final").retracted is False


def test_a_subject_that_is_no_patient_is_not_called_one(shipped: MappingSet) -> None:
    group = map_observation(shipped, subject={"reference": "Group/g-1"}).facts
    assert group["subject"] == {"ref": "clinic:Group:g-1"}
    assert "patient" not in group
    person = map_observation(shipped, subject={"reference": "Patient/p-1"}).facts
    assert person["patient"] == {"ref": "clinic:Patient:p-1"}
    assert "subject" not in person
