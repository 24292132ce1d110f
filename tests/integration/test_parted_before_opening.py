"""What a write refers to is asked for once more when it is opened: who was told apart meanwhile gets nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.lanes.rounds import Rounds, Stride
from connector_runner.outbound.lanes.together import Together
from connector_runner.outbound.lanes.writing import Hands
from tests.integration.merging_stack import clinic, decide
from tests.integration.outbound_stack import FAST, Clinic, System, a_patient, an_appointment, once_planned

__all__ = ["clinic"]

OBI = {"name": [{"use": "official", "family": "Obi", "given": ["Chidi"]}], "birthDate": "1950-01-01"}
TYPES = ["patient", "appointment", "encounter"]
ONES = ("ehr:Patient:p1", "ehr:Patient:p2")


def one_record_of_two(clinic: Clinic, ehr: System, store: System, **can: bool) -> str:
    """Two that are held for one, and so have one record in the store; the id of the one whose own it is not."""
    clinic.source("ehr", ehr)
    one_at_a_time = {**FAST, "concurrency": 1}
    clinic.source("store", store, accept_from=["ehr"], entity_types=TYPES, capabilities=can, rate=one_at_a_time)
    clinic.land("ehr", a_patient("p1"), a_patient("p2", "617-555-0202", **OBI))
    decide(clinic, *ONES, same=True)
    clinic.flow("store")
    [owner] = {lane["entity_id"] for lane in clinic.lanes("store") if lane["sink_ref"] is not None}
    [other] = [name for name in ONES if entity_id_of(clinic.workspace, name) != owner]
    return other.rpartition(":")[2]


def an_encounter(patient: str) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": f"Patient/{patient}"},
        "appointment": [{"reference": "Appointment/a1"}],
    }


@pytest.mark.parametrize("by", [Hands, Rounds, Together])
def test_who_was_told_apart_gets_nothing_into_the_others_chart(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, by: type[Hands | Rounds | Together]
) -> None:
    """Alone, in a round, and in a transaction of the sink."""
    other = one_record_of_two(clinic, ehr, store, transaction=by is Together)
    [charted] = store.all("Patient")
    more = {Rounds: [an_appointment("a2", other)], Together: [an_encounter(other)]}.get(by, [])
    clinic.land("ehr", an_appointment("a1", other), *more)
    clinic.release()
    if by is Rounds:
        monkeypatch.setattr(Stride, "size", len(clinic.lanes("store")))
    once_planned(monkeypatch, lambda: decide(clinic, *ONES, same=False), by)
    assert clinic.drain("store").outcomes["outdated"] == 1 + len(more)
    assert store.all("Appointment") == [], "until the patient whose it is has a record there"
    clinic.flow("store")
    assert len(store.all("Patient")) == 2
    made = [each["participant"][0]["actor"]["reference"] for each in store.all("Appointment")]
    made += [each["subject"]["reference"] for each in store.all("Encounter")]
    assert len(made) == 1 + len(more)
    assert f"Patient/{charted['id']}" not in made
