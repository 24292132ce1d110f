"""A small town of known truth: the same clusters in whatever order its records come, and nobody taken for another."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.resolution.town import population
from connector_runner.infra.database import Database, rows
from connector_runner.resolution import service
from connector_runner.resolution.thresholds import SMALLEST
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


Found = tuple[set[frozenset[str]], set[tuple[frozenset[str], float, str | None]]]


def _in_between(database: Database, workspace: str, seed: int, *, counted: bool) -> Found:
    """Some records say something else first; compared and counted at any moment. Clusters, and all that might link."""
    chance = random.Random(seed)
    versions = [(name, said, 1) for name, _, said in PATIENTS]
    versions += [(name, PATIENTS[place - 1][2], 0) for place, (name, _, _) in enumerate(PATIENTS) if place % 4 == 0]
    versions += [(name, said, 0) for name, _, said in PATIENTS[1::8]]
    chance.shuffle(versions)
    versions.sort(key=lambda version: version[2] if chance.random() < 0.1 else 0.5)
    undated = {name for name, _, _ in PATIENTS[1::4]}
    for name, said, version in versions:
        unsaid = {"resourceType", "id", *(("birthDate",) if name in undated and version else ())}
        facts = {key: value for key, value in said.items() if key not in unsaid}
        say(database, workspace, name, facts, at=NOW + timedelta(hours=version))
        if chance.random() < 0.2:
            service.resolve(database, workspace, now=NOW, limit=chance.choice([1, 3, 10]))
        if counted and chance.random() < 0.1:
            service.recount(database, workspace, now=NOW, slack=0.0)
        if chance.random() < 0.1:
            service.shelve(database, workspace, turn=1)
    if counted:
        work_off(database, workspace)
    while service.resolve(database, workspace, now=NOW).compared:
        pass
    with database.begin(workspace) as tx:
        kept = rows(
            tx,
            "SELECT a.canonical_id AS one, b.canonical_id AS other, bits, held FROM pair_evidence p"
            " JOIN entity a ON a.entity_id = p.one JOIN entity b ON b.entity_id = p.other WHERE bits >= :least",
            least=SMALLEST.possible,
        )
    weighed = {(frozenset({row["one"], row["other"]}), round(row["bits"], 6), row["held"]) for row in kept}
    return grouped(database, workspace), weighed


@pytest.mark.parametrize("counted", [True, False])
def test_every_order_gives_the_same_clusters_where_caps_and_counts_are_crossed_all_the_time(
    database: Database, new_workspace: Callable[[], str], monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    monkeypatch.setattr("connector_runner.resolution.key_store.KEY_CAP", 5)
    monkeypatch.setattr("connector_runner.resolution.key_store.BROAD_CAP", 2)
    monkeypatch.setattr("connector_runner.resolution.crowds.MANY_NAMES", 1)
    monkeypatch.setattr("connector_runner.resolution.population_store.LEAST", 20)
    (one, first), (other, second) = (_in_between(database, new_workspace(), seed, counted=counted) for seed in (1, 2))
    assert first == second
    assert one == other
    assert len(one) < len(PATIENTS)
