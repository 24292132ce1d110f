"""Dates, telephone numbers and references, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.unification.datatypes import reference
from connector_runner.unification.dates import is_date, is_date_time, is_time
from connector_runner.unification.demographics import contact_point
from connector_runner.unification.model import MappingContext
from connector_runner.unification.phones import normalise_phone
from connector_runner.unification.run import Run


@pytest.mark.parametrize("text", ["1984", "1984-02", "1984-02-29"])
def test_dates_keep_their_precision(text: str) -> None:
    assert is_date(text)
    assert is_date_time(text)


@pytest.mark.parametrize(
    "text", ["", "84", "1984-13", "1983-02-29", "1984-2-9", "19840229", "1984-W01-1", "0000-01-01"]
)
def test_what_is_no_date(text: str) -> None:
    assert not is_date(text)
    assert not is_date_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-02T10:00:00Z",
        "2024-03-02T10:00:00.1234567+05:30",
        "2016-12-31T23:59:60Z",
        "2024-03-02T24:00:00Z",
        "2024-03-02T10:00",
        "2024-03-02T10:00:00",
    ],
)
def test_times_as_they_occur(text: str) -> None:
    assert is_date_time(text)


@pytest.mark.parametrize(
    "text", ["2024-03-02T25:00:00Z", "2024-03-02T10", "2024-13-02T10:00:00Z", "2024-03-02X10:00:00Z"]
)
def test_what_is_no_time(text: str) -> None:
    assert not is_date_time(text)


def test_times_of_day() -> None:
    assert is_time("08:00:00")
    assert is_time("08:00")
    assert not is_time("8")
    assert not is_time("25:00:00")
    assert not is_time("08:00:00Z")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("(503) 555-0142", ("+15035550142", None)),
        ("1.503.555.0142", ("+15035550142", None)),
        ("+1 503 555 0142", ("+15035550142", None)),
        ("503-555-0142 x12", ("+15035550142", "12")),
        ("+44 20 7946 0958", ("+442079460958", None)),
        ("ask at reception", None),
        ("911", None),
        ("", None),
    ],
)
def test_telephone_numbers(raw: str, expected: Any) -> None:
    assert normalise_phone(raw) == expected


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("020 7946 0958", "GB", ("+442079460958", None)),
        ("2079460958", "GB", ("+442079460958", None)),
        ("+1 503 555 0142", "GB", ("+15035550142", None)),
        ("604 555 0142", "CA", ("+16045550142", None)),
    ],
)
def test_a_number_without_a_country_is_of_the_region(raw: str, region: str, expected: Any) -> None:
    assert normalise_phone(raw, region) == expected


def test_a_contact_point_is_read_as_of_the_region_of_its_source() -> None:
    run = Run(MappingContext("src", region="GB"), {})
    said = {"system": "phone", "value": "020 7946 0958"}
    assert contact_point(said, "telecom", run) == {"system": "phone", "value": "+442079460958", "raw": said["value"]}


URN = "urn:uuid:0b7f6c1e-2222-4333-8444-555566667777"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"reference": "Patient/p-1"}, {"ref": "src:Patient:p-1"}),
        ({"reference": "Patient/p-1/_history/3"}, {"ref": "src:Patient:p-1"}),
        ({"reference": "Patient/a:b"}, {"ref": "src:Patient:a%3Ab"}),
        ({"reference": "https://ehr.example.org/r4/Patient/p-1"}, {"ref": "src:Patient:p-1"}),
        ({"reference": "http://EHR.example.org/r4/Patient/p-1/_history/2"}, {"ref": "src:Patient:p-1"}),
        (
            {"reference": "https://other.example.org/Patient/p-1", "display": "A"},
            {
                "identifier": {"system": "urn:ietf:rfc:3986", "value": "https://other.example.org/Patient/p-1"},
                "type": "Patient",
                "display": "A",
            },
        ),
        ({"reference": URN}, {"ref": "src:Practitioner:d-1"}),
        (
            {"reference": "urn:oid:1.2.3"},
            {"identifier": {"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3"}},
        ),
        (
            {"reference": "Practitioner?identifier=urn:example:ids|7"},
            {"identifier": {"system": "urn:example:ids", "value": "7"}, "type": "Practitioner"},
        ),
        ({"reference": "#org"}, {"type": "Organization", "display": "Harbor Mutual"}),
        (
            {"identifier": {"system": "urn:oid:2.16.840.1.113883.4.6", "value": "1234567893"}, "type": "Practitioner"},
            {"identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}, "type": "Practitioner"},
        ),
        ({"display": "Dr. Vanek"}, {"display": "Dr. Vanek"}),
        ({}, None),
    ],
)
def test_references_in_every_form(value: dict[str, Any], expected: dict[str, Any] | None) -> None:
    def resolve(text: str) -> str | None:
        return "Practitioner/d-1" if text == URN else None

    context = MappingContext("src", resolve, "https://ehr.example.org/r4/")
    contained = [{"resourceType": "Organization", "id": "org", "name": "Harbor Mutual"}]
    run = Run(context, {"contained": contained})
    assert reference(value, "subject", run) == expected
    assert run.problems == []


def test_a_file_without_a_base_takes_absolute_references_for_its_own() -> None:
    run = Run(MappingContext("src"), {})
    assert reference({"reference": "https://any.example.org/r4/Patient/p-1"}, "subject", run) == {
        "ref": "src:Patient:p-1"
    }


def test_a_contained_resource_that_is_not_there_is_a_problem() -> None:
    run = Run(MappingContext("src"), {})
    assert reference({"reference": "#gone"}, "subject", run) is None
    assert [(problem.path, problem.code) for problem in run.problems] == [("subject.reference", "bad_reference")]
