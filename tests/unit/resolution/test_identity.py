"""What identifies a person, and what is only in its place."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.resolution.blocking import keys
from connector_runner.resolution.identity import NPI_SYSTEM, birth_date, identity_of, is_npi, mailbox, phone
from connector_runner.resolution.names import nicknames, sound, words


def patient(**state: Any) -> Any:
    return identity_of("ehr:Patient:1", "patient", state)


@pytest.mark.parametrize("value", ["0000000000", "5555555555", "+15555555555", "123", "", "1234567890", "999-9999"])
def test_a_placeholder_is_no_phone(value: str) -> None:
    assert phone(value) is None


@pytest.mark.parametrize(
    ("value", "digits"),
    [("+16175550101", "6175550101"), ("(617) 555-0101", "6175550101"), ("5550101", "5550101")],
)
def test_a_phone_is_its_national_digits(value: str, digits: str) -> None:
    assert phone(value) == digits


@pytest.mark.parametrize("value", ["test@test.com", "none@none.com", "noemail@clinic.example", "ada", "@x.example"])
def test_a_placeholder_is_no_mailbox(value: str) -> None:
    assert mailbox(value) is None


def test_what_follows_a_plus_is_the_same_mailbox() -> None:
    assert mailbox("Ada+clinic@Example.org") == "ada@example.org"


@pytest.mark.parametrize("value", ["1900-01-01", "1970-01-01", "1066-05-05", "soon", None, 19820304, ""])
def test_a_placeholder_is_no_birth_date(value: Any) -> None:
    assert birth_date(value) is None


def test_a_partial_birth_date_keeps_what_it_says() -> None:
    assert (birth_date("1982"), birth_date("1982-03")) == ((1982, 0, 0), (1982, 3, 0))


@pytest.mark.parametrize(
    ("number", "holds"), [("1234567893", True), ("1234567890", False), ("3234567893", False), ("123", False)]
)
def test_an_npi_has_a_check_digit(number: str, holds: bool) -> None:
    assert is_npi(number) is holds


def test_an_npi_that_cannot_be_is_not_compared() -> None:
    state = {"identifier": [{"system": NPI_SYSTEM, "value": "1234567890"}]}
    person = identity_of("crm:contact:1", "practitioner", state)
    assert not [value for system, value in person.identifiers if system == NPI_SYSTEM]


def test_titles_are_no_names_and_a_generation_stands_apart() -> None:
    person = patient(name={"family": "Okafor MD, Jr.", "given": ["Dr. Ada", "N"]})
    assert (person.given, person.middle, person.family, person.generation) == ("ada", "n", "okafor", "jr")


@pytest.mark.parametrize("name", [{"given": ["Ada", "Okafor"]}, {"family": "Ada Okafor"}, {"text": "Ada Okafor"}])
def test_a_whole_name_in_one_field_is_taken_apart(name: dict[str, Any]) -> None:
    person = patient(name=name)
    assert (person.given, person.family) == ("ada", "okafor")


NOBODY = [("John", "Doe"), ("Test", "Patient"), ("Baby", "Okafor"), ("BabyBoy", "Li")]


@pytest.mark.parametrize(("given", "family"), NOBODY)
def test_nobody_is_told_by_such_a_name(given: str, family: str) -> None:
    person = patient(name={"family": family, "given": [given]}, birth_date="2024-02-03")
    assert person.never
    assert keys(person) == frozenset()


@pytest.mark.parametrize("state", [{}, {"birth_date": "1982-03-04", "gender": "female"}, {"name": {}, "telecom": [{}]}])
def test_a_record_that_says_too_little_is_not_looked_for(state: dict[str, Any]) -> None:
    assert keys(patient(**state)) == frozenset()


def test_broken_state_is_no_crash() -> None:
    person = patient(name="Ada", telecom=[None, {"system": "phone", "value": 7}], address="Elm", identifier=[1, {}])
    assert person.given == ""


def test_other_scripts_have_keys() -> None:
    person = patient(name={"family": "山田", "given": ["花子"]}, birth_date="1982-03-04")
    assert (person.given, person.family) == ("花子", "山田")
    assert keys(person)


def test_names_are_folded() -> None:
    assert words("O'Brien-Núñez") == ["obrien", "nunez"]


def test_names_that_sound_alike() -> None:
    assert sound("robert") == sound("rupert") == "R163".lower()


def test_bill_may_be_william_and_is_no_bob() -> None:
    assert nicknames("bill") & nicknames("william")
    assert not nicknames("bill") & nicknames("bob")


@pytest.mark.parametrize("value", ["1982-02-31", "1982-13-01", "1982-04-31", "0000-00-00", "1900-01-01", "19820304"])
def test_a_day_that_cannot_be_is_no_date_of_birth(value: str) -> None:
    assert birth_date(value) is None
