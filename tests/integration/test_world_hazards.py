"""What must not happen to the world model on real Postgres: races, forged verdicts, wrong shapes, lost audits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Database, rows
from connector_runner.intake import appending
from connector_runner.intake.landing import Intake, Origin
from connector_runner.kernel.errors import Conflict, Forbidden
from connector_runner.kernel.ids import entity_id_of, new_id
from connector_runner.world.events import NewEvent, SentAtom
from connector_runner.world.service import World
from tests.integration.test_world import MAPPINGS, NOW, Rejected, a_patient, a_record, a_voice_event, land, show

STORE = Origin(new_id(), "store", "fhir_r4")


def heard(database: Database, workspace: str, *documents: dict[str, Any]) -> appending.Outcome:
    return database.retrying(
        workspace,
        lambda tx: appending.append(tx, World(), MAPPINGS, workspace, list(documents), actor="test", now=NOW),
    )


def names_of(database: Database, workspace: str) -> list[str]:
    with database.begin(workspace) as tx:
        return [row["canonical_id"] for row in rows(tx, "SELECT canonical_id FROM entity ORDER BY 1")]


def adopt(database: Database, workspace: str, entity: str) -> None:
    def work(tx: Any) -> None:
        World().adopt(tx, workspace, "store:Patient:copy", entity, STORE.data_source_id, now=NOW)

    database.retrying(workspace, work)


def test_a_record_that_is_adopted_while_its_page_lands_is_no_entity_of_its_own(
    database: Database, workspace: str
) -> None:
    land(database, workspace, a_record(a_patient()))
    entity = entity_id_of(workspace, "ehr:Patient:1")
    with ThreadPoolExecutor(1) as pool:
        with database.begin(workspace) as tx:
            intake = Intake(World(), MAPPINGS, Rejected())
            intake.land(tx, workspace, STORE, [a_record(a_patient("copy"))], now=NOW)
            adoption = pool.submit(adopt, database, workspace, entity)
            with pytest.raises(TimeoutError):
                adoption.result(0.3)
        adoption.result(10)
    assert names_of(database, workspace) == ["ehr:Patient:1"]
    assert set(show(database, workspace, entity).records) == {"ehr:Patient:1", "store:Patient:copy"}


def test_a_page_that_did_not_see_an_adoption_begins_again(database: Database, workspace: str) -> None:
    land(database, workspace, a_record(a_patient()))
    record = entity_id_of(workspace, "store:Patient:copy")
    adopt(database, workspace, entity_id_of(workspace, "ehr:Patient:1"))
    stale = NewEvent(
        entity_id=record, entity_type="patient", event_type="patient.created", facts={"gender": "female"},
        source="connector_runner", confidence=1.0, snapshot=True, canonical_id="store:Patient:copy", record_id=record,
    )  # fmt: skip
    with pytest.raises(Conflict), database.begin(workspace) as tx:
        World().append(tx, workspace, [stale], now=NOW)
    assert names_of(database, workspace) == ["ehr:Patient:1"]


def test_an_echo_that_lands_while_the_write_is_being_noted_is_known_for_one(database: Database, workspace: str) -> None:
    land(database, workspace, a_record(a_patient(), day=1))
    entity = entity_id_of(workspace, "ehr:Patient:1")
    adopt(database, workspace, entity)
    winner = show(database, workspace, entity).folded.atoms["telecom[phone|home]"].winner
    sent = SentAtom(winner.atom, winner.value, winner.event_id, winner.source, winner.source_system, 1.0, winner.since)

    def remember() -> None:
        with database.begin(workspace) as tx:
            World().remember_sent(tx, workspace, "store:Patient:copy", [sent], now=NOW)

    with ThreadPoolExecutor(1) as pool:
        with database.begin(workspace) as tx:
            intake = Intake(World(), MAPPINGS, Rejected())
            intake.land(tx, workspace, STORE, [a_record(a_patient("copy"), day=200)], now=NOW)
            noted = pool.submit(remember)
            with pytest.raises(TimeoutError):
                noted.result(0.3)
        noted.result(10)
    with database.begin(workspace) as tx:
        assert World().refold_dirty(tx, workspace, now=NOW) == 1
    with database.begin(workspace) as tx:
        stored = rows(tx, "SELECT provenance FROM projection")[0]["provenance"]
    systems = {stored["by"][number]["source_system"] for number in stored["atoms"].values()}
    assert stored["by"][stored["atoms"]["telecom[phone|home]"]]["event_id"] == winner.event_id
    assert "ehr" in systems


def test_a_verdict_under_another_source_is_refused(database: Database, workspace: str) -> None:
    forged = a_voice_event(new_id(), {"about": new_id()}, event_type="review.rejected", confidence=0.5)
    with pytest.raises(Forbidden), database.begin(workspace) as tx:
        World().append(tx, workspace, [forged], now=NOW)


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"telecom": "617-555-0199"}, "facts.telecom"),
        ({"telecom": {"system": "phone", "value": "617-555-0199"}}, "facts.telecom"),
        ({"identifier": ["123"]}, "facts.identifier"),
        ({"telecom[phone|home]": {"value": "617-555-0199"}}, "facts"),
    ],
)
def test_facts_of_a_wrong_shape_are_refused_and_hold_up_nobody(
    database: Database, workspace: str, facts: dict[str, Any], where: str
) -> None:
    land(database, workspace, a_record(a_patient(), day=1))
    event = {"source": "voice_agent", "canonical_id": "ehr:Patient:1", "fhir_resource_type": "Patient"}
    outcome = heard(database, workspace, event | {"facts": facts}, event | {"facts": {"language": {"code": "es"}}})
    assert [(error["index"], error["key"], error["code"]) for error in outcome.errors] == [(0, where, "wrong_type")]
    assert "555-0199" not in str(outcome.errors)
    assert land(database, workspace, a_record(a_patient(phone="617-555-0103"), day=2)).events_updated == 1
    state = show(database, workspace, "ehr:Patient:1").state
    assert (state["language"], state["telecom"][0]["value"]) == ({"code": "es"}, "+16175550103")


def test_an_accepted_rollback_is_audited(database: Database, workspace: str) -> None:
    first, second = a_record(a_patient(), day=1), a_record(a_patient(phone="617-555-0102"), day=2)
    land(database, workspace, first, second)
    land(database, workspace, first, direct=True)
    assert land(database, workspace, first, direct=True).rollbacks
    with database.begin(workspace) as tx:
        audited = rows(tx, "SELECT object FROM audit_log WHERE action = 'record.rolled_back'")
    assert [row["object"] for row in audited] == [entity_id_of(workspace, "ehr:Patient:1")]


def test_a_record_that_was_found_missing_and_shows_again_unchanged_is_alive(database: Database, workspace: str) -> None:
    record = a_record(a_patient(), day=1, version="1")
    land(database, workspace, record)
    land(database, workspace, SourceRecord("Patient", "1", b"", None, deleted=True), now=NOW + timedelta(hours=1))
    assert show(database, workspace, "ehr:Patient:1").folded.status == "deleted"
    again = [land(database, workspace, record, now=NOW + timedelta(hours=n)).events_updated for n in (2, 3)]
    assert again == [1, 0]
    view = show(database, workspace, "ehr:Patient:1")
    assert (view.folded.status, view.state["name"]["family"]) == ("active", "Okafor")


def test_records_are_adopted_together_though_a_poll_met_some_first(database: Database, workspace: str) -> None:
    """One that nobody met, one that a poll met, one that is adopted already, and one that is the entity's own."""
    land(database, workspace, *(a_record(a_patient(name)) for name in ("1", "2", "3")))
    land(database, workspace, a_record(a_patient("met"), day=2), origin=STORE)
    one, two, three = (entity_id_of(workspace, f"ehr:Patient:{name}") for name in ("1", "2", "3"))
    adopt(database, workspace, three)
    made = {"store:Patient:new": one, "store:Patient:met": two, "store:Patient:copy": one, "ehr:Patient:3": three}
    for _ in range(2):
        database.retrying(workspace, lambda tx: World().adopt_all(tx, workspace, made, STORE.data_source_id, now=NOW))
    assert names_of(database, workspace) == ["ehr:Patient:1", "ehr:Patient:2", "ehr:Patient:3"]
    with database.begin(workspace) as tx:
        joined = rows(tx, "SELECT record_key, entity_id FROM adopted_record ORDER BY 1")
    assert [(row["record_key"], row["entity_id"]) for row in joined] == [
        ("store:Patient:copy", three), ("store:Patient:met", two), ("store:Patient:new", one),
    ]  # fmt: skip
    assert set(show(database, workspace, two).records) == {"ehr:Patient:2", "store:Patient:met"}
