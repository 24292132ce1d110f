"""Backoff: how long, and that no two who failed together come back together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.resilience.retry import Backoff

BACKOFF = Backoff(base_s=1, cap_s=60)


def test_the_bound_doubles_up_to_the_cap() -> None:
    assert [BACKOFF.bound_s(n) for n in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]


def test_jitter_is_full() -> None:
    assert BACKOFF.pause_s(3, random=lambda: 0.0) == 0
    assert BACKOFF.pause_s(3, random=lambda: 0.5) == 2
    assert BACKOFF.pause_s(3, random=lambda: 1.0) == 4
    drawn = random.Random(7)
    pauses = [BACKOFF.pause_s(7, random=drawn.random) for _ in range(2000)]
    assert 28 < sum(pauses) / len(pauses) < 32
    assert len({round(pause) for pause in pauses}) > 50


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1e4))
def test_a_stated_time_is_waited_for_and_else_the_cap_holds(failures: int, drawn: float, stated: float) -> None:
    assert BACKOFF.pause_s(failures, random=lambda: drawn, retry_after_s=stated) >= stated
    assert BACKOFF.pause_s(failures, random=lambda: drawn) <= 60


def test_a_floor_keeps_pauses_from_being_none() -> None:
    assert Backoff(1, 60, floor=0.5).pause_s(2, random=lambda: 0.0) == 1


@pytest.mark.parametrize("wrong", [(0, 1, 0), (2, 1, 0), (1, 2, 1.5)])
def test_nonsense_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(*wrong)
