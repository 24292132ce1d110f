"""People in systems with a field for each thing: what has no field is left out, what is no such thing is reported."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext, OutboundContext

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
NOWHERE = OutboundContext(resolve=lambda canonical: None)
ADA: dict[str, Any] = {"name": {"family": "Okafor", "given": ["Ada", "B"]}}


def contact(state: dict[str, Any], context: OutboundContext = NOWHERE) -> dict[str, Any]:
    mapping = MAPPINGS.outbound("crm", "patient")
    assert mapping is not None
    return mapping.render(state, context)


def facts(record: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    mapping = MAPPINGS.inbound("crm", "Contact")
    assert mapping is not None
    mapped = mapping.map({"resourceType": "Contact", "id": "1", **record}, MappingContext("crm"))
    return mapped.facts, [problem.path for problem in mapped.problems]


def test_each_field_takes_the_one_thing_that_it_stands_for() -> None:
    telecom = [
        {"system": "phone", "use": "home", "value": "+16175550101", "raw": "617-555-0101"},
        {"system": "phone", "value": "+16175550102"},
        {"system": "email", "use": "old", "value": "x@example.org"},
        {"system": "email", "use": "work", "value": "ada@example.org"},
        "617",
    ]
    addresses = [{"use": "work", "city": "Salem"}, {"use": "home", "line": ["1 Elm", "Apt 2"], "postal_code": "02118"}]
    assert contact({**ADA, "telecom": telecom, "address": addresses, "other_names": [{"family": "Obi"}]}) == {
        "resourceType": "Contact",
        "firstName": "Ada B",
        "lastName": "Okafor",
        "phone": "617-555-0101",
        "workEmail": "ada@example.org",
        "address": {"street": "1 Elm\nApt 2", "postalCode": "02118"},
    }


@pytest.mark.parametrize("state", [{}, {"name": {"given": ["Ada"]}}, {"name": "Ada"}])
def test_a_contact_needs_a_last_name(state: dict[str, Any]) -> None:
    with pytest.raises(BadRecord) as refused:
        contact(state)
    assert (refused.value.code, refused.value.where) == ("missing_field", "lastName")


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"lastName": 7}, "firstName"),
        ({"lastName": "A", "phone": 6175550101}, "email.value"),
        ({"lastName": "A", "address": "Boston"}, "address"),
        ({"lastName": "A", "address": {"city": 3}}, "address.city"),
        ({"lastName": "A", "birthDate": "1982-13-45"}, "birthDate"),
    ],
)
def test_what_is_no_such_thing_is_left_out_and_named(record: dict[str, Any], path: str) -> None:
    found, problems = facts(record)
    assert problems == [path]
    assert found.get("name", {"family": "A"}) == {"family": "A"}


def test_an_activity_refers_by_the_bare_id_and_waits_for_it() -> None:
    mapping = MAPPINGS.outbound("crm", "appointment")
    assert mapping is not None
    state = {"patient": {"ref": "ehr:Patient:p1"}, "status": "booked"}
    known = OutboundContext(resolve={"ehr:Patient:p1": "Contact/17"}.get)
    assert mapping.render(state, known).items() >= {"contactId": "17", "kind": "appointment"}.items()
    with pytest.raises(NotYet):
        mapping.render(state, NOWHERE)
    assert [d.canonical_id for d in mapping.dependencies(state) if d.required] == ["ehr:Patient:p1"]
