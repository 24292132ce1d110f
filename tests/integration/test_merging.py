"""One person in two systems: what each is sent, that a record is made once, and that coming apart undoes it all."""

from __future__ import annotations

import time
from typing import Any

import pytest

from connector_runner.infra.database import Tx, execute, rows
from connector_runner.kernel.errors import Conflict
from connector_runner.kernel.ids import entity_id_of
from connector_runner.observability import entities as query
from connector_runner.outbound.operating import parting
from connector_runner.outbound.operating.parting import MADE_FOR_ANOTHER, NOT_TAKEN_BACK
from connector_runner.world import reading
from tests.integration.merging_stack import (
    EHR,
    STORE,
    VOICE,
    a_contact,
    asked,
    clinic,
    content,
    decide,
    everything,
    one_person_in_both,
    poll,
    said,
    settle,
    state,
    two_systems,
)
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import PATIENTS, phones

__all__ = ["clinic"]


@pytest.mark.parametrize("direction", [(EHR, STORE), (STORE, EHR)], ids=["one", "other"])
def test_merged_written_and_reverted_leaves_both_systems_as_if_never_merged(
    clinic: Clinic, ehr: System, store: System, direction: tuple[str, str]
) -> None:
    two_systems(clinic, ehr, store)
    store.put(a_contact())
    ehr.put(a_patient())
    poll(clinic)
    decide(clinic, *direction, same=False)
    apart = {name: state(clinic, name, together=False) for name in (EHR, STORE)}
    before = {"ehr": content(ehr.get("Patient/p1")), "store": content(store.get("Patient/c1"))}

    for _ in range(2):  # a second merge works as the first
        decide(clinic, *direction, same=True)
        settle(clinic)
        assert state(clinic, EHR) == state(clinic, STORE) != apart[EHR]
        assert phones(store.get("Patient/c1")) == ["617-555-0101", "ada@example.org"]
        assert phones(ehr.get("Patient/p1")) == ["617-555-0101", "ada@example.org"]
        assert {name: state(clinic, name, together=False) for name in (EHR, STORE)} == apart, "lent is not said"

        decide(clinic, *direction, same=False)
        settle(clinic)
        assert content(ehr.get("Patient/p1")) == before["ehr"]
        assert content(store.get("Patient/c1")) == before["store"]
        for name in (EHR, STORE):
            assert state(clinic, name) == state(clinic, name, together=False) == apart[name]
    with clinic.database.begin(clinic.workspace) as tx:
        repairs = rows(tx, "SELECT actor FROM audit_log WHERE action = 'outbound.repair'")
    assert repairs
    written = len(ehr.writes()), len(store.writes())
    settle(clinic)
    assert (len(ehr.writes()), len(store.writes())) == written, "it stays so"
    assert {lane["state"] for name in ("ehr", "store") for lane in clinic.lanes(name)} == {"idle"}


def test_a_create_that_a_merge_withheld_happens_when_it_is_reverted(clinic: Clinic, ehr: System, store: System) -> None:
    two_systems(clinic, ehr, store)
    store.put(a_contact())
    ehr.put(a_patient())
    poll(clinic)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    assert [each["id"] for each in ehr.all("Patient")] == ["p1"]
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert len(store.all("Patient")) == len(ehr.all("Patient")) == 2


def test_what_somebody_changed_since_is_left_and_a_person_is_asked(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    contact = store.get("Patient/c1")
    edited = [{**each, "value": "617-555-0333"} if each["system"] == "phone" else each for each in contact["telecom"]]
    store.put({**contact, "telecom": edited})
    decide(clinic, EHR, STORE, same=False)
    for name in ("ehr", "store"):
        clinic.flow(name)
    assert phones(store.get("Patient/c1")) == ["617-555-0333", "ada@example.org"]
    assert [row for row in asked(clinic) if row["code"] == NOT_TAKEN_BACK and "phone" in row["place"]]


def test_what_a_withdrawn_verdict_leaves_of_a_record_that_was_made_for_another_is_for_a_person(
    clinic: Clinic, store: System
) -> None:
    """Made for the smaller, of the other's verified word; its own was never verified."""
    clinic.source("store", store, **PATIENTS)
    small, large = sorted(VOICE, key=lambda name: entity_id_of(clinic.workspace, name))
    clinic.say(canonical_id=small, entity_type="patient", confidence=0.5, facts={"gender": "female"})
    said(clinic, large)
    decide(clinic, small, large, same=True)
    clinic.flow("store")
    assert [lane["entity_id"] for lane in clinic.lanes("store") if lane["sink_ref"]] == [
        entity_id_of(clinic.workspace, small)
    ]
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert len(store.all("Patient")) == 2, "the other has one of its own now"
    assert [row["code"] for row in asked(clinic)] == [MADE_FOR_ANOTHER]


def test_what_the_sink_says_of_its_own_accord_is_not_taken_back_as_lent(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Users of both type in the same number: whose word is the later does not make it a loan."""
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    for system, ref in ((ehr, "Patient/p1"), (store, "Patient/c1")):
        held = system.get(ref)
        typed = [{**each, "value": "617-555-0444"} if each["system"] == "phone" else each for each in held["telecom"]]
        system.put({**held, "telecom": typed})
    settle(clinic)
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == ["617-555-0444"]
    assert "617-555-0444" in state(clinic, EHR)
    assert phones(store.get("Patient/c1")) == ["617-555-0444", "ada@example.org"]


def test_a_crash_after_any_step_of_the_way_back_ends_in_the_same_place(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_person_in_both(clinic, ehr, store)
    settle(clinic)
    before = [everything(system) for system in (ehr, store)]
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    decide(clinic, EHR, STORE, same=False)
    # The answer to the first write of the way back is lost, and so is that of a later one.
    store.faults({"on": "PUT Patient", "kind": "drop_answer", "next": 1})
    ehr.faults({"on": "PUT Patient", "kind": "reset", "next": 1})
    for _ in range(6):
        settle(clinic, 1)
        time.sleep(0.4)
    assert [everything(system) for system in (ehr, store)] == before


def test_no_member_is_lost_where_words_contradict_each_other(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    ehr.put(a_patient("p2"))
    poll(clinic)
    third = "ehr:Patient:p2"
    decide(clinic, third, EHR, same=False)
    decide(clinic, third, STORE, same=True)
    decide(clinic, EHR, STORE, same=True)
    # The three cannot be one: a person keeps two of them apart. The later word joined what it could.
    with clinic.database.begin(clinic.workspace) as tx:
        together = {name: reading.view(tx, clinic.workspace, name) for name in (EHR, STORE, third)}
        assert all(view is not None for view in together.values())
        assert not any(
            {entity_id_of(clinic.workspace, EHR), entity_id_of(clinic.workspace, third)} <= set(view.members)
            for view in together.values()
            if view is not None
        )
        members = {name: view.members for name, view in together.items() if view is not None}
    for name, found in members.items():
        assert entity_id_of(clinic.workspace, name) in found, "each is a member of what it is seen as"


def test_any_member_shows_the_person(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    with clinic.database.begin(clinic.workspace) as tx:
        shown = [query.show(tx, clinic.workspace, name) for name in (EHR, STORE)]
    for field in ("state", "provenance", "members", "display_name", "phone", "email", "record_status"):
        assert shown[0][field] == shown[1][field]
    assert (shown[0]["phone"], shown[0]["email"]) == ("+16175550101", "ada@example.org")
    assert [[each["canonical_id"] for each in one["linked_entities"]] for one in shown] == [[STORE], [EHR]]
    said_by = {atom: claim["record_key"] for atom, claim in shown[0]["provenance"].items()}
    assert (said_by["telecom[phone|home]"], said_by["telecom[email|home]"]) == (EHR, STORE)


@pytest.mark.parametrize("at", ["release", "drain"])
def test_who_meets_another_at_the_lanes_begins_anew(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Postgres ends one of two transactions that wait for each other: nothing more can be done in it, nor put aside."""
    one_person_in_both(clinic, ehr, store)
    settle(clinic)
    decide(clinic, EHR, STORE, same=True)
    if at == "drain":
        clinic.release()
    ask, met = parting.ask, []

    def meets(tx: Tx, *arguments: Any) -> bool:
        if not met:
            met.append(at)
            execute(tx, "DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = 'deadlock_detected'; END $$")
        return ask(tx, *arguments)

    monkeypatch.setattr(parting, "ask", meets)
    if at == "release":
        clinic.release()
    else:
        with pytest.raises(Conflict):  # upon which the task is repeated
            clinic.drain("store")
    assert met == [at]
    settle(clinic)
    assert phones(store.get("Patient/c1")) == ["617-555-0101", "ada@example.org"]
    with clinic.database.begin(clinic.workspace) as tx:
        assert rows(tx, "SELECT code FROM quarantine") == []
