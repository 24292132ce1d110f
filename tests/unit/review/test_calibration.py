"""How right the judge is: figures that are known otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector_runner.review.calibration import Label, measured, too_wrong, wilson


def label(verdict: str, holds: bool, weight: float = 1.0, category: str = "contact") -> Label:
    score = {"supported": 0.85, "unclear": 0.5, "contradicted": 0.15}[verdict]
    return Label("v1", category, verdict, score, weight, holds)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right / of, of) == pytest.approx((low, high), abs=1e-4)


def test_precision_recall_and_brier() -> None:
    labels = [label("supported", True)] * 8 + [label("supported", False)] * 2 + [label("unclear", True)] * 4
    (found,) = measured(labels)
    assert (found.labels, found.passed) == (14, 10)
    assert found.precision == pytest.approx(0.8)
    assert found.recall == pytest.approx(8 / 12)
    assert found.brier == pytest.approx((8 * 0.15**2 + 2 * 0.85**2 + 4 * 0.5**2) / 14)


def test_what_people_see_a_sample_of_counts_for_the_rest() -> None:
    """One in ten of the passed is seen: recall is of all that was passed, and the interval of what was seen."""
    labels = [label("supported", True, weight=10)] * 9 + [label("unclear", True)] * 10
    (found,) = measured(labels)
    assert found.recall == pytest.approx(0.9)
    assert found.recall_interval is not None
    assert found.recall_interval[1] - found.recall_interval[0] > 0.3


def test_answers_that_say_the_same_may_be_counted_beforehand() -> None:
    one_by_one = [label("supported", True, weight=3)] * 7 + [label("supported", False)] * 2 + [label("unclear", True)]
    counted = [replace(each, times=one_by_one.count(each)) for each in dict.fromkeys(one_by_one)]
    assert len(counted) == 3
    (found,), (other,) = measured(counted), measured(one_by_one)
    assert (found.labels, found.passed) == (other.labels, other.passed) == (10, 9)
    assert (found.precision, found.recall, found.brier) == pytest.approx((other.precision, other.recall, other.brier))
    assert found.precision_interval == pytest.approx(other.precision_interval)
    assert too_wrong(counted, bound=0.95, least=9) == too_wrong(one_by_one, bound=0.95, least=9)
    assert too_wrong(counted, bound=0.95, least=10) is None


def test_categories_and_versions_are_apart_and_what_nobody_said_is_none() -> None:
    found = measured([label("unclear", False), label("supported", True, category="allergy")])
    assert [(each.category, each.precision, each.recall) for each in found] == [
        ("allergy", 1.0, 1.0),
        ("contact", None, None),
    ]


def test_a_category_goes_when_enough_answers_say_so() -> None:
    good, bad = [label("supported", True)] * 18, [label("supported", False)]
    assert too_wrong(good + bad, bound=0.95, least=20) is None, "too few answers"
    assert too_wrong(good + bad * 2, bound=0.95, least=20) == (20, 0.9)
    assert too_wrong(good + bad * 2, bound=0.9, least=20) is None, "it holds the bound"
    assert too_wrong([label("unclear", True)] * 50, bound=0.95, least=20) is None, "it passed nothing"
