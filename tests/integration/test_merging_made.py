"""Who is made in a sink where several are one: once, the smallest, and not before they were compared."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.infra.database import execute, rows
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.lanes.judging import Judging
from connector_runner.outbound.lanes.lane import HELD_AS_MEMBER, MADE_AS_MEMBER
from connector_runner.outbound.planning.members import DUPLICATE_IN_SINK, RESOLUTION_PENDING
from connector_runner.outbound.releasing import release, release_store
from connector_runner.outbound.releasing.regrouping import subscriber as sinks_hear
from connector_runner.resolution import service
from connector_runner.resolution import store as resolution_store
from connector_runner.world import reading
from tests.integration.merging_stack import (
    EHR,
    STORE,
    VOICE,
    a_contact,
    clinic,
    compare,
    decide,
    lane_of,
    one_person_in_both,
    poll,
    said,
    settle,
    two_calls,
    two_systems,
)
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, once_planned
from tests.integration.test_drain import BOTH, PATIENTS, phones

__all__ = ["clinic"]


def test_a_record_is_made_once_and_those_that_refer_to_any_member_name_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    one_person_in_both(clinic, ehr, store, **BOTH)
    decide(clinic, EHR, STORE, same=True)
    ehr.put(an_appointment("a1"))
    clinic.poll("ehr", "Appointment")
    settle(clinic)
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    [made] = store.all("Appointment")
    assert made["participant"][0]["actor"]["reference"] == "Patient/c1"


def test_of_two_that_are_one_and_not_there_the_smaller_is_made(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=True)
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    lanes = clinic.lanes("store")
    assert [lane["entity_id"] for lane in lanes if lane["sink_ref"]] == [entity_id_of(clinic.workspace, small)]
    other = lane_of(clinic, "store", large)
    assert other is None or other["reason"] in (HELD_AS_MEMBER, MADE_AS_MEMBER)


def test_nobody_is_made_before_it_was_compared(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    clinic.flow("store")
    assert store.all("Patient") == []
    assert {(lane["state"], lane["reason"]) for lane in clinic.lanes("store")} == {("waiting", RESOLUTION_PENDING)}
    assert all(lane["attempts"] == 0 for lane in clinic.lanes("store")), "waiting is no attempt"
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert len(store.all("Patient")) == 2


def test_a_newcomer_is_not_made_where_the_person_is_whose_turn_comes_later(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Compared with those alone who do not wait, it would be nobody's record, and be made a second time."""
    two_systems(clinic, ehr, store, **BOTH)
    store.put(a_contact(telecom=a_patient()["telecom"]))
    poll(clinic)
    compare(clinic)
    ehr.put(a_patient())
    poll(clinic)
    with clinic.database.begin(clinic.workspace) as tx:
        known = reading.entity_id(tx, clinic.workspace, STORE)
        resolution_store.request(tx, clinic.workspace, "patient", [known])
    service.resolve(clinic.database, clinic.workspace, now=utc_now(), limit=1, tell=sinks_hear)
    clinic.flow("store")
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    settle(clinic)
    assert [each["id"] for each in store.all("Patient")] == ["c1"]


def test_who_was_compared_while_a_drain_took_up_a_lane_that_waited_for_something_else_is_looked_at_again(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the drain commits nobody sees that it waits to be compared, and afterwards nobody else comes to tell it."""
    clinic.source("store", store, **PATIENTS)
    said(clinic, VOICE[0], "617-555-0200")
    clinic.flow("store")
    with clinic.database.begin(clinic.workspace) as tx:
        execute(tx, "UPDATE sync_lane SET state = 'ready', reason = NULL, due_at = clock_timestamp()")
        execute(tx, "DELETE FROM pending_release")
    waits = Judging.waits

    def compared_meanwhile(*arguments: Any) -> Any:
        compare(clinic)
        return waits(*arguments)

    monkeypatch.setattr(Judging, "waits", compared_meanwhile)
    clinic.drain("store")
    assert {(lane["state"], lane["reason"]) for lane in clinic.lanes("store")} == {("waiting", RESOLUTION_PENDING)}
    monkeypatch.setattr(Judging, "waits", waits)
    clinic.release()
    assert {lane["state"] for lane in clinic.lanes("store")} == {"ready"}


def test_who_was_compared_while_release_decided_to_wait_for_it_is_looked_at_at_once(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane is not there yet when the waiting are woken, and would then wait for nothing until its next recheck."""
    clinic.source("store", store, **PATIENTS)
    said(clinic, VOICE[0], "617-555-0200")
    want = release_store.want

    def compared_meanwhile(*arguments: Any) -> Any:
        compare(clinic)
        return want(*arguments)

    monkeypatch.setattr(release_store, "want", compared_meanwhile)
    assert release.release(clinic.outbound, clinic.workspace).more
    monkeypatch.setattr(release_store, "want", want)
    assert {lane["state"] for lane in clinic.lanes("store")} == {"waiting"}
    assert not release.release(clinic.outbound, clinic.workspace).more
    assert {lane["state"] for lane in clinic.lanes("store")} == {"ready"}


def test_who_waits_to_be_compared_still_is_not_looked_at_again_and_again(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=True)
    said(clinic, large, "617-555-0299")
    assert not release.release(clinic.outbound, clinic.workspace).more
    with clinic.database.begin(clinic.workspace) as tx:
        assert rows(tx, "SELECT 1 FROM pending_release") == []


def test_a_link_between_planning_and_sending_stops_the_create(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=False)
    once_planned(monkeypatch, lambda: decide(clinic, small, large, same=True))
    clinic.flow("store")
    assert len(store.all("Patient")) == 1


def test_two_that_were_made_before_the_link_are_shown_and_kept_in_step(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert len(store.all("Patient")) == 2
    decide(clinic, small, large, same=True)
    clinic.flow("store")
    assert {tuple(phones(each)) for each in store.all("Patient")} == {("617-555-0201",)}, "the later word, in both"
    assert not [each for each in store.writes() if each["method"] == "DELETE"]
    for lane in clinic.lanes("store"):
        assert DUPLICATE_IN_SINK in {item["code"] for item in lane["withheld"]}
    with clinic.database.begin(clinic.workspace) as tx:
        asked = rows(tx, "SELECT entity_id, other_id, reason FROM review_item")
    assert [item["reason"] for item in asked] == [DUPLICATE_IN_SINK]
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert {tuple(phones(each)) for each in store.all("Patient")} == {("617-555-0200",), ("617-555-0201",)}


def test_that_a_sink_has_somebody_twice_is_asked_until_it_is_answered_or_they_are_two(
    clinic: Clinic, store: System
) -> None:
    """Comparing withdraws its own questions about two who are one; this is asked because they are."""
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    decide(clinic, small, large, same=True)
    clinic.flow("store")

    def asked() -> list[tuple[str, str]]:
        with clinic.database.begin(clinic.workspace) as tx:
            return [(row["reason"], row["status"]) for row in rows(tx, "SELECT reason, status FROM review_item")]

    said(clinic, small, "617-555-0333")
    compare(clinic)
    clinic.flow("store")
    assert asked() == [(DUPLICATE_IN_SINK, "pending")]
    decide(clinic, small, large, same=False)
    assert asked() == [(DUPLICATE_IN_SINK, "expired")]
