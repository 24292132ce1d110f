"""What a source says to be absent is no value: US Core, "Missing Data"; R4, extension-data-absent-reason.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector_runner.unification import rules
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.unification.model import Mapped, MappingContext

ROOT = Path(__file__).parents[3] / "mappings"
URL = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
ABSENT: dict[str, Any] = {"extension": [{"url": URL, "valueCode": "unknown"}]}
CODED = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown", "display": "Unknown"}


@pytest.fixture(scope="module")
def mappings() -> MappingSet:
    return load_mappings(ROOT)


def patient(mappings: MappingSet, **body: Any) -> Mapped:
    mapping = mappings.inbound("fhir_r4", "Patient")
    assert mapping is not None
    return mapping.map({"resourceType": "Patient", "id": "1", **body}, MappingContext("ehr"))


def observation(mappings: MappingSet, **body: Any) -> Mapped:
    mapping = mappings.inbound("fhir_r4", "Observation")
    assert mapping is not None
    return mapping.map({"resourceType": "Observation", "id": "1", **body}, MappingContext("ehr"))


@pytest.mark.parametrize("url", [[], {"a": 1}, None, 7])
def test_an_extension_whose_url_is_none_says_nothing(mappings: MappingSet, url: Any) -> None:
    said = {"extension": [{"url": url, "valueCode": "unknown"}]}
    facts = patient(mappings, name=[{**said, "family": "Ames"}], birthDate="1980-01-02", _birthDate=said).facts
    assert facts["birth_date"] == "1980-01-02"
    assert facts["name"]


def test_a_name_whose_absence_is_explained_is_no_name(mappings: MappingSet) -> None:
    """Vendors of US Core send it in the required name (vendors.md: "missing US-Core field -> DataAbsentReason")."""
    assert patient(mappings, name=[ABSENT]).facts == {}
    assert patient(mappings, name=[{**ABSENT, "text": "Unknown"}]).facts == {}
    assert (
        patient(mappings, name=[{**ABSENT, "family": "unknown", "given": ["UNKNOWN"], "use": "official"}]).facts == {}
    )
    assert patient(mappings, name=[{"family": "unknown", "_family": ABSENT}]).facts == {}
    assert patient(mappings, name=[{"given": ["unknown"], "_given": [ABSENT]}]).facts == {}


def test_what_is_known_of_a_name_stays(mappings: MappingSet) -> None:
    half = {"family": "Okafor", "given": ["Ada", "unknown"], "_given": [None, ABSENT]}
    assert patient(mappings, name=[half]).facts == {"name": {"family": "Okafor", "given": ["Ada"]}}
    assert patient(mappings, name=[{**ABSENT, "family": "Okafor"}]).facts == {"name": {"family": "Okafor"}}
    # Without an explanation, a word is a name like any other.
    assert patient(mappings, name=[{"family": "Masked"}]).facts == {"name": {"family": "Masked"}}


def test_a_primitive_whose_absence_is_explained_is_no_value_and_no_problem(mappings: MappingSet) -> None:
    mapped = patient(mappings, birthDate="unknown", _birthDate=ABSENT, gender="female", active=True)
    assert mapped.facts == {"gender": "female", "active": True}
    assert mapped.problems == ()


def test_a_primitive_extension_that_says_something_else_changes_nothing(mappings: MappingSet) -> None:
    twin = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "x"}]}
    assert patient(mappings, birthDate="1974-12-25", _birthDate=twin).facts == {"birth_date": "1974-12-25"}


def test_telecom_address_and_identifier(mappings: MappingSet) -> None:
    mapped = patient(
        mappings,
        telecom=[{"system": "phone", "value": "unknown", "_value": ABSENT}, {**ABSENT, "value": "Not Asked"}],
        address=[
            {**ABSENT, "text": "unknown", "use": "home"},
            {"line": ["unknown"], "_line": [ABSENT], "city": "Troy"},
        ],
        identifier=[{"system": "urn:oid:1.2", "value": "unknown", "_value": ABSENT}],
    )
    assert mapped.facts == {"address": [{"city": "Troy"}]}
    assert mapped.problems == ()


def test_a_code_that_only_explains_is_no_code(mappings: MappingSet) -> None:
    assert observation(mappings, code={"coding": [CODED], "text": "Unknown"}).facts == {}
    kept = observation(mappings, code={"coding": [CODED, {"system": "http://loinc.org", "code": "8302-2"}]})
    assert kept.facts == {"code": {"system": "http://loinc.org", "code": "8302-2"}}
    said = observation(mappings, code={"coding": [CODED], "text": "Height, standing"})
    assert said.facts == {"code": {"text": "Height, standing"}}


def test_the_reason_itself_is_a_fact_where_the_resource_has_an_element_for_it(mappings: MappingSet) -> None:
    mapped = observation(mappings, dataAbsentReason={"coding": [CODED]})
    assert mapped.facts["data_absent_reason"]["code"] == "unknown"


def test_a_quantity_without_a_value_for_a_reason_is_no_problem(mappings: MappingSet) -> None:
    assert observation(mappings, valueQuantity={**ABSENT, "unit": "cm"}).problems == ()
    assert observation(mappings, valueQuantity={"_value": ABSENT, "unit": "cm"}).problems == ()
    assert [problem.code for problem in observation(mappings, valueQuantity={"unit": "cm"}).problems] == ["no_value"]


def test_it_is_the_handling_that_does_this(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the words would be the patient's name and birth date."""
    monkeypatch.setattr(rules, "says_absent", lambda twin: False)
    monkeypatch.setattr("connector_runner.unification.demographics.data_type", lambda element: element)
    naive = patient(
        load_mappings(ROOT), name=[{"family": "unknown", "_family": ABSENT}], birthDate="x", _birthDate=ABSENT
    )
    assert naive.facts == {"name": {"family": "unknown"}}
    assert [problem.path for problem in naive.problems] == ["birthDate"]


@pytest.mark.parametrize("twin", [ABSENT, [ABSENT], [None, ABSENT], [ABSENT, None, ABSENT]])
@pytest.mark.parametrize("value", [None, "x", ["x"], ["x", "y"], [], {}])
def test_whatever_stands_beside_it_it_comes_to_an_end(mappings: MappingSet, twin: Any, value: Any) -> None:
    mapped = patient(mappings, name=[{"given": value, "_given": twin}], birthDate=value, _birthDate=twin)
    assert "birth_date" not in mapped.facts
