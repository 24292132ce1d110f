"""The breaker, from its first fault to the request that shuts it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.resilience.breaker import Breaker, BreakerLimits

LIMITS = BreakerLimits(failures=5, first_open_s=1, most_open_s=8)


def after(outcomes: str, breaker: Breaker | None = None, now: float = 0.0, limits: BreakerLimits = LIMITS) -> Breaker:
    """``x`` is a fault, ``.`` an answer."""
    breaker = breaker or Breaker()
    for outcome in outcomes:
        breaker = breaker.failed(now, limits) if outcome == "x" else breaker.succeeded(now)
    return breaker


@pytest.mark.parametrize(
    ("outcomes", "phase"),
    [
        ("", "shut"),
        ("xxxx", "shut"),
        ("xxxxx", "open"),
        ("xxxx.xxxx", "shut"),
        ("xx." * 6 + "xx", "open"),  # more than half of the last 20
        ("x." * 10, "shut"),  # just half
        ("x." * 40, "shut"),
        ("x.x.x.x.x.x.x.x.x.xx", "open"),  # eleven of twenty
        ("xxx." * 3 + "x", "shut"),  # ten
        ("xxx." * 3 + "xx", "open"),  # eleven, whatever came before
        ("xxx." * 4 + "...x", "open"),  # thirteen of twenty
        ("." * 50 + "xxxxx", "open"),
    ],
)
def test_when_it_opens(outcomes: str, phase: str) -> None:
    assert after(outcomes).phase(0) == phase


def test_it_stays_open_for_twice_as_long_each_time() -> None:
    breaker, now, waits = after("xxxxx"), 0.0, []
    for _ in range(6):
        waits.append(breaker.wait_s(now))
        assert breaker.phase(now + waits[-1] - 0.01) == "open"
        now += waits[-1]
        assert breaker.phase(now) == "half_open"
        breaker = breaker.failed(now, LIMITS)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_one_answer_shuts_it_for_good() -> None:
    breaker = after("xxxxx").succeeded(1.0)
    assert breaker == Breaker()
    assert after("xxxx", breaker).phase(1.0) == "shut"


def test_what_was_under_way_when_it_opened_changes_nothing() -> None:
    breaker = after("xxxxx")
    assert breaker.succeeded(0.5).phase(0.5) == "open"
    late = breaker.failed(0.5, LIMITS)
    assert (late.opens, late.until) == (breaker.opens, breaker.until)


def test_a_success_is_no_news_to_a_clean_one() -> None:
    assert Breaker().clean
    assert not after("x").clean
    assert not after("x.").clean
    assert after("x" + "." * 20).clean


@given(st.text("x.", max_size=120), st.integers(1, 9))
def test_it_opens_exactly_when_the_rule_says(outcomes: str, failures: int) -> None:
    limits = BreakerLimits(failures, 1, 8)
    breaker = Breaker()
    for end in range(1, len(outcomes) + 1):
        seen = outcomes[:end]
        if seen[-1] == "x":
            breaker = breaker.failed(0, limits)
            recent = seen[-20:]
            expected = seen.endswith("x" * failures) or recent.count("x") > 10
        else:
            breaker, expected = breaker.succeeded(0), False
        if expected:
            assert breaker.phase(0) == "open"
            return
        assert breaker.phase(0) == "shut"
