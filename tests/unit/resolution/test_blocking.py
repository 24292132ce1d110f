"""Which keys bring two records together: what strangers have in common by chance is no key by itself."""

from __future__ import annotations

from typing import Any

from connector_runner.resolution.blocking import keys, meet, place_of
from connector_runner.resolution.key_store import token, tokens
from tests.unit.resolution.test_evidence import person


def together(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return meet(person(1, **one), person(2, **other))


def test_one_phone_brings_together_whatever_the_names_are() -> None:
    assert together({"phones": ["+16175550101"]}, {"given": "Ada", "family": "Lin", "phones": ["(617) 555-0101"]})


def test_the_last_seven_digits_of_a_phone_take_a_name_besides() -> None:
    ada = {"given": "Ada", "family": "Lin", "phones": ["+16175550101"]}
    assert together(ada, {"given": "Ada", "family": "Wu", "phones": ["555-0101"]})
    assert not together(ada, {"given": "Bo", "family": "Wu", "phones": ["+14135550101"]})


def test_names_in_any_order_go_with_two_parts_of_a_date() -> None:
    ada = {"given": "Ada", "family": "Lin", "birth_date": "1982-03-14"}
    assert together(ada, {"given": "Adda", "family": "Lin", "birth_date": "1981-03-14"})
    assert together(ada, {"given": "Lin", "family": "Adah", "birth_date": "1981-03-14"})
    assert not together(ada, {"given": "Bo", "family": "Lin", "birth_date": "1981-03-14"})


def test_a_month_may_stand_for_a_day() -> None:
    ada = {"given": "Ada", "family": "Lin", "birth_date": "1982-03-04"}
    assert together(ada, {"given": "Adaeze", "family": "Wu", "birth_date": "1982-04-03"})
    assert not together(ada, {"given": "Adaeze", "family": "Wu", "birth_date": "1982-05-03"})


def test_keys_of_one_name_one_day_one_number_and_one_house_are_side_by_side() -> None:
    said: dict[str, Any] = {"given": "Ada", "family": "Lin", "birth_date": "1982-03-14", "phones": ["+16175550101"]}
    found = keys(person(1, **said, street="12 Elm Street", code="02139"))
    assert len({place_of(key) for key in found}) < len(found) - 5
    of = {key: token("patient", key) >> 32 for key in found}
    assert len(set(of.values())) == len({place_of(key) for key in found})
    assert sorted(tokens(person(1, **said, street="12 Elm Street", code="02139"))) == sorted(
        token("patient", key) for key in found
    )


def test_both_halves_of_a_token_tell_keys_apart() -> None:
    """Postgres hashes a number by its halves against each other: where they were alike, all would fall into one."""
    made = [token("patient", f"i|system|{number}") for number in range(1000)]
    assert len({(value >> 32 ^ value) & 0xFFFFFFF8 for value in made}) == len(made)


def test_strangers_of_one_name_and_town_take_more_than_that_where_both_say_when_they_were_born() -> None:
    ada = {"given": "Ada", "family": "Lin", "street": "1 Elm Street", "code": "02139"}
    elsewhere = ada | {"street": "88 Oak Avenue", "code": "10001"}
    old, young = {"birth_date": "1941-02-03"}, {"birth_date": "1999-10-11"}
    assert together(ada, elsewhere)
    assert together(ada | old, elsewhere)
    assert not together(ada | old, elsewhere | young)
    assert together(ada | old, ada | young | {"street": "88 Oak Avenue"}), "both names and a postal code"
    wu = ada | {"family": "Wu"}
    assert together(ada | old, wu | young), "a name and a house"
    assert not together(ada | old, wu | young | {"street": "88 Oak Avenue"})
    assert together(ada | old, wu | {"street": "88 Oak Avenue"})
