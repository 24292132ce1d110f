"""How many lanes are taken at once, and that the simulator's runs do take several."""

from __future__ import annotations

import logging

import pytest

from connector_runner.outbound.lanes.outcomes import Settled
from connector_runner.outbound.lanes.rounds import MOST, Rounds, Stride
from connector_runner.resilience.limiter import Limit
from tests.simulation.world import simulate

LANDED = Settled("landed")


def stride(per_second: float = 1000.0, *, round_s: float = 0.5, per_minute: int | None = None) -> Stride:
    return Stride.of(round_s, Limit(per_second, 5, 2, 10.0, per_minute_fixed=per_minute))


def test_the_first_goes_by_itself() -> None:
    assert stride().size == 1


def test_as_many_as_are_done_in_time() -> None:
    quick = stride()
    quick.took([LANDED], 0.1)
    assert quick.size == 5
    quick.took([LANDED] * 5, 0.1)
    assert quick.size == MOST
    slow = stride()
    slow.took([LANDED], 0.6)
    assert slow.size == 1


def test_a_slow_pace_leaves_room_for_one() -> None:
    paced = stride(per_second=4.0)
    paced.took([LANDED], 0.001)
    assert paced.size == 1


@pytest.mark.parametrize("outcome", [Settled("unknown"), Settled("refused", stop=True), Settled("fence_lost")])
def test_after_trouble_one_goes_first(outcome: Settled) -> None:
    quick = stride()
    quick.took([LANDED], 0.01)
    assert quick.size > 1
    quick.took([LANDED, outcome], 0.01)
    assert quick.size == 1


def test_where_periods_are_counted_each_goes_by_itself() -> None:
    counted = stride(per_minute=100)
    counted.took([LANDED], 0.001)
    assert counted.size == 1


def test_without_time_there_is_no_round() -> None:
    off = stride(round_s=0.0)
    off.took([LANDED], 0.0)
    assert off.size == 1


def test_the_simulator_meets_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several lanes that land, halt in the middle, lose their claim, or were planned too early."""
    seen: set[str] = set()
    send = Rounds._send

    def noted(rounds: Rounds, steps: list[object]) -> list[Settled]:
        settled = send(rounds, steps)  # type: ignore[arg-type]
        seen.update(each.outcome for each in settled)
        return settled

    monkeypatch.setattr(Rounds, "_send", noted)
    logging.disable(logging.CRITICAL)
    try:
        for seed in range(600):
            simulate(seed)
    finally:
        logging.disable(logging.NOTSET)
    assert {"landed", "unknown", "put_off", "outdated"} <= seen
