"""Bad input: nothing links on what stands for a missing value, and what too many share brings nobody together."""

from __future__ import annotations

import random
from string import ascii_lowercase
from typing import Any

import pytest

from connector_runner.infra.database import Database, one
from connector_runner.resolution import service
from connector_runner.resolution.key_store import KEY_CAP
from tests.integration.test_resolution import ADA, NOW, PHONE, called, grouped, say, work_off


def _point(system: str, value: str) -> dict[str, Any]:
    return {"telecom": [{"system": system, "value": value}]}


def _number(value: str) -> dict[str, Any]:
    return {"identifier": [{"system": "urn:mrn", "value": value}]}


JUNK: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("zero phone", _point("phone", "0000000000"), _point("phone", "0000000000")),
    ("fives", called("Ada") | _point("phone", "5555555555"), called("Bo") | _point("phone", "555-555-5555")),
    ("test mail", called("Ada", "Lin") | _point("email", "test@test.com"), _point("email", "test@test.com")),
    (
        "no mail",
        called("Ada", "Lin") | _point("email", "none@none.com"),
        called("Bo") | _point("email", "none@none.com"),
    ),
    (
        "zeros abroad",
        called("Ada") | _point("phone", "+1 000 000 0000"),
        called("Ada") | _point("phone", "0000000000"),
    ),
    ("counted", called("Ada") | _point("phone", "123-456-7890"), called("Ada") | _point("phone", "+11234567890")),
    ("unknown", called("Ada") | _point("phone", "unknown"), called("Ada") | _point("phone", "unknown")),
    ("no number", called("Ada") | _number("unknown"), called("Ada") | _number("unknown")),
    ("zeros for a number", called("Ada") | _number("000000"), called("Ada") | _number("000000")),
    ("empty", {}, {}),
    ("sex alone", {"gender": "female"}, {"gender": "female"}),
    ("day alone", {"birthDate": "1982-03-04"}, {"birthDate": "1982-03-04"}),
    ("a placeholder day", called("John", "Smith") | {"birthDate": "1900-01-01"}, {"birthDate": "1900-01-01"}),
    ("9999", called("Ada", "Lin") | {"birthDate": "9999-12-31"}, called("Ada", "Lin") | {"birthDate": "9999-12-31"}),
    ("1800", called("Ada", "Lin") | {"birthDate": "1800-01-01"}, called("Ada", "Lin") | {"birthDate": "1800-01-01"}),
    ("a year", called("John", "Smith") | {"birthDate": "1982"}, called("John", "Smith") | {"birthDate": "1982"}),
    ("strangers", called("John", "Doe") | _point("phone", PHONE), called("John", "Doe") | _point("phone", PHONE)),
    ("newborns", ADA | called("Baby Girl"), ADA | called("Babygirl")),
    ("tests", ADA | called("Zztest", "Patient"), ADA | called("Zztest", "Patient")),
    ("unknown in German", ADA | called("Max", "Mustermann"), ADA | called("Max", "Mustermann")),
    ("unknown in Spanish", ADA | called("Desconocido", "Paciente"), ADA | called("Desconocido", "Paciente")),
    ("unknown in Russian", ADA | called("Неизвестный", "Пациент"), ADA | called("Неизвестный", "Пациент")),
    ("unknown in Chinese", ADA | called("", "无名氏"), ADA | called("", "无名氏")),
]


@pytest.mark.parametrize(("first", "second"), [each[1:] for each in JUNK], ids=[each[0] for each in JUNK])
def test_nothing_links_on_junk(
    database: Database, workspace: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    say(database, workspace, "ehr:Patient:1", first)
    say(database, workspace, "crm:Patient:1", second)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (called("Наталья", "Иванова"), called("Наталья", "Иванова")),
        (called("José María", "Núñez"), called("Jose Maria", "Nunez")),
        (called("美玲", "王"), {"name": [{"text": "美玲 王"}]}),
        (called("Adaeze", "Okafor"), called("Okafor", "Adaeze")),
        (called("Sinéad", "O'Brien"), called("Sinead", "OBrien")),
    ],
)
def test_names_in_other_scripts_and_orders_are_names(
    database: Database, workspace: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    rest = {name: value for name, value in ADA.items() if name != "name"}
    say(database, workspace, "ehr:Patient:1", rest | first)
    say(database, workspace, "crm:Patient:1", rest | second)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 1


def test_a_phone_that_all_share_costs_no_square(database: Database, workspace: str) -> None:
    """What holds for 10,000 records holds from the cap on: its key brings nobody together, and is counted."""
    number = KEY_CAP + 40
    shared = {"telecom": [{"system": "phone", "value": PHONE}]}
    chance = random.Random(7)
    for each in range(number):
        given, family = ("".join(chance.sample(ascii_lowercase, 9)) for _ in range(2))
        say(database, workspace, f"ehr:Patient:{each}", called(given, family) | shared)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == number
    with database.begin(workspace) as tx:
        capped = one(tx, "SELECT count(*) AS n FROM capped_key")
        crowded = one(tx, "SELECT count(*) AS n FROM crowded_phone")
    assert capped is not None
    assert crowded is not None
    assert (capped["n"] >= 1, crowded["n"]) == (True, 1)
    say(database, workspace, "crm:Patient:1", called("Zoltan", "Abernathy") | shared)
    done = service.resolve(database, workspace, now=NOW)
    assert done.pairs == 0
