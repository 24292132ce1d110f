"""What is ours in a body, and what must not be told by its ids and addresses."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.outbound.validation import POLICY
from tests.unit.outbound.validated import PATIENT, changed, found


def test_a_create_carries_our_identity() -> None:
    assert found(PATIENT, client_ref="ref-1") == [(POLICY, "identifier", "no_identity")]
    assert found({**PATIENT, "id": "ref-1"}, client_ref="ref-1") == []
    ours = {"system": "urn:connector-runner:entity", "value": "ref-1"}
    assert found({**PATIENT, "identifier": [ours]}, client_ref="ref-1") == []
    assert found({**PATIENT, "active": True}, PATIENT, client_ref="ref-1") == []


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        ("id", "okafor-1982", "id"),
        ("id", "19820304-x", "id"),
        ("id", "6175550101", "id"),
        ("identifier.0.system", "https://clinic.example/ada/mrn", "identifier[0].system"),
        (
            "link",
            [{"other": {"identifier": {"system": "urn:OKAFOR"}}, "type": "refer"}],
            "link[0].other.identifier.system",
        ),
    ],
)
def test_ids_and_addresses_hold_nothing_of_the_person(place: str, value: Any, path: str) -> None:
    assert [(layer, where) for layer, where, _ in found(changed(PATIENT, place, value))] == [(POLICY, path)]


def test_an_id_of_the_sinks_making_is_its_own() -> None:
    before = {**PATIENT, "id": "okafor-1982"}
    assert found({**before, "active": True}, before) == []


def test_a_digest_in_which_a_short_name_stands_by_chance_tells_nothing() -> None:
    ours = "1f0c2b9e-4ada-5d11-9c3e-0b7a54c1d2e3"
    named = {**PATIENT, "id": ours, "name": [{"family": "Okafor", "given": ["Ada"]}]}
    assert found(named, client_ref=ours) == []
    assert found(named) == [(POLICY, "id", "protected_id")]


@pytest.mark.parametrize("family", ["Lee", "Email", "Phone", "Https"])
def test_a_server_or_a_code_of_the_same_name_tells_nothing_of_a_person(family: str) -> None:
    body = {**PATIENT, "name": [{"family": family}], "telecom": [{"system": "email", "value": "a@b.example"}]}
    body |= {"identifier": [{"system": "https://phone.lee.example/mrn", "value": "M1"}]}
    assert found(body) == []
    told = {**body, "identifier": [{"system": f"https://www.example/mrn/{family}", "value": "M1"}]}
    assert found(told) == [(POLICY, "identifier[0].system", "protected_address")]
