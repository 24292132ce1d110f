"""A sink that says yes and does something else: keeps what it had, or makes a record that it does not show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import requests

from connector_runner.connectors.fhir.answers import reply_to
from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.http import Answer
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.planning import duplicate_search
from connector_runner.outbound.sinks.directory import Sinks
from tests.integration.outbound_stack import Clinic, System, a_patient, eventually
from tests.integration.test_drain import PATIENTS
from tests.integration.test_echo import NormalisingSinks, a_pair, atom, landed, only_patient, settle


@dataclass
class Stubborn:
    """A sink that answers 200 to an update and keeps the gender that it has."""

    inner: Sink

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        held = self.inner.read(ref).body or {}
        return self.inner.update(ref, {**body, "gender": held["gender"]}, etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass
class Odd:
    """Every sink is as odd as ``made`` has it."""

    inner: Sinks
    made: Callable[[Sink], Any]

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        return self.inner.terms(tx, workspace_id)

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        terms, sink = self.inner.open(tx, workspace_id, sink_id)
        return terms, cast(Sink, self.made(sink))


@dataclass
class Deaf(Stubborn):
    """A sink that answers 204 to an update and does nothing."""

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        return Reply(Outcome.LANDED, "", 204, ref)


@dataclass
class Renaming:
    """A sink that makes a new record of whatever id it is given, and says so."""

    inner: Sink
    system: System

    def create(self, body: Json, client_ref: str) -> Reply:
        made = requests.post(f"{self.system.running.base_url}/Patient", json=body, timeout=10)
        answer = Answer(made.status_code, made.headers, made.content, made.url)
        return reply_to(answer, f"Patient/{client_ref}", now=utc_now(), purpose="create")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def corrected(clinic: Clinic) -> str:
    """A person says that the patient is male; the id of the event."""
    said = clinic.say(
        entity_type="patient", canonical_id="ehr:Patient:p1", source="manual", confidence=0.5, facts={"gender": "male"}
    )
    clinic.judge(said.events[0]["id"])
    return str(said.events[0]["id"])


def test_it_does_not_outvote_what_it_did_not_take(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    clinic.flow("store")
    clinic.outbound = replace(clinic.outbound, sinks=Odd(clinic.outbound.sinks, Stubborn))
    corrected(clinic)
    clinic.flow("store")
    before = landed(store)
    for _ in range(3):
        clinic.poll("store", "Patient")
        clinic.flow("store")
    assert only_patient(store)["gender"] == "female"
    assert atom(clinic, "gender").winner.value == "male"
    assert landed(store) == before, "nor is it asked again and again"


@pytest.mark.parametrize("odd", [Stubborn, Deaf])
def test_it_keeps_its_word_when_ours_is_rejected(clinic: Clinic, ehr: System, store: System, odd: Any) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    settle(clinic)
    clinic.outbound = replace(clinic.outbound, sinks=Odd(clinic.outbound.sinks, odd))
    event = corrected(clinic)
    settle(clinic)
    clinic.judge(event, approve=False)
    settle(clinic)
    assert atom(clinic, "gender").winner.value == "female"
    assert (only_patient(ehr)["gender"], only_patient(store)["gender"]) == ("female", "female")


def test_what_it_made_and_does_not_show_is_not_made_again(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.outbound = replace(clinic.outbound, sinks=Odd(clinic.outbound.sinks, lambda sink: Renaming(sink, store)))
    clinic.land("ehr", a_patient())

    def rests() -> bool:
        clinic.flow("store")
        return clinic.lane("store")["state"] in ("idle", "quarantined")

    assert eventually(rests)
    made = only_patient(store)
    lane = clinic.lane("store")
    assert (lane["state"], lane["reason"]) == ("quarantined", "possible_duplicate")
    ref = f"Patient/{made['id']}"
    duplicate_search.decide(clinic.outbound, clinic.workspace, str(lane["lane_id"]), ref, actor="nurse")
    assert eventually(rests)
    assert (clinic.lane("store")["state"], clinic.lane("store")["sink_ref"]) == ("idle", ref)
    assert only_patient(store)["id"] == made["id"]


def test_somebody_else_at_the_place_of_our_patient_is_not_written_to(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """The sink's address was changed to a system that gives the same ids to others, at the same version."""
    clinic.source("desk", ehr)
    clinic.source("store", store, accept_from=["desk"], client_id=False, **PATIENTS)
    clinic.land("desk", a_patient())
    clinic.flow("store")
    ref = clinic.lane("store")["sink_ref"]
    stranger = a_patient(ref.partition("/")[2], "617-555-0900", birthDate="1950-05-05",
                         name=[{"use": "official", "family": "Obi", "given": ["Chidi"]}])  # fmt: skip
    kept = ehr.put(stranger)
    clinic.source("store", ehr, accept_from=["desk"], client_id=False, **PATIENTS)
    clinic.land("desk", a_patient(phone="617-555-0777", meta={"lastUpdated": "2030-01-01T00:00:00Z"}))
    clinic.flow("store")
    lane = clinic.lane("store")
    assert (lane["state"], lane["reason"]) == ("quarantined", "other_person")
    assert ehr.get(ref) == kept
    duplicate_search.decide(clinic.outbound, clinic.workspace, str(lane["lane_id"]), ref, actor="nurse")
    clinic.flow("store")
    assert clinic.lane("store")["state"] == "idle", "a person says that it is the same"
    clinic.land("desk", a_patient(phone="617-555-0778", meta={"lastUpdated": "2030-01-02T00:00:00Z"}))
    clinic.flow("store")
    assert ehr.get(ref)["telecom"] == [{"system": "phone", "use": "home", "value": "617-555-0778"}]


def used_at_home(resource: Json) -> Json:
    """Every telephone is one at home, if nobody says otherwise."""
    return {**resource, "telecom": [{"use": "home", **item} for item in resource["telecom"]]}


def test_what_it_adds_to_a_value_makes_it_no_word_of_its_own(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    clinic.outbound = replace(
        clinic.outbound, sinks=NormalisingSinks(clinic.outbound.sinks, clinic.ids["store"], used_at_home)
    )
    ehr.put(a_patient(telecom=[{"system": "phone", "value": "617-555-0101"}]))
    settle(clinic)
    assert only_patient(store)["telecom"][0]["use"] == "home"
    ehr.put(a_patient(telecom=[{"system": "phone", "value": "617-555-0777"}]))
    settle(clinic)
    assert [entry["method"] for entry in ehr.writes()] == ["PUT", "PUT"], "theirs, and none of ours"
    assert atom(clinic, "telecom[phone|]").winner.value["value"] == "+16175550777"
