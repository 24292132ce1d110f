"""What befalls one of several that are one: withdrawn, deleted, adopted, or the middle of a chain."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import pytest

from connector_runner.infra.database import rows
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.operating import undoing
from connector_runner.outbound.operating.naming import NAMES_ANOTHER
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.world import reading
from tests.integration.merging_stack import (
    EHR,
    STORE,
    a_contact,
    asked,
    clinic,
    compare,
    content,
    decide,
    lane_of,
    one_person_in_both,
    poll,
    said,
    settle,
    state,
    two_systems,
)
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, eventually
from tests.integration.test_drain import BOTH, PATIENTS, phones
from tests.integration.test_gates import a_consent

__all__ = ["clinic"]

VOICE = "voice:Person:v1"

ASKING = {**PATIENTS, "consent": "opt_out"}
WITHDRAWN = "consent_withdrawn"


def held(ehr: System, store: System) -> list[dict[str, Any]]:
    return [content(ehr.get("Patient/p1")), content(store.get("Patient/c1"))]


def test_consent_that_one_withdrew_keeps_the_others_record_as_it_is(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store, **ASKING)
    clinic.land("ehr", a_consent("inactive"))
    before = held(ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    assert held(ehr, store) == before, "neither is told of the other"
    lanes = [lane_of(clinic, "ehr", EHR), lane_of(clinic, "store", STORE)]
    assert [lane and lane["reason"] for lane in lanes] == [WITHDRAWN, WITHDRAWN]
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert held(ehr, store) == before
    made = lane_of(clinic, "ehr", STORE)
    assert made is not None
    assert made["sink_ref"] is not None, "who withdrew nothing is made where they were not"
    kept = lane_of(clinic, "store", EHR)
    assert kept is None or (kept["sink_ref"], kept["reason"]) == (None, WITHDRAWN)


def test_what_was_lent_before_consent_was_withdrawn_is_still_taken_back(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """To take another person's word out of a record shares nothing: it is no matter of consent."""
    one_person_in_both(clinic, ehr, store, **ASKING)
    before, apart = held(ehr, store), [state(clinic, name) for name in (EHR, STORE)]
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    lent = held(ehr, store)
    assert lent != before
    clinic.land("ehr", a_consent("inactive"))
    ehr.put({**ehr.get("Patient/p1"), "gender": "other"})
    settle(clinic)
    assert phones(store.get("Patient/c1")) == ["617-555-0101", "ada@example.org"]
    assert content(store.get("Patient/c1")) == lent[1], "nothing more after the withdrawal"
    ehr.put({**ehr.get("Patient/p1"), "gender": "female"})
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert held(ehr, store) == before
    assert [state(clinic, name) for name in (EHR, STORE)] == apart


NEVER_MADE: dict[str, dict[str, Any]] = {
    "incomplete": {"entity_types": {"patient": {"required": ["address"]}, "appointment": {}}},
    "withdrawn": {**BOTH, "consent": "opt_out"},
}


@pytest.mark.parametrize("why", NEVER_MADE)
def test_a_person_is_asked_about_what_stays_under_the_other_persons_record(
    clinic: Clinic, ehr: System, store: System, why: str
) -> None:
    two_systems(clinic, ehr, store)
    clinic.source("store", store, accept_from=["ehr"], **NEVER_MADE[why])
    store.put(a_contact())
    ehr.put(a_patient())
    ehr.put(an_appointment("a1"))
    clinic.poll("ehr", "Appointment")
    settle(clinic, 1)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    [made] = store.all("Appointment")
    assert made["participant"][0]["actor"]["reference"] == "Patient/c1"
    assert asked(clinic) == []

    if why == "withdrawn":
        clinic.land("ehr", a_consent("inactive"))
    decide(clinic, EHR, STORE, same=False)
    assert eventually(lambda: bool(settle(clinic, 1) or asked(clinic)), within_s=8.0)
    [question] = asked(clinic)
    lane = next(lane for lane in clinic.lanes("store") if lane["entity_type"] == "appointment")
    assert (question["code"], question["subject"]) == (NAMES_ANOTHER, lane["lane_id"])
    assert question["place"] == "participant, patient"
    assert question["context"] == {
        "lane_id": lane["lane_id"],
        "entity_id": lane["entity_id"],
        "sink_ref": f"Appointment/{made['id']}",
        "names": entity_id_of(clinic.workspace, STORE),
        "should_name": entity_id_of(clinic.workspace, EHR),
    }
    clinic.execute("UPDATE quarantine SET status = 'discarded' WHERE code = :code", code=NAMES_ANOTHER)
    clinic.execute("UPDATE sync_lane SET due_at = clock_timestamp() WHERE lane_id = :lane", lane=lane["lane_id"])
    settle(clinic)
    assert asked(clinic) == [], "what a person has seen to is not asked again"

    clinic.execute("UPDATE quarantine SET status = 'open' WHERE code = :code", code=NAMES_ANOTHER)
    if why == "withdrawn":
        clinic.land("ehr", a_consent(at=11))
    else:
        ehr.put({**ehr.get("Patient/p1"), "address": [{"line": ["12 Elm Street"], "city": "Boston"}]})
    settle(clinic, 3)
    [made] = store.all("Appointment")
    assert made["participant"][0]["actor"]["reference"] not in ("Patient/c1", "")
    assert asked(clinic) == [], "it names who it is of"


def test_nobody_is_asked_while_the_right_record_is_being_made(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store, **BOTH)
    decide(clinic, EHR, STORE, same=True)
    ehr.put(an_appointment("a1"))
    clinic.poll("ehr", "Appointment")
    settle(clinic)
    decide(clinic, EHR, STORE, same=False)
    settle(clinic, 3)
    [made] = store.all("Appointment")
    assert made["participant"][0]["actor"]["reference"] != "Patient/c1"
    with clinic.database.begin(clinic.workspace) as tx:
        assert rows(tx, "SELECT 1 FROM quarantine WHERE code = :code", code=NAMES_ANOTHER) == []


CHAIN = ("ehr:Patient:p1", "voice:Person:v1", "store:Patient:c1")
PARTED = list(permutations(combinations(CHAIN, 2)))


def members(clinic: Clinic, name: str) -> set[str]:
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, name)
    assert view is not None
    names = {entity_id_of(clinic.workspace, each): each for each in CHAIN}
    return {names[member] for member in view.members}


def chained(clinic: Clinic, ehr: System, store: System) -> None:
    """Three that people keep apart, for whom two links are made: the middle is one with either."""
    one_person_in_both(clinic, ehr, store)
    said(clinic, VOICE)
    for two in combinations(CHAIN, 2):
        decide(clinic, *two, same=False)


@pytest.mark.parametrize("order", PARTED)
def test_a_chain_comes_apart_link_by_link_in_any_order_and_nobody_is_lost(
    clinic: Clinic, ehr: System, store: System, order: tuple[tuple[str, str], ...]
) -> None:
    chained(clinic, ehr, store)
    apart = {name: state(clinic, name) for name in CHAIN}
    for two in combinations(CHAIN, 2):
        decide(clinic, *two, same=True)
    assert [members(clinic, name) for name in CHAIN] == [set(CHAIN)] * 3
    assert len({state(clinic, name) for name in CHAIN}) == 1
    settle(clinic, 1)
    for two in order:
        decide(clinic, *two, same=False)
        seen = {name: members(clinic, name) for name in CHAIN}
        for name, together in seen.items():
            assert name in together, "each is a member of what it is seen as"
            assert all(seen[other] == together for other in together), "and all of those see the same"
        assert not any(set(two) <= together for together in seen.values())
    assert seen == {name: {name} for name in CHAIN}
    assert {name: state(clinic, name) for name in CHAIN} == apart


def test_of_a_record_that_was_made_for_one_after_the_other_nothing_is_left_of_either(
    clinic: Clinic, store: System
) -> None:
    """What takes the second one's word out brings back what was lent before it: that goes as well."""
    clinic.source("store", store, **PATIENTS)
    names = sorted(("voice:Person:v1", "voice:Person:v2"), key=lambda name: entity_id_of(clinic.workspace, name))
    for number, name in enumerate((*names, "voice:Person:v3")):
        mail = {"system": "email", "use": ("home", "work", "temp")[number], "value": f"m{number}@example.org"}
        said(clinic, name, telecom=[mail])
    for two in combinations((*names, "voice:Person:v3"), 2):
        decide(clinic, *two, same=False)
    decide(clinic, *names, same=True)
    clinic.flow("store")
    decide(clinic, *names, same=False)
    decide(clinic, names[0], "voice:Person:v3", same=True)
    settle_one(clinic)
    decide(clinic, names[0], "voice:Person:v3", same=False)
    settle_one(clinic)
    assert sorted(map(phones, store.all("Patient"))) == [[f"m{number}@example.org"] for number in range(3)]


def settle_one(clinic: Clinic) -> None:
    for _ in range(3):
        clinic.poll("store", "Patient")
        compare(clinic)
        clinic.flow("store")


@pytest.mark.parametrize("gone", [EHR, STORE])
def test_who_is_one_with_a_deleted_record_is_there_still_and_the_rest_stay_together(
    clinic: Clinic, ehr: System, store: System, gone: str
) -> None:
    chained(clinic, ehr, store)
    for two in combinations(CHAIN, 2):
        decide(clinic, *two, same=True)
    settle(clinic, 1)
    source, _, record = gone.split(":")
    clinic.delete(source, record)
    compare(clinic)
    left = [name for name in CHAIN if name != gone]
    seen = {name: members(clinic, name) for name in CHAIN}
    assert all(set(left) <= seen[name] for name in left)
    assert all(name in together for name, together in seen.items())
    with clinic.database.begin(clinic.workspace) as tx:
        views = {name: reading.view(tx, clinic.workspace, name) for name in CHAIN}
    assert {name: view.own_status for name, view in views.items() if view is not None} == {
        name: "deleted" if name == gone else "active" for name in CHAIN
    }
    assert state(clinic, left[0]) == state(clinic, left[1])
    for two in combinations(CHAIN, 2):
        decide(clinic, *two, same=False)
    assert {name: members(clinic, name) for name in CHAIN} == {name: {name} for name in CHAIN}


def test_who_is_one_with_a_record_is_one_with_whoever_adopts_it(clinic: Clinic, ehr: System, store: System) -> None:
    """Nobody who was linked to the record is left behind by its entity's going; the later word holds."""
    chained(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    assert members(clinic, EHR) == {EHR, STORE}
    voice = entity_id_of(clinic.workspace, VOICE)
    with clinic.database.begin(clinic.workspace) as tx:
        clinic.outbound.world.adopt(tx, clinic.workspace, STORE, voice, clinic.ids["store"], now=utc_now())
    compare(clinic)
    assert members(clinic, EHR) == members(clinic, VOICE) == members(clinic, STORE) == {EHR, VOICE}
    assert state(clinic, EHR) == state(clinic, VOICE) == state(clinic, STORE)
    assert "ada@example.org" in state(clinic, EHR), "what the adopted record says is said still"
    with clinic.database.begin(clinic.workspace) as tx:
        lost = rows(tx, "SELECT 1 FROM cluster_member m LEFT JOIN entity e USING (entity_id) WHERE e.entity_id IS NULL")
    assert lost == []


@pytest.mark.parametrize("undone", [False, True])
def test_of_two_who_lent_to_one_record_nothing_is_left_whichever_goes_first(
    clinic: Clinic, ehr: System, store: System, undone: bool
) -> None:
    """What the first one lent lies beneath what the second one did: it comes to light when that is taken back."""
    one_person_in_both(clinic, ehr, store)
    before, apart = content(ehr.get("Patient/p1")), state(clinic, EHR)
    store.put(a_contact() | {"telecom": [{"system": "phone", "use": "home", "value": "617-555-0777"}]})
    poll(clinic)
    for two in combinations(CHAIN, 2):
        decide(clinic, *two, same=True)
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == ["617-555-0777"]
    said(clinic, VOICE)
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == ["617-555-0199"]
    for name in (EHR, VOICE):
        decide(clinic, STORE, name, same=False)
    settle(clinic, 3)
    assert phones(ehr.get("Patient/p1")) == ["617-555-0199"]
    if undone:
        chosen = Selection(entity_id=entity_id_of(clinic.workspace, EHR), sink="ehr")
        [found] = undoing.survey(clinic.outbound, clinic.workspace, chosen)
        assert "617-555-0777" not in str(found)
        assert undoing.ask(clinic.outbound, clinic.workspace, chosen, actor="op").lanes == 1
        settle(clinic)
        assert content(ehr.get("Patient/p1")) == before
    decide(clinic, EHR, VOICE, same=False)
    settle(clinic, 3)
    assert content(ehr.get("Patient/p1")) == before
    assert state(clinic, EHR) == apart
    assert asked(clinic) == []
