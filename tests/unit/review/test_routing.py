"""Where judged claims go, how urgent they are, and what a correction may say: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connector_runner.kernel.errors import BadRecord
from connector_runner.review.categories import CATEGORIES, category_of, gravest, priority_of
from connector_runner.review.correcting import schema_of, wrong_with
from connector_runner.review.policy import ReviewPolicy, parsed
from connector_runner.review.routing import in_sample
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")


@pytest.mark.parametrize(
    ("entity_type", "atom", "category"),
    [
        ("patient", "name", "identity"),
        ("patient", "telecom[phone|home]", "contact"),
        ("patient", "language", "contact"),
        ("patient", "marital_status", "other"),
        ("allergy_intolerance", "note", "allergy"),
        ("medication_order", "dosage", "medication"),
        ("appointment", "start", "appointment"),
        ("something_new", "x", "other"),
    ],
)
def test_a_claim_has_a_category(entity_type: str, atom: str, category: str) -> None:
    assert category_of(entity_type, atom) == category
    assert category in CATEGORIES


def test_the_gravest_category_counts() -> None:
    assert gravest(["contact", "allergy", "other"]) == "allergy"
    assert gravest([]) == "other"


@pytest.mark.parametrize(
    ("hours", "sooner"), [(None, 0), (-1, 0), (0, 30), (24, 30), (25, 20), (72, 20), (73, 10), (168, 10), (169, 0)]
)
def test_the_nearer_the_appointment_the_sooner(hours: int | None, sooner: int) -> None:
    at = None if hours is None else NOW + timedelta(hours=hours)
    assert priority_of("contact", at, NOW) == priority_of("contact", None, NOW) - sooner


def test_no_priority_is_below_the_most_urgent() -> None:
    assert priority_of("allergy", NOW + timedelta(hours=1), NOW) == 0


def test_a_sample_is_the_same_each_time_and_about_its_share() -> None:
    ids = [f"0190-{number}" for number in range(10_000)]
    drawn = [each for each in ids if in_sample(each, 0.1)]
    assert 850 <= len(drawn) <= 1150
    assert drawn == [each for each in ids if in_sample(each, 0.1)]
    assert not any(in_sample(each, 0.0) for each in ids)
    assert all(in_sample(each, 1.0) for each in ids)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"sample": 2}, "sample"),
        ({"people": ["nonsense"]}, "people"),
        ({"sources": {"forms": "dog"}}, "sources.forms"),
        ({"unknown": 1}, "unknown"),
        ([], ""),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_the_key(document: object, where: str) -> None:
    with pytest.raises(BadRecord) as caught:
        parsed(document)
    assert (caught.value.code, caught.value.where) == ("invalid_policy", where)


def test_who_looks_at_what_a_source_says() -> None:
    policy = ReviewPolicy(sources={"forms": "person", "portal": "nobody"})
    assert policy.looked_at_by("patient", "voice_agent", None) == "judge"
    assert policy.looked_at_by("patient", "forms", None) == "person"
    assert policy.looked_at_by("patient", "forms", "portal") == "nobody", "the system goes before the kind of source"
    assert policy.looked_at_by("call", "forms", None) == "nobody"


def test_a_type_without_a_mapping_is_corrected_in_the_shape_that_it_has() -> None:
    schema = schema_of(MAPPINGS, "deal", ["stage", "amount"], {"stage": "won", "amount": 3})
    assert wrong_with(schema, {"stage": "lost", "amount": 4}) is None
    refused = wrong_with(schema, {"amount": "four"})
    assert refused is not None
    assert (refused.code, refused.where) == ("wrong_type", "corrected_data.amount")


def test_what_is_refused_tells_nothing_of_the_value() -> None:
    schema = schema_of(MAPPINGS, "patient", [], {})
    for data in ({"birth_date": "Quatermass"}, {"name": {"family": ["Quatermass"]}}, {"telecom": ["Quatermass"]}):
        refused = wrong_with(schema, data)
        assert refused is not None
        assert "Quatermass" not in f"{refused.message}{refused.where}"


@pytest.mark.parametrize("when", ["1982", "1982-03", "1982-03-04"])
def test_a_date_may_be_partial(when: str) -> None:
    assert wrong_with(schema_of(MAPPINGS, "patient", [], {}), {"birth_date": when}) is None


@pytest.mark.parametrize("when", ["82", "1982-13", "1982-02-30", "1982-3-4", "yesterday", "1982-03-04T00:00:00Z"])
def test_a_date_that_is_none_is_refused(when: str) -> None:
    refused = wrong_with(schema_of(MAPPINGS, "patient", [], {}), {"birth_date": when})
    assert refused is not None
    assert refused.where == "corrected_data.birth_date"
