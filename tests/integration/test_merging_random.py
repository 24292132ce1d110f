"""Whatever happens while entities are held for one: once they are apart, all is as if they never had been."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest

from connector_runner.kernel import exact_json
from tests.integration.merging_stack import a_contact, clinic, decide, said, settle, state, two_systems
from tests.integration.outbound_stack import Clinic, System, a_patient

__all__ = ["clinic"]

EHR, STORE, VOICE = "ehr:Patient:p1", "store:Patient:c1", "voice:Person:v1"
PEOPLE = (EHR, STORE, VOICE)
Step = Callable[[Clinic, System, System], None]


def edit(resource: dict[str, Any], field: str, value: str) -> dict[str, Any]:
    """As a user of the system would change it."""
    if field == "gender":
        return {**resource, "gender": value}
    kept = [each for each in resource.get("telecom", ()) if each["system"] != field]
    return {**resource, "telecom": [*kept, {"system": field, "use": "home", "value": value}]}


def edited(system: str, field: str, value: str) -> Step:
    def step(clinic: Clinic, ehr: System, store: System) -> None:
        of, ref = (ehr, "Patient/p1") if system == "ehr" else (store, "Patient/c1")
        of.put(edit(of.get(ref), field, value))

    return step


def heard(field: str, value: str) -> Step:
    def step(clinic: Clinic, ehr: System, store: System) -> None:
        said(clinic, VOICE, **({"phone": value} if field == "phone" else {field: value}))

    return step


def linked(one: str, other: str) -> Step:
    return lambda clinic, ehr, store: decide(clinic, one, other, same=True)


def a_change(chance: random.Random) -> Step:
    field = chance.choice(["phone", "phone", "gender", "email"])
    value = {
        "phone": f"617-555-0{chance.randint(100, 999)}",
        "gender": chance.choice(["female", "male", "other"]),
        "email": f"{chance.choice('abcd')}@example.org",
    }[field]
    who = chance.choice(["ehr", "store"] if field == "email" else ["ehr", "store", "voice"])
    return heard(field, value) if who == "voice" else edited(who, field, value)


def a_story(chance: random.Random) -> list[tuple[bool, Step]]:
    """Steps, each with whether it is a link."""
    pairs = chance.sample(list(combinations(PEOPLE, 2)), chance.choice([1, 2]))
    steps = [(True, linked(*pair)) for pair in pairs] + [(False, a_change(chance)) for _ in range(4)]
    chance.shuffle(steps)
    return steps


def told(clinic: Clinic, ehr: System, store: System, steps: Sequence[Step]) -> tuple[dict[str, str], list[list[str]]]:
    """Tell a story and, at its end, that all are different; the states, and what the systems hold."""
    for system in (ehr, store):
        system.reset()
    two_systems(clinic, ehr, store)
    store.put(a_contact())
    ehr.put(a_patient())
    for name in ("ehr", "store"):
        clinic.poll(name, "Patient")
    said(clinic, VOICE)
    for one, other in combinations(PEOPLE, 2):
        decide(clinic, one, other, same=False)
    for step in steps:
        step(clinic, ehr, store)
        settle(clinic, 1)
    for one, other in combinations(PEOPLE, 2):
        decide(clinic, one, other, same=False)
    settle(clinic, 4)
    held = [sorted(content(each) for each in system.all("Patient")) for system in (ehr, store)]
    return {name: state(clinic, name) for name in PEOPLE}, held


def content(resource: dict[str, Any]) -> str:
    """All but the names that a record goes by in a run of its own, and the order of what has none."""
    ours = "urn:connector-runner"
    numbers = [each for each in resource.get("identifier", ()) if not each["system"].startswith(ours)]
    kept = {key: value for key, value in resource.items() if key not in ("id", "meta")}
    lists = {"identifier": sorted(numbers, key=str), "telecom": sorted(resource.get("telecom", ()), key=str)}
    return exact_json.dumps(kept | lists)


@pytest.mark.parametrize("seed", [*range(6), 13])
def test_unmerge_undoes_merge(
    clinic: Clinic, ehr: System, store: System, new_workspace: Callable[[], str], seed: int
) -> None:
    steps = a_story(random.Random(seed))
    twin = Clinic(clinic.outbound, new_workspace())
    never = told(twin, ehr, store, [step for is_link, step in steps if not is_link])
    merged = told(clinic, ehr, store, [step for _, step in steps])
    assert merged[0] == never[0]
    assert merged[1] == never[1]
