"""A small town of known truth: the same clusters in whatever order its records come, and nobody taken for another."""

from __future__ import annotations

import random
from typing import Any

import pytest

from benchmarks.resolution.town import population
from connector_runner.infra.database import Database
from connector_runner.resolution import service
from tests.integration.test_resolution import NOW, grouped, say, work_off

PATIENTS: list[tuple[str, str, dict[str, Any]]] = [
    (f"{source}:Patient:{resource['id']}", person, resource)
    for source, person, resource in population(70, seed=5)
    if resource.get("resourceType") == "Patient"
]


def _landed(database: Database, workspace: str, seed: int | None) -> set[frozenset[str]]:
    chance = random.Random(seed)
    order = list(PATIENTS)
    if seed is not None:
        chance.shuffle(order)
    for name, _, resource in order:
        said = {key: value for key, value in resource.items() if key not in ("resourceType", "id")}
        say(database, workspace, name, said)
        if seed is not None and chance.random() < 0.2:
            service.resolve(database, workspace, now=NOW, limit=chance.choice([1, 3, 10]))
        if seed is not None and chance.random() < 0.05:
            service.recount(database, workspace, now=NOW)
    work_off(database, workspace)
    return grouped(database, workspace)


@pytest.fixture(scope="module")
def first() -> dict[str, set[frozenset[str]]]:
    """The clusters of the first order that was tried."""
    return {}


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_every_order_gives_the_same_clusters(
    database: Database, workspace: str, first: dict[str, set[frozenset[str]]], seed: int | None
) -> None:
    found = _landed(database, workspace, seed)
    assert found == first.setdefault("clusters", found)
    person_of = {name: person for name, person, _ in PATIENTS}
    people = [{person_of[name] for name in members} for members in found]
    assert all(len(of) == 1 for of in people)
    joined = sum(len(members) - 1 for members in found)
    assert joined >= 0.9 * (len(PATIENTS) - len(set(person_of.values())))
