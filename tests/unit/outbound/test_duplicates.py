"""Whether somebody of whom we heard is a record that the sink holds."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.outbound.planning.duplicates import Likeness, judge, like

ADA = {"name": {"family": "Okafor", "given": ["Ada", "Ngozi"]}, "birth_date": "1982-03-04",
       "telecom": [{"system": "phone", "use": "home", "value": "+16175550101"}]}  # fmt: skip
MRN = {"identifier": [{"system": "urn:mrn", "value": "7"}]}


def but(facts: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {key: value for key, value in (facts | changed).items() if value is not None}


def phone(value: str) -> list[dict[str, str]]:
    return [{"system": "phone", "use": "work", "value": value}]


CASES: list[tuple[str, dict[str, Any], dict[str, Any], Likeness]] = [
    ("everything agrees", ADA, ADA, Likeness.STRONG),
    ("case and spaces of a name", ADA, but(ADA, name={"family": " OKAFOR", "given": ["ada"]}), Likeness.STRONG),
    ("another use of the telephone", ADA, but(ADA, telecom=phone("+16175550101")), Likeness.STRONG),
    ("another telephone", ADA, but(ADA, telecom=phone("+16175550999")), Likeness.POSSIBLE),
    ("no telephone", ADA, but(ADA, telecom=None), Likeness.POSSIBLE),
    ("a birth date less exact, no telephone", ADA, but(ADA, birth_date="1982", telecom=None), Likeness.NONE),
    ("a birth date less exact, same telephone", ADA, but(ADA, birth_date="1982-03"), Likeness.POSSIBLE),
    ("no birth date, same telephone", ADA, but(ADA, birth_date=None), Likeness.POSSIBLE),
    ("same name in the household", ADA, but(ADA, birth_date="2012-03-04"), Likeness.NONE),
    ("a twin", ADA, but(ADA, name={"family": "Okafor", "given": ["Obi"]}), Likeness.NONE),
    ("namesakes", ADA, but(ADA, birth_date="1950-01-01", telecom=None), Likeness.NONE),
    ("nothing in common", ADA, {"name": {"family": "Mensah", "given": ["Kofi"]}}, Likeness.NONE),
    ("nothing said", {}, {}, Likeness.NONE),
    ("names of no use", but(ADA, name="Ada Okafor"), but(ADA, name="Ada Okafor"), Likeness.NONE),
    ("the same number", but(MRN, birth_date="1982-03-04"), but(MRN, birth_date="1982-03-04"), Likeness.STRONG),
    ("the same number, another name", ADA | MRN, but(ADA | MRN, name={"family": "Obi", "given": ["Ada"]}),
     Likeness.STRONG),
    ("a number of the family", ADA | MRN, but(ADA | MRN, name={"family": "Okafor", "given": ["Obi"]}),
     Likeness.POSSIBLE),
    ("a number of the family, first names alone", but(MRN, name={"given": ["Ada"]}), but(MRN, name={"given": ["Obi"]}),
     Likeness.POSSIBLE),
    ("the same number, another birth date", ADA | MRN, but(ADA | MRN, birth_date="1999-01-01"), Likeness.POSSIBLE),
    ("another number of the same system", ADA | MRN, ADA | {"identifier": [{"system": "urn:mrn", "value": "8"}]},
     Likeness.POSSIBLE),
    ("numbers of different systems", ADA | MRN, ADA | {"identifier": [{"system": "urn:ssn", "value": "7"}]},
     Likeness.STRONG),
    ("numbers of nobody", {"identifier": [{"value": "7"}]}, {"identifier": [{"value": "7"}]}, Likeness.NONE),
    ("our own number", {"identifier": [{"system": "urn:connector-runner:entity", "value": "x"}]},
     {"identifier": [{"system": "urn:connector-runner:entity", "value": "x"}]}, Likeness.NONE),
    ("put out of use", ADA, but(ADA, active=False), Likeness.POSSIBLE),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "degree"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_likeness(one: dict[str, Any], other: dict[str, Any], degree: Likeness) -> None:
    assert like(one, other) is degree


def test_one_who_is_surely_the_same_is_gone_on_with_unless_there_is_another() -> None:
    weak = but(ADA, telecom=None)
    assert judge(ADA, []) == judge(ADA, [("Patient/1", but(ADA, birth_date="1950-01-01"))])
    assert judge(ADA, []).same is None
    assert judge(ADA, [("Patient/1", ADA), ("Patient/2", {"name": None})]).same == "Patient/1"
    assert judge(ADA, [("Patient/1", ADA), ("Patient/2", ADA)]).possible == ("Patient/1", "Patient/2")
    assert judge(ADA, [("Patient/2", weak), ("Patient/1", ADA)]).possible == ("Patient/1", "Patient/2")
    assert judge(ADA, [("Patient/2", weak)]).possible == ("Patient/2",)
