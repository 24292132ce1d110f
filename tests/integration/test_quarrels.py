"""Two systems that undo each other: cut, shown, and begun anew."""

from __future__ import annotations

import pytest

from connector_runner.kernel import exact_json
from connector_runner.outbound.gating import quarrels
from connector_runner.outbound.operating import status
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import phones, spoken
from tests.integration.test_echo import a_pair, landed, only_patient, settle, title, upper


def circle(clinic: Clinic, ehr: System, store: System, rounds: int) -> list[int]:
    """The two systems normalise each in their way after a write; how many writes of ours each round took."""
    counts = []
    for _ in range(rounds):
        before = landed(ehr) + landed(store)
        for name in ("ehr", "store"):
            clinic.poll(name, "Patient")
            clinic.flow(name)
            clinic.poll(name, "Patient")
        counts.append(landed(ehr) + landed(store) - before)
        for system, change in ((ehr, upper), (store, title)):
            for patient in system.all("Patient"):
                if exact_json.dumps(change(patient)) != exact_json.dumps(patient):
                    system.put(change(patient))
    return counts


def test_two_systems_that_undo_each_other_are_cut_and_shown(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    counts = circle(clinic, ehr, store, 14)
    assert sum(counts) <= 2 * (quarrels.ALTERNATIONS + 1), counts
    assert counts[-4:] == [0, 0, 0, 0]
    stopped = [lane for lane in (clinic.lane("ehr"), clinic.lane("store")) if lane["reason"] == "ping_pong"]
    assert stopped
    assert all({"atom": "name", "code": "ping_pong"} in lane["withheld"] for lane in stopped)
    with clinic.database.begin(clinic.workspace) as tx:
        shown = [lane for lane in status.lanes(tx, clinic.workspace) if lane["reason"] == "ping_pong"]
    assert len(shown) == len(stopped)


def test_a_circle_is_one_without_the_cut(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarrels, "ALTERNATIONS", 1000)
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    assert sum(circle(clinic, ehr, store, 18)[-6:]) >= 3, "it would go on for ever"


def test_what_is_withheld_for_a_quarrel_holds_up_nothing_else_and_a_new_value_ends_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    circle(clinic, ehr, store, 12)
    clinic.judge(spoken(clinic))
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == phones(only_patient(store)) == ["617-555-0199", "ada@example.org"]
    said = clinic.say(
        canonical_id="ehr:Patient:p1",
        entity_type="patient",
        confidence=0.5,
        facts={"name": {"use": "official", "family": "Mensah", "given": ["Ada"]}},
    )
    clinic.judge(said.events[0]["id"])
    settle(clinic)
    assert [p["name"][0]["family"] for p in (ehr.get("Patient/p1"), only_patient(store))] == ["Mensah", "Mensah"]
    assert {clinic.lane("ehr")["reason"], clinic.lane("store")["reason"]} <= {"in_step", "landed"}


def test_an_operator_may_let_a_quarrel_begin_anew(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    circle(clinic, ehr, store, 12)
    [stuck] = [name for name in ("ehr", "store") if clinic.lane(name)["reason"] == "ping_pong"][:1]
    before = landed(ehr) + landed(store)
    assert status.retry(clinic.outbound, clinic.workspace, lane_ids=None, sink=stuck, actor="op").lanes == 1
    clinic.flow(stuck)
    assert landed(ehr) + landed(store) == before + 1
    assert clinic.lane(stuck)["reason"] == "landed"


def test_a_source_that_changes_its_mind_often_is_no_quarrel(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    for gender in ("female", "male") * 6:
        ehr.put(a_patient(gender=gender))
        settle(clinic, 1)
        clinic.poll("store", "Patient")
    assert only_patient(store)["gender"] == "male"
    assert landed(store) == 12
