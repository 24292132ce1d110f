"""Entities that are held for one, or told apart: two systems with a person in both, and what is done and seen there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector_runner.infra.database import rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.releasing.regrouping import subscriber as sinks_hear
from connector_runner.outbound.releasing.release import subscriber as request_release
from connector_runner.resolution import service
from connector_runner.world import reading
from connector_runner.world.service import World
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import PATIENTS

EHR, STORE = "ehr:Patient:p1", "store:Patient:c1"
MAIL = {"system": "email", "use": "home", "value": "ada@example.org"}


@pytest.fixture
def clinic(clinic: Clinic) -> Clinic:
    """Whose entities are compared when they change, as in production."""
    world = World([request_release, service.subscriber])
    return replace(clinic, outbound=replace(clinic.outbound, world=world))


def decide(clinic: Clinic, one: str, other: str, *, same: bool) -> None:
    """A person says that two are the same, or not; all that waits is compared."""
    with clinic.database.begin(clinic.workspace) as tx:
        ids = [reading.entity_id(tx, clinic.workspace, name) for name in (one, other)]
        service.decide(tx, clinic.workspace, ids[0], ids[1], same=same, actor="nurse", reason="seen", now=utc_now())
    compare(clinic)


def compare(clinic: Clinic) -> None:
    while service.resolve(clinic.database, clinic.workspace, now=utc_now(), tell=sinks_hear).more:
        pass


def state(clinic: Clinic, name: str, *, together: bool = True) -> str:
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, name, together=together)
        stored = reading.row(tx, clinic.workspace, name)
    assert view is not None
    assert stored is not None
    if not together:
        assert exact_json.dumps(stored["state"]) == exact_json.dumps(view.state)
    return exact_json.dumps(view.state)


def content(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "meta"}


def everything(system: System) -> dict[str, Any]:
    return {each["id"]: content(each) for each in system.all("Patient")}


def lane_of(clinic: Clinic, sink: str, name: str) -> dict[str, Any] | None:
    entity = entity_id_of(clinic.workspace, name)
    return next((dict(lane) for lane in clinic.lanes(sink) if lane["entity_id"] == entity), None)


def asked(clinic: Clinic) -> list[dict[str, Any]]:
    """What people are asked to put right."""
    with clinic.database.begin(clinic.workspace) as tx:
        return [dict(row) for row in rows(tx, "SELECT * FROM quarantine WHERE stage = 'repair' AND status = 'open'")]


def two_systems(clinic: Clinic, ehr: System, store: System, **more: Any) -> None:
    clinic.source("ehr", ehr, accept_from=["store"], **(more or PATIENTS))
    clinic.source("store", store, accept_from=["ehr"], **(more or PATIENTS))


def a_contact(record_id: str = "c1", **more: Any) -> dict[str, Any]:
    """The person as the store has them: an older phone, and a mail address."""
    number = {"identifier": [{"system": "urn:crm", "value": record_id}], "birthDate": "1982-03-04"}
    return a_patient(record_id, "617-555-0888", **number | more) | {
        "telecom": [{"system": "phone", "use": "home", "value": "617-555-0888"}, MAIL],
    }


def poll(clinic: Clinic) -> None:
    for name in ("ehr", "store"):
        clinic.poll(name, "Patient")


def settle(clinic: Clinic, rounds: int = 2) -> None:
    for _ in range(rounds):
        poll(clinic)
        compare(clinic)
        for name in ("ehr", "store"):
            clinic.flow(name)
        clinic.project()


def one_person_in_both(clinic: Clinic, ehr: System, store: System, **more: Any) -> None:
    """Apart: nobody links them but a person, whose word the rules do not outrank."""
    two_systems(clinic, ehr, store, **more)
    store.put(a_contact())
    ehr.put(a_patient())
    poll(clinic)
    decide(clinic, EHR, STORE, same=False)
    compare(clinic)


def said(clinic: Clinic, name: str, phone: str = "617-555-0199", **more: Any) -> str:
    """A conversation with somebody; verified by a person."""
    outcome = clinic.say(
        canonical_id=name,
        entity_type="patient",
        confidence=0.5,
        facts={
            "name": {"family": "Okafor", "given": ["Ada"]},
            "birth_date": "1982-03-04",
            "telecom": [{"system": "phone", "use": "home", "value": phone}],
            **more,
        },
    )
    event = str(outcome.events[0]["id"])
    clinic.judge(event)
    return event


VOICE = ("voice:Person:v1", "voice:Person:v2")


def two_calls(clinic: Clinic, store: System) -> list[str]:
    """Two calls of one person, whom the store does not know; the entity with the smaller id first."""
    clinic.source("store", store, **PATIENTS)
    for number, name in enumerate(VOICE):
        said(clinic, name, f"617-555-020{number}")
    return sorted(VOICE, key=lambda name: entity_id_of(clinic.workspace, name))
