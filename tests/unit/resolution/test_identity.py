"""What identifies a person, and what is only in its place."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.resolution.blocking import keys
from connector_runner.resolution.identity import NPI_SYSTEM, SSN_SYSTEM, birth_date, identity_of, is_npi, mailbox, phone
from connector_runner.resolution.names import nicknames, sound, words


def patient(**state: Any) -> Any:
    return identity_of("ehr:Patient:1", "patient", state)


@pytest.mark.parametrize(
    "value",
    ["0000000000", "5555555555", "+15555555555", "123", "", "1234567890", "999-9999", "+1 000 000 0000", "unknown",
     "+44 0000000000", "00000000000", "(000) 000-0000 #201", "+11234567890", "0123456789", "987-654-3210",
     "617-555-1212", "1212121212", "617-555-5555", "n/a"],
)  # fmt: skip
def test_a_placeholder_is_no_phone(value: str) -> None:
    assert phone(value) is None


@pytest.mark.parametrize(
    ("value", "digits"),
    [("+16175550101", "6175550101"), ("(617) 555-0101", "6175550101"), ("5550101", "5550101"),
     ("+1 617-456-7890", "6174567890"), ("+442071838750", "442071838750"), ("442071838750", "442071838750"),
     ("617-555-0101 x12", "6175550101"), ("(617) 555-0101 Ext. 9", "6175550101"), ("+16175550101;ext=7", "6175550101"),
     ("617-555-0101#201", "6175550101")],
)  # fmt: skip
def test_a_phone_is_its_national_digits(value: str, digits: str) -> None:
    assert phone(value) == digits


@pytest.mark.parametrize(
    "value",
    ["test@test.com", "none@none.com", "noemail@clinic.example", "ada", "@x.example", "None@None.Example", "unknown",
     "no.email@x.example", "no-reply@x.example", "none1@mail.example", "x@x.com", "abc@abc.com", "+a@x.example",
     "ada@none.org", "ada@mail.invalid", "declined@clinic.example"],
)  # fmt: skip
def test_a_placeholder_is_no_mailbox(value: str) -> None:
    assert mailbox(value) is None


@pytest.mark.parametrize("value", ["nora@mail.example", "abcd@mail.example", "no1lin@mail.example", "ada@localhost"])
def test_a_mailbox_that_begins_like_a_placeholder_is_one(value: str) -> None:
    assert mailbox(value) == value


def test_what_follows_a_plus_is_the_same_mailbox() -> None:
    assert mailbox("Ada+clinic@Example.org") == "ada@example.org"


@pytest.mark.parametrize(
    "value",
    ["1900-01-01", "1970-01-01", "1066-05-05", "soon", None, 19820304, "", "unknown", "1900", "1900-01", "1800-01-01",
     "1899-12-31", "9999-12-31", "9999-01-01", "9999", "2099-12-31", "1753-01-01", "0001-01-01"],
)  # fmt: skip
def test_a_placeholder_is_no_birth_date(value: Any) -> None:
    assert birth_date(value) is None


@pytest.mark.parametrize("value", ["1900-01-02", "1924-02-29", "2026-01-01", "2000-01-01"])
def test_a_day_on_which_somebody_was_born_is_one(value: str) -> None:
    assert birth_date(value) == tuple(map(int, value.split("-")))


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


def numbers(*values: str, system: str = "urn:mrn") -> set[str]:
    found = patient(identifier=[{"system": system, "value": value} for value in values]).identifiers
    return {value for named, value in found if named == system}


def test_a_word_or_a_row_of_zeros_is_no_number() -> None:
    assert numbers("unknown", "N/A", "None", "000000", "9999999", " - ", "PENDING", "self-pay") == set()
    assert numbers("12345", " M0017 ") == {"12345", "M0017"}


def test_an_ssn_is_its_digits_and_one_that_was_never_given_out_is_none() -> None:
    given_out = {"219-45-6789": "219456789", "219456781": "219456781"}
    assert numbers(*given_out, system=SSN_SYSTEM) == set(given_out.values())
    others = ("000-45-6789", "666-45-6789", "219-00-6789", "219-45-0000", "xxx-xx-6789")
    assert numbers(*others, system=SSN_SYSTEM) == set()


def test_titles_are_no_names_and_a_generation_stands_apart() -> None:
    person = patient(name={"family": "Okafor MD, Jr.", "given": ["Dr. Ada", "N"]})
    assert (person.given, person.middle, person.family, person.generation) == ("ada", "n", "okafor", "jr")


def test_a_degree_by_itself_is_a_name() -> None:
    assert patient(name={"family": "Do", "given": ["Linh"]}).family == "do"
    assert patient(name={"family": "Do MD", "given": ["Linh"]}).family == "do"
    assert patient(name={"family": "Tran DO", "given": ["Linh"]}).family == "tran"
    assert patient(name={"family": "Tran", "given": ["Dr."]}).given == ""


@pytest.mark.parametrize("name", [{"given": ["Ada", "Okafor"]}, {"family": "Ada Okafor"}, {"text": "Ada Okafor"}])
def test_a_whole_name_in_one_field_is_taken_apart(name: dict[str, Any]) -> None:
    person = patient(name=name)
    assert (person.given, person.family) == ("ada", "okafor")


NOBODY = [("John", "Doe"), ("Test", "Patient"), ("Baby", "Okafor"), ("BabyBoy", "Li"), ("Unknown", "Unknown"),
          ("N/A", ""), ("None", "None"), ("XXX", "Okafor"), ("Null", "Null"), ("Not", "Available")]  # fmt: skip


@pytest.mark.parametrize(("given", "family"), NOBODY)
def test_nobody_is_told_by_such_a_name(given: str, family: str) -> None:
    number, link = {"system": "urn:mrn", "value": "M17"}, {"other": {"ref": "ehr:Patient:2"}, "type": "replaced-by"}
    said = {"name": {"family": family, "given": [given]}, "birth_date": "2024-02-03", "identifier": [number]}
    person = patient(**said)
    assert person.never
    assert keys(person) == {"i|canonical_id|ehr:Patient:1"}, "another may say that it is in its place"
    assert keys(patient(**said, link=[link])) == keys(person) | {"i|canonical_id|ehr:Patient:2"}


@pytest.mark.parametrize("state", [{}, {"birth_date": "1982-03-04", "gender": "female"}, {"name": {}, "telecom": [{}]}])
def test_a_record_that_says_too_little_is_found_by_its_own_name_alone(state: dict[str, Any]) -> None:
    assert keys(patient(**state)) == {"i|canonical_id|ehr:Patient:1"}


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
