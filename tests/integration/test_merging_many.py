"""Fifty records of one person, linked one by one and taken apart again: each as it was, and written once for each."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from connector_runner.infra.database import rows
from tests.integration.merging_stack import clinic, compare, decide, everything, state, two_systems
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import phones

__all__ = ["clinic"]

MANY = 50
FAMILIES = ("Abara", "Brenninkmeyer", "Castellano", "Dvorak", "Eriksson")
GIVENS = ("Ada", "Boris", "Chiamaka", "Dietrich", "Esperanza", "Fyodor", "Guadalupe", "Hiroshi", "Ingrid", "Joaquin")
NAMES = [f"{('ehr', 'store')[number % 2]}:Patient:p{number:02}" for number in range(MANY)]
"""In one system and the other by turns: each is told what the other says."""
HEARD = "617-555-0199"


def a_record(number: int) -> dict[str, Any]:
    """Nobody takes two of these for one another."""
    born = f"19{number * 17 % 70 + 20}-{number * 5 % 12 + 1:02d}-{number * 11 % 28 + 1:02d}"
    name = [{"use": "official", "family": FAMILIES[number % 5], "given": [GIVENS[number // 5]]}]
    return a_patient(f"p{number:02}", f"617-555-{1000 + number}", birthDate=born, name=name)


def settle(clinic: Clinic, systems: tuple[System, System]) -> int:
    """Until nothing more is written; how many writes it took."""
    began = written = _writes(systems)
    while True:
        for name in ("ehr", "store"):
            clinic.poll(name, "Patient")
        compare(clinic)
        for name in ("ehr", "store"):
            clinic.flow(name)
        clinic.project()
        before, written = written, _writes(systems)
        if written == before:
            return written - began


def _writes(systems: tuple[System, System]) -> int:
    return sum(len(system.writes()) for system in systems)


def test_fifty_are_linked_written_and_taken_apart(clinic: Clinic, ehr: System, store: System) -> None:
    systems = ehr, store
    two_systems(clinic, ehr, store)
    for number in range(MANY):
        systems[number % 2].put(a_record(number))
    for name in ("ehr", "store"):
        clinic.poll(name, "Patient")
    compare(clinic)
    before, apart = everything(ehr) | everything(store), [state(clinic, name) for name in NAMES]

    for one, other in pairwise(NAMES):
        decide(clinic, one, other, same=True)
    assert settle(clinic, systems) == MANY, "each once, and nobody is made"
    outcome = clinic.say(
        canonical_id=NAMES[7],
        entity_type="patient",
        confidence=0.5,
        facts={"telecom": [{"system": "phone", "use": "home", "value": HEARD}]},
    )
    event = str(outcome.events[0]["id"])
    clinic.judge(event)
    assert settle(clinic, systems) == MANY
    assert {tuple(phones(each)) for system in systems for each in system.all("Patient")} == {(HEARD,)}
    assert len({state(clinic, name) for name in (NAMES[0], NAMES[7], NAMES[-1])}) == 1
    clinic.judge(event, approve=False)
    settle(clinic, systems)

    decide(clinic, NAMES[-2], NAMES[-1], same=False)
    settle(clinic, systems)
    assert everything(store)["p49"] == before["p49"]
    assert [state(clinic, name) for name in NAMES[-2:]] != apart[-2:]
    assert state(clinic, NAMES[-1]) == apart[-1]

    for one, other in pairwise(NAMES[:-1]):
        decide(clinic, one, other, same=False)
    # What was lent is taken back, and everybody is made in the system that they are not of; at most one write more.
    assert settle(clinic, systems) <= 3 * MANY
    after = everything(ehr) | everything(store)
    # What was heard of the seventh, and rejected once it was written, is their own affair: an operator undoes it.
    assert phones(after.pop("p07")) == [HEARD]
    assert {name: after[name] for name in before if name != "p07"} == {n: r for n, r in before.items() if n != "p07"}
    assert [state(clinic, name) for name in NAMES] == apart
    assert len(ehr.all("Patient")) == len(store.all("Patient")) == MANY
    assert {lane["state"] for name in ("ehr", "store") for lane in clinic.lanes(name)} == {"idle"}
    with clinic.database.begin(clinic.workspace) as tx:
        assert rows(tx, "SELECT code FROM quarantine WHERE status = 'open'") == []
        assert rows(tx, "SELECT reason FROM review_item WHERE status = 'pending'") == []
