"""Thousands of runs in which everything goes wrong: nothing is lost, doubled, overwritten, or too fast.

A failure names its seed and prints the run; ``python -m tests.simulation --seed N`` shows it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from tests.simulation.sabotage import MUTATIONS
from tests.simulation.sql_store import VirtualDatabase
from tests.simulation.world import Failed, on_sql, simulate

CHUNK, SEEDS = 250, 2000
SQL_CHUNK, SQL_SEEDS = 25, 100
NOTICED_WITHIN = 1000


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Workers that die by the thousand have nothing to say."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def virtual(new_database: Callable[[], str]) -> Iterator[VirtualDatabase]:
    database = VirtualDatabase(new_database())
    database.prepare()
    yield database
    database.dispose()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_or_done_twice(first: int) -> None:
    for seed in range(first, first + CHUNK):
        simulate(seed)


@pytest.mark.parametrize("first", range(0, SQL_SEEDS, SQL_CHUNK))
def test_nothing_is_lost_or_done_twice_on_sql(virtual: VirtualDatabase, first: int) -> None:
    for seed in range(first, first + SQL_CHUNK):
        simulate(seed, make_store=on_sql(virtual), small=True)


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_without_a_safeguard_it_is_noticed(name: str) -> None:
    """Each of the engine's safeguards is needed: runs fail without it."""
    for seed in range(NOTICED_WITHIN):
        try:
            simulate(seed, sabotage=MUTATIONS[name])
        except Failed:
            return
    pytest.fail(f"{NOTICED_WITHIN} runs without {name}, and nobody noticed")


def test_a_seed_tells_the_same_story_every_time() -> None:
    for seed in range(20):
        assert simulate(seed).scheduler.trace == simulate(seed).scheduler.trace


def test_the_runs_meet_what_they_are_for() -> None:
    """Not so calm that anything would pass: crashes, frozen workers, lost answers, conflicts and late writes occur."""
    seen = "\n".join(what for seed in range(150) for _, _, what in simulate(seed).scheduler.trace)
    for event in ("killed: before commit", "killed: limiter", "frozen for", "late", "twice", "answer 412", "foreign",
                  "task failed: database_unavailable", "status_503", "again", "status_401"):  # fmt: skip
        assert event in seen, event
