"""A record lands while somebody is deciding about one that refers to it: the reference is not forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.lanes.lane_store import SqlLaneTx
from connector_runner.outbound.releasing import release_store
from connector_runner.outbound.releasing.release import FIRST_RECHECK_S, release
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import BOTH

TYPES = {"entity_types": ["patient", "encounter", "condition"]}
NAME = "voice_agent:Person:v1"
BOOKED = {"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z", "patient": {"ref": NAME}}
SEEN_AT = {"lastUpdated": "2026-11-20T10:00:00Z"}


def an_encounter() -> dict[str, Any]:
    """One whose reason is written once that is there."""
    return {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/p1"},
        "reasonReference": [{"reference": "Condition/c1"}],
        "meta": SEEN_AT,
    }


def a_condition() -> dict[str, Any]:
    active = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
    return {
        "resourceType": "Condition",
        "id": "c1",
        "clinicalStatus": {"coding": [active]},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]},
        "subject": {"reference": "Patient/p1"},
        "meta": SEEN_AT,
    }


def due_now(clinic: Clinic) -> None:
    """Whatever waits for a moment is looked at."""
    for _ in range(3):
        clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state IN ('waiting', 'ready', 'unknown')")
        clinic.execute("UPDATE open_intent SET resolve_after = now()")
        clinic.flow("store")


def once_decided(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> None:
    """``work`` is done by another worker between what a release decides and its commit."""
    want, done = release_store.want, []

    def late(tx: Tx, workspace_id: str, wishes: Any) -> Any:
        if not done:
            done.append(True)
            work()
        return want(tx, workspace_id, wishes)

    monkeypatch.setattr(release_store, "want", late)


def written_by_another(clinic: Clinic) -> None:
    """Another worker releases what is pending and writes one lane; then its slice is over."""
    release(clinic.outbound, clinic.workspace, 50)
    claims: list[bool] = []
    claim = SqlLaneTx.claim

    def once(tx: SqlLaneTx, *which: Any, **terms: Any) -> Any:
        claims.append(True)
        return claim(tx, *which, **terms) if len(claims) == 1 else None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SqlLaneTx, "claim", once)
        assert clinic.drain("store").outcomes == {"landed": 1}


def heard_of(clinic: Clinic) -> str:
    """A patient that somebody is to approve; the event."""
    facts = {
        "name": {"family": "Okafor", "given": ["Ada"]},
        "birth_date": "1982-03-04",
        "telecom": [{"system": "phone", "use": "home", "value": "617-555-0101"}],
    }
    return str(clinic.say(entity_type="patient", canonical_id=NAME, confidence=0.5, facts=facts).events[0]["id"])


def book(clinic: Clinic, **facts: Any) -> None:
    clinic.say(
        entity_type="appointment", canonical_id="manual:Appointment:a1", source="manual", confidence=0.95, facts=facts
    )


@pytest.mark.parametrize("known", [False, True])
def test_what_hangs_on_who_is_verified_while_it_is_released_goes(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """``known``: its lane was there before, and is woken; else nobody could see it, and it is looked at soon."""
    clinic.source("store", store, **BOTH)
    event = heard_of(clinic)
    clinic.flow("store")
    book(clinic, **BOOKED)
    if known:
        clinic.flow("store")
        due_now(clinic)
        lane = clinic.lane("store", "appointment")
        assert (lane["state"], lane["reason"]) == ("idle", "dependency_below_threshold")
        book(clinic, comment="bring papers")

    def verified() -> None:
        clinic.judge(event)
        written_by_another(clinic)

    once_decided(monkeypatch, verified)
    release(clinic.outbound, clinic.workspace, 50)
    lane = clinic.lane("store", "appointment")
    assert lane["state"] == ("ready" if known else "waiting")
    assert lane["due_at"] <= utc_now() + timedelta(seconds=FIRST_RECHECK_S)
    due_now(clinic)
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 1)


@pytest.mark.parametrize("asked_already", [False, True])
def test_a_reference_that_came_is_not_forgotten_by_a_release_that_looked_before(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, asked_already: bool
) -> None:
    """``asked_already``: the lane was ready when it was looked at, as by a reconciliation."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **TYPES)
    clinic.land("ehr", a_patient(meta=SEEN_AT), an_encounter())
    clinic.flow("store")
    due_now(clinic)
    lane = clinic.lane("store", "encounter")
    assert (lane["state"], "reasonReference" in store.all("Encounter")[0]) == ("idle", False)
    with clinic.database.begin(clinic.workspace) as tx:
        release_store.request_release(tx, clinic.workspace, [str(lane["entity_id"])])
    if asked_already:
        clinic.execute("UPDATE sync_lane SET state = 'ready' WHERE lane_id = :id", id=lane["lane_id"])
        clinic.execute("UPDATE sync_lane SET prio = 99 WHERE lane_id = :id", id=lane["lane_id"])

    def came() -> None:
        clinic.land("ehr", a_condition())
        written_by_another(clinic)

    once_decided(monkeypatch, came)
    release(clinic.outbound, clinic.workspace, 50)
    assert clinic.lane("store", "encounter")["state"] == "ready"
    due_now(clinic)
    assert "reasonReference" in store.all("Encounter")[0]


@pytest.mark.parametrize("state", ["unknown", "paused"])
def test_a_reference_that_came_while_a_write_was_in_doubt_is_written(
    clinic: Clinic, ehr: System, store: System, state: str
) -> None:
    """``paused``: an operator stopped the lane before its answer was looked for."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **TYPES)
    clinic.land("ehr", a_patient(meta=SEEN_AT))
    clinic.flow("store")
    store.faults({"on": "PUT Encounter", "kind": "drop_answer", "next": 1})
    clinic.land("ehr", an_encounter())
    clinic.flow("store")
    assert clinic.lane("store", "encounter")["state"] == "unknown"
    if state == "paused":
        clinic.execute("UPDATE sync_lane SET state = 'paused' WHERE entity_type = 'encounter'")
    clinic.land("ehr", a_condition())
    clinic.release()
    written_by_another(clinic)
    assert clinic.lane("store", "encounter")["state"] == state, "what is open there is settled first"
    if state == "paused":
        clinic.execute("UPDATE sync_lane SET state = 'unknown' WHERE entity_type = 'encounter'")
    due_now(clinic)
    assert clinic.lane("store", "encounter")["state"] == "idle"
    assert "reasonReference" in store.all("Encounter")[0]
