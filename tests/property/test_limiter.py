"""Whatever a sink allows: grants used within their time never add up to more arrivals than it allows."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.resilience.limiter import Limit

limits = st.builds(
    Limit,
    per_second=st.floats(0.1, 200),
    burst=st.integers(1, 100),
    concurrency=st.just(2),
    slot_s=st.just(5.0),
)


@given(limits)
def test_the_bucket_and_the_jitter_fit_into_the_burst(limit: Limit) -> None:
    assert 1 <= limit.bucket <= limit.burst
    assert limit.interval_s >= 1 / limit.per_second - 1e-9
    assert 0 < limit.jitter_s <= 0.1


@given(limits, st.integers(1, 500))
def test_no_window_of_arrivals_is_over(limit: Limit, arrivals: int) -> None:
    """The worst case: a full bucket is granted at once, the rest as it comes, the first late and the last early."""
    span = max(0, arrivals - limit.bucket) * limit.interval_s
    window = max(0.0, span - limit.jitter_s)
    assert arrivals <= limit.burst + limit.per_second * window + 1e-6


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1), st.booleans()), max_size=60),
    st.floats(0.5, 100),
    st.integers(2, 20),
)
def test_any_use_of_grants_keeps_the_limit(
    steps: list[tuple[float, float, bool]], per_second: float, burst: int
) -> None:
    """An exact model of the script: asked at any times, used at any time within the jitter, or given back."""
    limit = Limit(per_second=per_second, burst=burst, concurrency=1, slot_s=1)
    interval, tolerance = limit.interval_s, (limit.bucket - 1) * limit.interval_s
    now, arrivals = 0.0, []
    tat = now + limit.bucket * interval
    for pause, late, used in steps:
        now += pause * interval
        if tat > now + tolerance:
            continue
        tat = max(tat, now) + interval
        if used:
            arrivals.append(now + late * limit.jitter_s)
        else:
            tat -= interval
    arrivals.sort()
    for first in range(len(arrivals)):
        for last in range(first, len(arrivals)):
            window = arrivals[last] - arrivals[first]
            assert last - first + 1 <= burst + per_second * window + 1e-6, math.log10(per_second)
