"""Which keys bring two records together: what strangers have in common by chance is no key by itself."""

from __future__ import annotations

from typing import Any

from connector_runner.resolution.blocking import keys
from tests.unit.resolution.test_evidence import person


def together(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(keys(person(1, **one)) & keys(person(2, **other)))


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
