"""A link, a deletion of one of the two, and the link's taking back, with or without writes in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import requests

from connector_runner.infra.database import rows
from connector_runner.kernel.ids import entity_id_of
from tests.integration.merging_stack import (
    EHR,
    MAIL,
    STORE,
    a_contact,
    clinic,
    compare,
    content,
    decide,
    lane_of,
    one_person_in_both,
    poll,
    settle,
    state,
    two_systems,
)
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, eventually
from tests.integration.test_drain import BOTH, phones

__all__ = ["clinic"]

PLACE = {EHR: ("ehr", "p1"), STORE: ("store", "c1")}


def left_open(clinic: Clinic) -> list[Any]:
    """What people are asked, and lanes that are not at rest."""
    with clinic.database.begin(clinic.workspace) as tx:
        asked = rows(tx, "SELECT stage, code, place FROM quarantine WHERE status = 'open'")
    busy = [lane for name in ("ehr", "store") for lane in clinic.lanes(name) if lane["state"] != "idle"]
    return [*asked, *busy]


@pytest.mark.parametrize(("gone", "before", "after"), list(product(PLACE, (0, 2), (0, 2))))
def test_who_is_left_after_a_link_a_deletion_and_a_revert_is_as_if_never_linked(
    clinic: Clinic, ehr: System, store: System, gone: str, before: int, after: int
) -> None:
    """``before`` and ``after`` the deletion so much is written."""
    one_person_in_both(clinic, ehr, store)
    systems = {"ehr": ehr, "store": store}
    left = next(name for name in PLACE if name != gone)
    ref = f"Patient/{PLACE[left][1]}"
    held, apart = content(systems[PLACE[left][0]].get(ref)), state(clinic, left)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic, before)
    name, record = PLACE[gone]
    requests.delete(f"{systems[name].running.base_url}/Patient/{record}", timeout=10).raise_for_status()
    clinic.delete(name, record)
    compare(clinic)
    settle(clinic, after)
    decide(clinic, EHR, STORE, same=False)
    settle(clinic, 4)
    assert content(systems[PLACE[left][0]].get(ref)) == held
    assert state(clinic, left) == state(clinic, left, together=False) == apart
    assert [each["id"] for each in systems[PLACE[left][0]].all("Patient")] == [PLACE[left][1]]
    copies = systems[name].all("Patient")
    assert [sorted(phones(each)) for each in copies] == [sorted(phones(held))], "a record of their own there"
    assert left_open(clinic) == []


def test_what_was_lent_to_a_record_that_is_gone_is_no_matter_once_that_is_known(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Until then a person is asked, as the sink says that it is gone."""
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    requests.delete(f"{store.running.base_url}/Patient/c1", timeout=10).raise_for_status()
    decide(clinic, EHR, STORE, same=False)
    clinic.flow("store")
    asked = lane_of(clinic, "store", STORE)
    assert asked is not None
    assert (asked["state"], asked["reason"]) == ("quarantined", "http_410_deleted")
    clinic.delete("store", "c1")
    compare(clinic)
    settle(clinic)
    assert [item["code"] for item in left_open(clinic)] == ["http_410_deleted"], "the lane itself has come to rest"
    assert phones(ehr.get("Patient/p1")) == ["617-555-0101"]


def named_in(ehr: System) -> list[str]:
    [made] = ehr.all("Appointment")
    return [each["actor"]["reference"] for each in made["participant"]]


@pytest.mark.parametrize("written", [True, False])
def test_what_refers_to_a_person_does_not_name_a_record_of_theirs_that_is_gone(
    clinic: Clinic, ehr: System, store: System, written: bool
) -> None:
    """The EHR had the person under a record that it deleted; the store's visit names the one that is made instead."""
    one_person_in_both(clinic, ehr, store, **BOTH)
    decide(clinic, EHR, STORE, same=True)
    store.put(an_appointment("a1", "c1"))
    clinic.poll("store", "Appointment")
    if written:
        settle(clinic)
        assert named_in(ehr) == ["Patient/p1"]
    requests.delete(f"{ehr.running.base_url}/Patient/p1", timeout=10).raise_for_status()
    clinic.delete("ehr", "p1")
    compare(clinic)
    settle(clinic, 3)
    [made] = ehr.all("Patient")
    assert eventually(lambda: bool(settle(clinic, 1)) or named_in(ehr) == [f"Patient/{made['id']}"], within_s=4)
    decide(clinic, EHR, STORE, same=False)
    settle(clinic, 3)
    assert named_in(ehr) == [f"Patient/{made['id']}"]
    assert left_open(clinic) == []


PHONE = {"system": "phone", "use": "home", "value": "617-555-0444"}
LATER = PHONE | {"value": "617-555-0555"}
WORK = {"system": "email", "use": "work", "value": "ada@work.example"}
SAID: dict[str, list[dict[str, list[Any]]]] = {
    "said by nobody else": [{"ehr": [PHONE, WORK]}],
    "sent and overtaken": [{"ehr": [PHONE]}, {"store": [LATER, MAIL]}],
    "never sent": [{"ehr": [PHONE, WORK], "store": [LATER]}],
    "withdrawn": [{"ehr": [PHONE, WORK]}, {"ehr": [WORK]}],
}
"""What they say, one after the other, while they are linked: now and then all of it is written."""


def copies(ehr: System, store: System) -> list[list[Any]]:
    """How people are reached, by the records of both systems."""
    return [
        sorted(sorted(item["value"] for item in each.get("telecom", ())) for each in system.all("Patient"))
        for system in (ehr, store)
    ]


def told(clinic: Clinic, ehr: System, store: System, said: Sequence[dict[str, list[Any]]], *, linked: bool) -> Any:
    for system in (ehr, store):
        system.reset()
    one_person_in_both(clinic, ehr, store)
    settle(clinic)
    assert [len(system.all("Patient")) for system in (ehr, store)] == [2, 2], "each has a copy of the other's"
    if linked:
        decide(clinic, EHR, STORE, same=True)
        settle(clinic)
    for together in said:
        for name, telecom in together.items():
            system, record = (ehr, a_patient()) if name == "ehr" else (store, a_contact())
            system.put(record | {"telecom": telecom})
        settle(clinic)
    requests.delete(f"{ehr.running.base_url}/Patient/p1", timeout=10).raise_for_status()
    clinic.delete("ehr", "p1")
    compare(clinic)
    settle(clinic)
    decide(clinic, EHR, STORE, same=False)
    settle(clinic, 4)
    assert {lane["state"] for name in ("ehr", "store") for lane in clinic.lanes(name)} == {"idle"}
    written = len(store.writes())
    settle(clinic)
    assert len(store.writes()) == written, "it stays so"
    return copies(ehr, store), state(clinic, STORE)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_a_copy_of_a_record_that_was_deleted_while_it_was_linked_is_as_if_it_never_had_been(
    clinic: Clinic, ehr: System, store: System, new_workspace: Callable[[], str], said: Any
) -> None:
    """It outlives its record with what that said last, whatever was written there for the other one since."""
    never = told(Clinic(clinic.outbound, new_workspace()), ehr, store, said, linked=False)
    assert told(clinic, ehr, store, said, linked=True) == never


@pytest.mark.parametrize("after", [0, 2])
def test_a_copy_that_was_made_of_two_is_that_of_the_one_whose_it_is_though_that_is_deleted(
    clinic: Clinic, ehr: System, store: System, after: int
) -> None:
    two_systems(clinic, ehr, store)
    numbers = {"p1": "617-555-0101", "p2": "617-555-0102"}
    for record, number in numbers.items():
        ehr.put(a_patient(record, number))
    poll(clinic)
    people = [f"ehr:Patient:{record}" for record in numbers]
    decide(clinic, *people, same=True)
    settle(clinic)
    [made] = store.all("Patient")
    assert said_of(made) == ["617-555-0102", "MRN-p1", "MRN-p2"]
    gone = min(people, key=lambda name: entity_id_of(clinic.workspace, name)).rpartition(":")[2]
    requests.delete(f"{ehr.running.base_url}/Patient/{gone}", timeout=10).raise_for_status()
    clinic.delete("ehr", gone)
    compare(clinic)
    settle(clinic, after)
    decide(clinic, *people, same=False)
    settle(clinic, 4)
    held = {each["id"]: said_of(each) for each in store.all("Patient")}
    assert held.pop(made["id"]) == [numbers.pop(gone), f"MRN-{gone}"]
    assert list(held.values()) == [[number, f"MRN-{record}"] for record, number in numbers.items()]
    assert left_open(clinic) == []


def said_of(patient: dict[str, Any]) -> list[str]:
    """How they are reached, and their numbers in the EHR."""
    return phones(patient) + sorted(each["value"] for each in patient["identifier"] if each["system"] == "urn:mrn")
