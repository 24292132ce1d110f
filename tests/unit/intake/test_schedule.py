"""When a record type is polled next."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta

import pytest

from connector_runner.intake import schedule

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("due", "now", "following"),
    [
        (0, 0, 60),
        (0, 1.9, 60),  # on its grid, though the poll took a while
        (0, -2, 60),  # a hint came early
        (0, 10, 68),  # late: the grid moves
        (0, 1000, 1058),  # long late: no polls to make up for
    ],
)
def test_a_poll_keeps_its_grid_unless_it_was_late(due: float, now: float, following: float) -> None:
    assert schedule.next_due(at(due), 60, at(now)) == at(following)


def test_what_was_due_at_once_spreads_until_nobody_waits() -> None:
    """1600 record types begin at the same moment and one worker needs 30 ms for each."""
    due = [(0.0, n) for n in range(1600)]
    clock, late = 0.0, []
    while clock < 300:
        planned, n = heapq.heappop(due)
        clock = max(clock, planned) + 0.03
        if clock > 180:
            late.append(clock - planned)
        following = schedule.next_due(at(planned), 60, at(clock))
        heapq.heappush(due, ((following - NOW).total_seconds(), n))
    assert sorted(late)[int(len(late) * 0.95)] < 5


def test_everything_is_read_when_its_time_or_its_turn_has_come() -> None:
    def reads_all(**told: object) -> bool:
        usual = {"due_at": None, "every_s": None, "full_every": None, "polls_since": 0, "fresh": False, "now": NOW}
        return schedule.reads_all(**(usual | told))  # type: ignore[arg-type]

    assert not reads_all()
    assert reads_all(every_s=60)
    assert reads_all(every_s=60, due_at=NOW)
    assert not reads_all(every_s=60, due_at=at(1))
    assert reads_all(full_every=3, fresh=True)
    assert [reads_all(full_every=3, polls_since=n) for n in range(4)] == [False, False, True, True]
    assert reads_all(full_every=3, every_s=60, due_at=NOW)


def test_a_retry_is_within_a_bound_that_doubles_and_after_what_was_stated() -> None:
    def pause_s(errors: int, random: float, stated: float | None = None) -> float:
        due = schedule.retry_due(errors, 60, NOW, retry_after_s=stated, random=lambda: random)
        return (due - NOW).total_seconds()

    assert [pause_s(n, 1) for n in (1, 2, 3, 100)] == [5, 10, 20, 300]
    assert pause_s(100, 0.5) == 150
    assert pause_s(1, 1, stated=90) == 90
