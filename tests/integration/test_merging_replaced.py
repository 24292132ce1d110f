"""Records in whose place their own system put another: whoever they are of goes on under one record in each sink."""

from __future__ import annotations

import pytest
import requests

from connector_runner.world import reading
from tests.integration.merging_stack import EHR, asked, clinic, decide, lane_of, said, settle, two_systems
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment
from tests.integration.test_drain import BOTH, phones

__all__ = ["clinic"]

VOICE = "voice:Person:v1"


def test_who_was_merged_at_the_source_goes_on_under_one_record(clinic: Clinic, ehr: System, store: System) -> None:
    """That a record is out of use, and then gone, says nothing of the person; what the sink has stays theirs."""
    two_systems(clinic, ehr, store, **BOTH)
    ehr.put(a_patient(active=True))
    ehr.put(an_appointment("a1"))
    clinic.poll("ehr", "Appointment")
    settle(clinic, 3)
    [made] = store.all("Patient")
    ehr.put(a_patient("p2", "617-555-0777", link=[{"other": {"reference": "Patient/p1"}, "type": "replaces"}]))
    gone = {"active": False, "link": [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]}
    ehr.put(a_patient(**gone))
    settle(clinic, 3)
    [kept] = store.all("Patient")
    assert (kept["id"], kept.get("active"), kept.get("link")) == (made["id"], None, None)
    written = len(ehr.writes())

    requests.delete(f"{ehr.running.base_url}/Patient/p1", timeout=10).raise_for_status()
    clinic.delete("ehr", "p1")
    ehr.put(a_patient("p2", "617-555-0778", link=[{"other": {"reference": "Patient/p1"}, "type": "replaces"}]))
    ehr.put(an_appointment("a2", "p2"))
    clinic.poll("ehr", "Appointment")
    settle(clinic, 3)
    [kept] = store.all("Patient")
    assert (kept["id"], phones(kept)) == (made["id"], ["617-555-0778"])
    booked = {each["participant"][0]["actor"]["reference"] for each in store.all("Appointment")}
    assert booked == {f"Patient/{made['id']}"}
    assert [entry["path"] for entry in ehr.writes()[written:] if entry["path"].endswith("p1")] == [
        entry["path"] for entry in ehr.writes()[written:] if entry["method"] == "DELETE"
    ]
    assert asked(clinic) == []

    decide(clinic, EHR, "ehr:Patient:p2", same=False)
    settle(clinic, 3)
    [own] = [each for each in store.all("Patient") if each["id"] != made["id"]]
    assert phones(own) == ["617-555-0778"], "who is told apart after all has a record of their own"
    assert phones(store.get(f"Patient/{made['id']}")) == ["617-555-0101"]


def test_who_was_merged_at_the_source_goes_on_once_the_old_record_is_deleted_there(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Only the record that is gone said so: the one in its place names no other."""
    two_systems(clinic, ehr, store, **BOTH)
    ehr.put(a_patient())
    ehr.put(an_appointment("a1"))
    clinic.poll("ehr", "Appointment")
    settle(clinic, 3)
    [made] = store.all("Patient")
    ehr.put(a_patient("p2"))
    ehr.put(a_patient(active=False, link=[{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]))
    settle(clinic, 3)
    requests.delete(f"{ehr.running.base_url}/Patient/p1", timeout=10).raise_for_status()
    clinic.delete("ehr", "p1")
    ehr.put(a_patient("p2", "617-555-0778"))
    settle(clinic, 3)
    [kept] = store.all("Patient")
    assert (kept["id"], phones(kept)) == (made["id"], ["617-555-0778"])
    [booked] = store.all("Appointment")
    assert booked["participant"][0]["actor"]["reference"] == f"Patient/{made['id']}"


@pytest.mark.parametrize("word", ["replaced-by", "replaces"])
def test_whom_nobody_knew_is_who_the_source_says_in_the_end(
    clinic: Clinic, ehr: System, store: System, word: str
) -> None:
    """John Doe of the emergency room, who never matches anybody by what he is called."""
    two_systems(clinic, ehr, store, **BOTH)
    doe = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Doe", "given": ["John"]}]}
    ehr.put(doe)
    ehr.put(an_appointment("a1"))
    ehr.put(a_patient("p2", "617-555-0777"))
    clinic.poll("ehr", "Appointment")
    settle(clinic, 3)
    assert len(store.all("Patient")) == 2
    if word == "replaces":
        named = [{"other": {"reference": "Patient/p1"}, "type": "replaces"}]
        ehr.put(a_patient("p2", "617-555-0777", link=named))
    named = [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]
    ehr.put(doe | {"active": False} | ({"link": named} if word == "replaced-by" else {}))
    settle(clinic, 3)
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, "ehr:Patient:p2")
    assert view is not None
    assert len(view.members) == 2
    assert view.state["name"]["family"] == "Okafor", "a name of nobody is no name of hers"
    assert {each["name"][0]["family"] for each in store.all("Patient") if each.get("active") is not False} >= {"Okafor"}


def test_a_record_that_its_system_replaced_is_not_written_beside_the_one_in_its_place(
    clinic: Clinic, ehr: System, store: System
) -> None:
    two_systems(clinic, ehr, store)
    gone = {"active": False, "link": [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]}
    ehr.put(a_patient(**gone))
    ehr.put(a_patient("p2"))
    settle(clinic)
    said(clinic, VOICE)
    for name in (EHR, "ehr:Patient:p2"):
        decide(clinic, VOICE, name, same=True)
    settle(clinic)
    assert phones(ehr.get("Patient/p2")) == ["617-555-0199"]
    assert phones(ehr.get("Patient/p1")) == ["617-555-0101"]
    lanes = {name: lane_of(clinic, "ehr", name) for name in (EHR, "ehr:Patient:p2")}
    assert all(lane is None or lane["withheld"] == [] for lane in lanes.values()), "nobody need merge them there"
