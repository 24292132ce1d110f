"""A sink that says yes and keeps what it had: its old value is its own word still, and no copy of ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from connector_runner.connectors.sinks import Json, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.outbound.sinks.directory import Sinks
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import PATIENTS
from tests.integration.test_echo import a_pair, atom, landed, only_patient, settle


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
class StubbornSinks:
    """Every sink is stubborn."""

    inner: Sinks

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        return self.inner.terms(tx, workspace_id)

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        terms, sink = self.inner.open(tx, workspace_id, sink_id)
        return terms, cast(Sink, Stubborn(sink))


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
    clinic.outbound = replace(clinic.outbound, sinks=StubbornSinks(clinic.outbound.sinks))
    corrected(clinic)
    clinic.flow("store")
    before = landed(store)
    for _ in range(3):
        clinic.poll("store", "Patient")
        clinic.flow("store")
    assert only_patient(store)["gender"] == "female"
    assert atom(clinic, "gender").winner.value == "male"
    assert landed(store) == before, "nor is it asked again and again"


def test_it_keeps_its_word_when_ours_is_rejected(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    settle(clinic)
    clinic.outbound = replace(clinic.outbound, sinks=StubbornSinks(clinic.outbound.sinks))
    event = corrected(clinic)
    settle(clinic)
    clinic.judge(event, approve=False)
    settle(clinic)
    assert atom(clinic, "gender").winner.value == "female"
    assert (only_patient(ehr)["gender"], only_patient(store)["gender"]) == ("female", "female")
