"""Checks without a transcript: well-formed or not, and what others say of the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.review.judge.case import Case, FieldVerdict
from connector_runner.review.judge.checks import against_authority, agreement, malformed
from connector_runner.review.judge.rules import decide
from connector_runner.world.events import StoredEvent
from connector_runner.world.fold import fold
from tests.calls.cases import WORKSPACE, event_of, view_of
from tests.calls.generator import WHEN, Call

PHONE = {"system": "phone", "use": "mobile", "value": "+12125550143"}
EMAIL = {"system": "email", "value": "a@example.org"}


@pytest.mark.parametrize(
    ("entity_type", "atom", "value", "code"),
    [
        ("patient", "birth_date", "1985-03-14", None),
        ("patient", "birth_date", "1985", None),
        ("patient", "birth_date", "1985-02-30", "not_a_date"),
        ("patient", "birth_date", "14/03/1985", "not_a_date"),
        ("patient", "birth_date", 1985, "not_a_date"),
        ("patient", "birth_date", "2026-03-03", "in_the_future"),
        ("patient", "birth_date", "1899-12-31", "too_long_ago"),
        ("patient", "gender", "female", None),
        ("patient", "gender", "Female", "unknown_code"),
        ("patient", "telecom[phone|mobile]", PHONE, None),
        ("patient", "telecom[phone|mobile]", PHONE | {"value": "555"}, "not_a_number"),
        ("patient", "telecom[phone|mobile]", PHONE | {"value": 5551234567}, "wrong_type"),
        ("patient", "telecom[phone|car]", PHONE | {"use": "car"}, "unknown_code"),
        ("patient", "telecom[pigeon|]", PHONE | {"system": "pigeon"}, "unknown_code"),
        ("patient", "telecom[email|]", EMAIL, None),
        ("patient", "telecom[email|]", EMAIL | {"value": "a at example"}, "not_an_address"),
        ("patient", "telecom[email|]", EMAIL | {"value": "a@example"}, "not_an_address"),
        ("patient", "address[home]", {"use": "home", "postal_code": "62704"}, None),
        ("patient", "address[home]", {"use": "home", "postal_code": "62704-1234"}, None),
        ("patient", "address[home]", {"use": "home", "postal_code": "6270"}, "not_a_postal_code"),
        ("patient", "address[home]", {"use": "home", "postal_code": "SW1A 1AA", "country": "GB"}, None),
        ("patient", "address[car]", {"use": "car"}, "unknown_code"),
        ("patient", "address[home]", "12 Oak Street", "wrong_type"),
        ("patient", "name", {"family": "Varga", "given": ["Ida"]}, None),
        ("patient", "name", {"family": "V4rga"}, "not_a_name"),
        ("patient", "name", {"family": " "}, "wrong_type"),
        ("patient", "name", {"use": "usual"}, "wrong_type"),
        ("patient", "name", "Ida Varga", "wrong_type"),
        ("appointment", "start", "2026-04-01T10:00:00-05:00", None),
        ("appointment", "start", "tomorrow", "not_a_date"),
        ("appointment", "start", "2062-04-01T10:00:00-05:00", "out_of_range"),
        ("appointment", "status", "booked", None),
        ("appointment", "status", "maybe", "unknown_code"),
        ("encounter", "status", "maybe", None),
        ("allergy_intolerance", "criticality", "severe", "unknown_code"),
        ("patient", "favourite_colour", object, None),
    ],
)
def test_what_cannot_be_right_is_named(entity_type: str, atom: str, value: Any, code: str | None) -> None:
    assert malformed(entity_type, atom, value, WHEN) == code


def stated(facts: dict[str, Any], number: int, source: str, confidence: float) -> StoredEvent:
    event = event_of(Call(number, "first", "patient", facts, ()), source=source, confidence=confidence)
    return replace(event, entity_id="018f0000-0000-7000-9000-000000000099")


def known(mine: StoredEvent, *others: StoredEvent) -> Any:
    return fold([mine, *others], [])


@pytest.mark.parametrize(
    ("facts", "source", "confidence", "other", "code"),
    [
        ({"telecom": [PHONE]}, "fhir_import", 1.0, {"telecom": [PHONE]}, "agrees_with_authority"),
        (
            {"telecom": [PHONE]},
            "fhir_import",
            1.0,
            {"telecom": [PHONE | {"value": "(212) 555-0143"}]},
            "agrees_with_authority",
        ),
        ({"telecom": [PHONE]}, "fhir_import", 1.0, {"telecom": [PHONE | {"value": "+12125550144"}]}, None),
        ({"birth_date": "1985-03-14"}, "fhir_import", 1.0, {"birth_date": "1985-03-14"}, "agrees_with_authority"),
        ({"telecom": [PHONE]}, "forms", 0.5, {"telecom": [PHONE]}, "second_source"),
        ({"telecom": [PHONE]}, "browser", 0.7, {"telecom": [PHONE]}, "second_source"),
        ({"telecom": [PHONE]}, "text_agent", 0.5, {"telecom": [PHONE]}, None),
        ({"telecom": [PHONE]}, "scribe", 0.5, {"telecom": [PHONE]}, None),
        ({"telecom": [PHONE]}, "voice_agent", 0.5, {"telecom": [PHONE]}, None),
        ({"telecom": [PHONE]}, "forms", 0.3, {"telecom": [PHONE]}, None),
        ({"birth_date": "1985-03-14"}, "forms", 0.5, {"birth_date": "1985-03-14"}, None),
    ],
)
def test_who_else_says_the_same(
    facts: dict[str, Any], source: str, confidence: float, other: dict[str, Any], code: str | None
) -> None:
    mine = stated(facts, 1, "voice_agent", 0.5)
    before = replace(stated(other, 2, source, confidence), ingested_at=WHEN - timedelta(days=1))
    folded = known(mine, before)
    [(atom, value)] = fold([mine], []).atoms.items()
    assert agreement("patient", atom, value.winner.value, mine, folded) == code


def test_a_form_that_was_sent_out_after_a_call_bears_nothing_of_it_out_nor_the_call_the_form() -> None:
    """It may show what was heard, for the patient to send back."""
    said = stated({"telecom": [PHONE]}, 1, "voice_agent", 0.5)
    form = replace(stated({"telecom": [PHONE]}, 2, "forms", 0.5), ingested_at=WHEN + timedelta(days=1))
    folded = known(said, form)
    [(atom, value)] = fold([said], []).atoms.items()
    assert agreement("patient", atom, value.winner.value, said, folded) is None
    assert agreement("patient", atom, value.winner.value, form, folded) is None


@pytest.mark.parametrize(
    ("facts", "other", "confidence", "code"),
    [
        ({"birth_date": "1985-03-14"}, {"birth_date": "1985-03-15"}, 1.0, "against_authority"),
        ({"birth_date": "1985-03-14"}, {"birth_date": "1985-03-15"}, 0.7, None),
        ({"birth_date": "1985-03-14"}, {"birth_date": "1985-03-14"}, 1.0, None),
        ({"telecom": [PHONE]}, {"telecom": [PHONE | {"value": "+12125550144"}]}, 1.0, None),
    ],
)
def test_a_safety_field_against_authority_is_a_contradiction(
    facts: dict[str, Any], other: dict[str, Any], confidence: float, code: str | None
) -> None:
    mine = stated(facts, 1, "voice_agent", 0.5)
    folded = known(mine, stated(other, 2, "fhir_import", confidence))
    [(atom, value)] = fold([mine], []).atoms.items()
    assert against_authority("patient", atom, value.winner.value, mine, folded) == code


def test_rules_answer_for_every_atom_and_for_nothing_without_material() -> None:
    facts = {"telecom": [PHONE, EMAIL], "birth_date": "1985-02-30", "marital_status": {"text": "married"}}
    mine = stated(facts, 1, "voice_agent", 0.5)
    case = Case(WORKSPACE, mine.entity_id, "patient", (mine,), view_of(mine))
    words = [word for word in decide(case, None, None, WHEN) if isinstance(word, FieldVerdict)]
    assert {word.path: (word.verdict, word.code) for word in words} == {
        "telecom[phone|mobile]": ("unclear", "no_material"),
        "telecom[email|]": ("unclear", "no_material"),
        "birth_date": ("unclear", "not_a_date"),
        "marital_status": ("unclear", "no_material"),
    }
