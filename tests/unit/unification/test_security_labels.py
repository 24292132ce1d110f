"""Security labels are facts of every mapping of FHIR, and atoms of their own; opt-outs of a CRM are yes or no."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext
from connector_runner.world.atoms import join, split

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def labels(kind: str, meta: Any) -> Any:
    mapping = MAPPINGS.inbound("fhir_r4", kind)
    assert mapping is not None
    return mapping.map({"resourceType": kind, "id": "x", "meta": meta}, MappingContext("ehr")).facts.get(
        "security_labels"
    )


@pytest.mark.parametrize("kind", ["Patient", "Appointment", "Observation", "Encounter"])
def test_labels_come_with_every_type(kind: str) -> None:
    marked = {"security": [{"system": ACT, "code": "HIV", "display": "HIV/AIDS"}, {"code": "R"}]}
    assert labels(kind, marked) == [{"system": ACT, "code": "HIV"}, {"code": "R"}]


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        (None, None),
        ({}, None),
        ({"security": []}, None),
        ("?", None),
        ({"security": "R"}, [{}]),
        ({"security": [{"code": 7}]}, [{}]),
        ({"security": {"code": "R"}}, [{"code": "R"}]),
    ],
)
def test_a_label_that_cannot_be_read_is_one_that_is_not_known(meta: Any, found: Any) -> None:
    assert labels("Patient", meta) == found


def test_each_label_is_an_atom_so_that_none_hides_another() -> None:
    ours = split({"security_labels": [{"system": ACT, "code": "HIV"}]})
    theirs = split({"security_labels": [{"system": ACT, "code": "PSY"}]})
    assert [each["code"] for each in join(ours | theirs)["security_labels"]] == ["HIV", "PSY"]


@pytest.mark.parametrize(
    ("written", "out"),
    [("true", True), ("Yes", True), ("false", False), ("0", False), ("", None), (None, None), ("since May", True)],
)
def test_what_is_no_clear_no_is_an_opt_out(written: Any, out: bool | None) -> None:
    mapping = MAPPINGS.inbound("hubspot", "contact")
    assert mapping is not None
    record = {"id": "1", "properties": {"firstname": "Ada", "do_not_call": written}}
    found = mapping.map(record, MappingContext("crm")).facts.get("opt_outs")
    assert found == (None if out is None else [{"channel": "phone", "opted_out": out}])
