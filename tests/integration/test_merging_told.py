"""What people are told of members before they are linked, while they are, and after: entity show, explain, preview,
the steps of what was said, the log, and undo."""

from __future__ import annotations

from typing import Any

from connector_runner.kernel.ids import entity_id_of
from connector_runner.observability import entities as query
from connector_runner.observability.explain import explain
from connector_runner.outbound.operating import logbook, steps, undoing
from connector_runner.outbound.operating.parting import PARTED
from connector_runner.outbound.operating.preview import UNDO_FIRST, preview
from connector_runner.outbound.operating.undo_store import Selection
from tests.integration.merging_stack import (
    EHR,
    STORE,
    clinic,
    compare,
    content,
    decide,
    one_person_in_both,
    settle,
    state,
)
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import phones

__all__ = ["clinic"]

VOICE = "voice:Person:v1"
CALL = "call-1"


def shown(clinic: Clinic, name: str) -> dict[str, Any]:
    with clinic.database.begin(clinic.workspace) as tx:
        return query.show(tx, clinic.workspace, name)


def decided(clinic: Clinic, name: str, sink: str) -> tuple[Any, ...]:
    """What explain says is done about an entity in a sink now, as preview does."""
    with clinic.database.begin(clinic.workspace) as tx:
        [found] = explain(tx, clinic.outbound, clinic.workspace, name, sink=sink)["sinks"]
    now = preview(clinic.outbound, clinic.workspace, name, sink)
    explained = found["decision"]
    assert (explained["action"], explained["reason"], explained["detail"]) == (now.action, now.reason, now.detail)
    return now.action, now.reason, now.detail


def test_whichever_member_is_named_the_person_refers_to_the_same(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    ehr.put(a_patient(generalPractitioner=[{"reference": "Practitioner/d1"}]))
    clinic.poll("ehr", "Patient")
    apart = [shown(clinic, name)["relationships"] for name in (EHR, STORE)]
    assert [[each["direction"] for each in of] for of in apart] == [["out"], []]
    decide(clinic, EHR, STORE, same=True)
    assert [shown(clinic, name)["relationships"] for name in (EHR, STORE)] == [apart[0], apart[0]]
    decide(clinic, EHR, STORE, same=False)
    assert [shown(clinic, name)["relationships"] for name in (EHR, STORE)] == apart


def test_what_is_to_be_taken_back_first_is_told_before_anybody_asked_for_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    one_person_in_both(clinic, ehr, store)
    settle(clinic)
    before = decided(clinic, STORE, "store")
    decide(clinic, EHR, STORE, same=True)
    assert decided(clinic, STORE, "store")[0] == "update"
    settle(clinic)
    assert decided(clinic, STORE, "store")[0] == "none"
    decide(clinic, EHR, STORE, same=False)
    for name, sink in ((STORE, "store"), (EHR, "ehr")):
        assert decided(clinic, name, sink) == ("wait", UNDO_FIRST, PARTED)
    settle(clinic)
    assert decided(clinic, STORE, "store") == before


def called(clinic: Clinic) -> None:
    outcome = clinic.say(
        canonical_id=VOICE,
        entity_type="patient",
        confidence=0.5,
        correlation_id=CALL,
        facts={"telecom": [{"system": "phone", "use": "home", "value": "617-555-0199"}]},
    )
    clinic.judge(str(outcome.events[0]["id"]))


def told(clinic: Clinic) -> list[tuple[str | None, str, str]]:
    with clinic.database.begin(clinic.workspace) as tx:
        found = steps.steps(tx, clinic.workspace, CALL)
        [explained] = explain(tx, clinic.outbound, clinic.workspace, VOICE)["steps"]
    assert explained["standing"] == found.standing
    return [(step.sink, step.canonical_id, str(step.standing)) for step in found.steps]


def test_what_was_said_of_one_member_is_a_step_of_the_record_that_stands_for_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    clinic.source("ehr", ehr, entity_types=["patient"])
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    decide(clinic, EHR, VOICE, same=True)
    called(clinic)
    compare(clinic)
    clinic.release()
    assert told(clinic) == [("ehr", EHR, "under_way")]
    ehr.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1})
    clinic.flow("ehr")
    assert told(clinic) == [("ehr", EHR, "failed")], "not held back, though the member's own lane is"
    clinic.execute("UPDATE sync_lane SET state = 'ready', due_at = clock_timestamp() WHERE state = 'quarantined'")
    clinic.flow("ehr")
    assert told(clinic) == [("ehr", EHR, "done")]
    assert phones(ehr.get("Patient/p1")) == ["617-555-0199"]
    decide(clinic, EHR, VOICE, same=False)
    clinic.flow("ehr")
    assert told(clinic) == [("ehr", VOICE, "done")], "in a record of its own"
    assert phones(ehr.get("Patient/p1")) == ["617-555-0101"]


def test_undo_takes_back_what_a_members_record_was_lent_once_and_for_all(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """The log of a record is of what was written there, whoever said it; what a person took back is not lent anew."""
    one_person_in_both(clinic, ehr, store)
    settle(clinic)
    before, apart = content(store.get("Patient/c1")), [state(clinic, name) for name in (EHR, STORE)]
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    lent = content(ehr.get("Patient/p1"))
    chosen = Selection(entity_id=entity_id_of(clinic.workspace, STORE), sink="store")
    with clinic.database.begin(clinic.workspace) as tx:
        [write] = logbook.entries(tx, clinic.workspace, chosen)
    assert (write["operation"], write["sink_ref"], write["undone_by"]) == ("update", "Patient/c1", None)
    [found] = undoing.survey(clinic.outbound, clinic.workspace, chosen)
    assert found.action == "restore"
    assert {"telecom[phone|home]"} <= {each["field"] for each in found.restored}
    assert undoing.ask(clinic.outbound, clinic.workspace, chosen, actor="op").writes == 1
    settle(clinic)
    assert (content(store.get("Patient/c1")), content(ehr.get("Patient/p1"))) == (before, lent)
    assert decided(clinic, STORE, "store")[0] == "none", "it is held back"

    decide(clinic, EHR, STORE, same=False)
    settle(clinic, 3)
    assert content(store.get("Patient/c1")) == before
    assert [state(clinic, name) for name in (EHR, STORE)] == apart
    assert phones(ehr.get("Patient/p1")) == ["617-555-0101"]
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    assert content(store.get("Patient/c1")) == before, "held back still"
    assert content(ehr.get("Patient/p1")) == lent
