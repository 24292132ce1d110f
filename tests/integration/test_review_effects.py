"""What an answer does to what is on its way out: revived, or stopped, with simulated systems."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.infra.database import execute, rows
from connector_runner.kernel.clock import parse_instant, utc_now
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.operating import undoing
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.review import items, policy_store, queue
from connector_runner.review.deciding import EventsHandler
from connector_runner.review.items import Action, Answer, Item
from connector_runner.review.loop import Loop
from connector_runner.review.noting import Subscriber
from connector_runner.world.service import World
from tests.integration.outbound_stack import MAPPINGS, Clinic, System, a_patient, once_planned
from tests.integration.review_desk import Scripted
from tests.integration.test_drain import BOTH, PATIENTS, phones, spoken

SHE = {"name": {"family": "Okafor", "given": ["Ada"]}, "birth_date": "1982-03-04", "gender": "female"}
NAME = "voice_agent:Patient:ada"


class Office:
    """The clinic's people, and its judge."""

    def __init__(self, clinic: Clinic, word: str) -> None:
        self.clinic = clinic
        outbound: Outbound = clinic.outbound
        outbound.world._subscribers = (*outbound.world._subscribers, Subscriber(lambda workspace: None))
        self.world: World = outbound.world
        self.judge = Scripted(otherwise=word)
        self.loop = Loop(clinic.database, self.world, outbound.sealer, self.judge)
        self.handlers = {items.EVENTS: EventsHandler(self.world, MAPPINGS, outbound.sealer)}

    def answer(self, action: Action, **more: Any) -> Item:
        """The answer to the one open item."""
        workspace = self.clinic.workspace
        with self.clinic.database.begin(workspace) as tx:
            (item,), _ = queue.listing(tx, workspace, status=["pending"])
        answer = Answer(action, "ruth", more.get("notes"), more.get("data"))
        done = self.clinic.database.retrying(
            workspace, lambda tx: queue.decide(tx, self.handlers, workspace, item.id, answer, now=utc_now())
        )
        assert isinstance(done, Item), done
        return done


def said_both(clinic: Clinic) -> None:
    clinic.say(entity_type="patient", canonical_id=NAME, facts=SHE)
    times = {"start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z"}
    clinic.say(
        entity_type="appointment", source="manual", canonical_id="manual:Appointment:a1",
        facts={"status": "booked", **times, "patient": {"ref": NAME},
               "participant": [{"actor": {"ref": NAME}, "status": "accepted"}]},
    )  # fmt: skip


def test_an_approval_revives_what_failed_on_confidence_and_what_waited_for_it(clinic: Clinic, store: System) -> None:
    clinic.source("store", store, **BOTH)
    office = Office(clinic, "unclear")
    said_both(clinic)
    clinic.flow("store")
    assert store.writes() == []
    waits = clinic.lane("store", "appointment")
    assert waits["reason"] == "dependency_below_threshold"
    office.loop.run(clinic.workspace)
    clinic.flow("store")
    assert store.writes() == []

    office.answer("approved")
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 1)


def test_a_judges_word_revives_them_as_well(clinic: Clinic, store: System) -> None:
    clinic.source("store", store, **BOTH)
    office = Office(clinic, "supported")
    said_both(clinic)
    clinic.flow("store")
    office.loop.run(clinic.workspace)
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 1)


def with_a_phone_to_send(clinic: Clinic, ehr: System) -> tuple[Office, int]:
    """The judge passed a phone, but a person sees it too; its lane is ready."""
    clinic.source("ehr", ehr, **PATIENTS)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    office = Office(clinic, "supported")
    with clinic.database.begin(clinic.workspace) as tx:
        policy_store.save(tx, clinic.workspace, {"sample": 1}, actor="test", now=utc_now())
    spoken(clinic)
    office.loop.run(clinic.workspace)
    clinic.release()
    assert clinic.lane("ehr")["state"] == "ready"
    return office, len(ehr.writes())


def test_a_rejection_stops_what_is_ready_to_go(clinic: Clinic, ehr: System) -> None:
    office, before = with_a_phone_to_send(clinic, ehr)
    office.answer("rejected", notes="another caller")
    clinic.drain("ehr")  # before any release has looked
    clinic.flow("ehr")
    assert len(ehr.writes()) == before
    assert phones(ehr.get("Patient/p1")) == ["617-555-0101"]
    assert clinic.lane("ehr")["state"] == "idle"


def test_a_rejection_that_comes_while_the_write_is_planned_stops_it(
    clinic: Clinic, ehr: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    office, before = with_a_phone_to_send(clinic, ehr)
    once_planned(monkeypatch, lambda: office.answer("rejected", notes="another caller"))
    clinic.flow("ehr")
    assert len(ehr.writes()) == before


def test_a_correction_goes_in_place_of_what_was_heard(clinic: Clinic, ehr: System) -> None:
    office, before = with_a_phone_to_send(clinic, ehr)
    office.answer("corrected", data={"telecom": [{"system": "phone", "use": "home", "value": "+16175550444"}]})
    clinic.flow("ehr")
    assert len(ehr.writes()) == before + 1
    assert phones(ehr.get("Patient/p1")) == ["+16175550444"]


def test_who_rejects_what_was_written_already_is_told_where_it_is(clinic: Clinic, ehr: System) -> None:
    office, before = with_a_phone_to_send(clinic, ehr)
    clinic.flow("ehr")
    assert len(ehr.writes()) == before + 1
    clinic.poll("ehr", "Patient")
    done = office.answer("rejected", notes="another caller")
    (written,) = done.written
    assert (written["record"], written["field"]) == ("ehr:Patient:p1", "telecom")
    clinic.flow("ehr")
    assert len(ehr.writes()) == before + 1, "it is not taken back by itself"
    chosen = Selection(entity_id=written["entity_id"], since=parse_instant(written["since"]))
    assert [each.action for each in undoing.survey(clinic.outbound, clinic.workspace, chosen)] == ["restore"]


def test_who_rejects_what_was_never_written_is_told_of_nothing(clinic: Clinic, ehr: System) -> None:
    office, _ = with_a_phone_to_send(clinic, ehr)
    assert office.answer("rejected", notes="another caller").written == ()


def test_what_is_rejected_while_its_write_is_under_way_is_put_before_a_person_once(
    clinic: Clinic, ehr: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell who rejected it that it had been written: it had not, then."""
    office, before = with_a_phone_to_send(clinic, ehr)
    update, answered = FHIRSink.update, []

    def rejected_meanwhile(sink: FHIRSink, *what: Any, **more: Any) -> Any:
        if not answered:
            answered.append(office.answer("rejected", notes="another caller"))
        return update(sink, *what, **more)

    monkeypatch.setattr(FHIRSink, "update", rejected_meanwhile)
    clinic.flow("ehr")
    assert [done.written for done in answered] == [()]
    assert len(ehr.writes()) == before + 1, "it was under way"
    clinic.flow("ehr")
    with clinic.database.begin(clinic.workspace) as tx:
        asked = rows(tx, "SELECT code, place, times, status, quarantine_id FROM quarantine WHERE stage = 'repair'")
    assert [(row["code"], row["place"]) for row in asked] == [("rejected_meanwhile", "telecom")]
    with clinic.database.begin(clinic.workspace) as tx:
        execute(tx, "UPDATE quarantine SET status = 'discarded' WHERE stage = 'repair'")
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    with clinic.database.begin(clinic.workspace) as tx:
        assert [row["status"] for row in rows(tx, "SELECT status FROM quarantine WHERE stage = 'repair'")] == [
            "discarded"
        ]
