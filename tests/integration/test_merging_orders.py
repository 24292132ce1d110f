"""A link, a deletion of one of the two, and the link's taking back, with or without writes in between."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import requests

from connector_runner.infra.database import rows
from tests.integration.outbound_stack import Clinic, System, an_appointment, eventually
from tests.integration.test_drain import BOTH, phones
from tests.integration.test_merging import (
    EHR,
    STORE,
    clinic,
    compare,
    content,
    decide,
    lane_of,
    one_person_in_both,
    settle,
    state,
)

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
