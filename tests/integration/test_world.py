"""The world model on real Postgres: appending, folding, adopting, racing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Database, Row, Tx, one, rows
from connector_runner.intake import raw
from connector_runner.intake.landing import Intake, Landed, Origin
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord, Forbidden
from connector_runner.kernel.ids import entity_id_of, new_id
from connector_runner.review.verdicts import Verdict, decide
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.world import reading
from connector_runner.world.changes import EntityChange
from connector_runner.world.events import NewEvent, SentAtom
from connector_runner.world.service import World

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ORIGIN = Origin(new_id(), "ehr", "fhir_r4")


class Rejected:
    """Remembers what was put aside."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def put(self, *_: object, **what: Any) -> None:
        self.seen.append(what)


def a_record(resource: dict[str, Any], *, day: int | None = None, version: str | None = None) -> SourceRecord:
    updated = None if day is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    body = json.dumps(resource).encode()
    return SourceRecord(resource["resourceType"], resource["id"], body, exact_json.loads(body), version, updated)


def a_patient(n: str = "1", phone: str = "617-555-0101", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": n,
        "name": [{"family": "Okafor", "given": ["Ada"]}],
        "telecom": [{"system": "phone", "use": "home", "value": phone}],
        **more,
    }


def land(
    database: Database,
    workspace: str,
    *records: SourceRecord,
    origin: Origin = ORIGIN,
    now: datetime = NOW,
    **more: Any,
) -> Landed:
    intake = Intake(World(), MAPPINGS, more.pop("rejects", Rejected()))
    return database.retrying(workspace, lambda tx: intake.land(tx, workspace, origin, records, now=now, **more))


def show(database: Database, workspace: str, name: str) -> reading.EntityView:
    with database.begin(workspace) as tx:
        view = reading.view(tx, workspace, name)
    assert view is not None
    return view


def a_voice_event(entity: str, facts: dict[str, Any], **more: Any) -> NewEvent:
    return NewEvent(
        **{"entity_id": entity, "entity_type": "patient", "event_type": "patient.updated", "facts": facts,
           "source": "voice_agent", "confidence": 0.5, "snapshot": False,
           "canonical_id": f"voice_agent:Patient:{entity}", **more}
    )  # fmt: skip


def home_phone(value: str) -> list[dict[str, Any]]:
    return [{"system": "phone", "use": "home", "value": value}]


def test_there_and_back_is_three_events_and_the_first_state(database: Database, workspace: str) -> None:
    a, b = a_record(a_patient()), a_record(a_patient(phone="617-555-0102"))
    created = [land(database, workspace, record) for record in (a, b, a)]
    assert [(page.events_created, page.events_updated) for page in created] == [(1, 0), (0, 1), (0, 1)]
    view = show(database, workspace, "ehr:Patient:1")
    assert (view.state["telecom"][0]["value"], len(view.events)) == ("+16175550101", 3)


def test_what_is_stored_is_what_the_fold_gives(database: Database, workspace: str) -> None:
    land(database, workspace, a_record(a_patient(), day=1), a_record(a_patient("2")), a_record(a_patient(), day=3))
    for name in ("ehr:Patient:1", "ehr:Patient:2"):
        view = show(database, workspace, name)
        with database.begin(workspace) as tx:
            stored = reading.row(tx, workspace, name)
        assert stored is not None
        assert exact_json.dumps(stored["state"]) == exact_json.dumps(view.state)


SOLE = {
    "with a clock": {"day": 1},
    "from before there were calendars": {"day": None, "version": "7"},
    "declared to hold since": {"origin": replace(ORIGIN, as_of=datetime(2025, 5, 6, 7, 8, 9, 250_000, tzinfo=UTC))},
    "ahead of us": {"day": 400},
}


@pytest.mark.parametrize("said", [*SOLE, "by a person", "by a person, of then"])
def test_what_one_event_tells_of_its_entity_is_what_its_fold_would_store(
    database: Database, workspace: str, said: str
) -> None:
    if said in SOLE:
        how = dict(SOLE[said])
        record = a_record(a_patient(), day=how.pop("day", None), version=how.pop("version", None))
        land(database, workspace, record, **how)
        name = "ehr:Patient:1"
    else:
        name = new_id()
        then = datetime(2025, 4, 5, tzinfo=UTC) if said.endswith("then") else None
        with database.begin(workspace) as tx:
            event = a_voice_event(name, {"telecom": home_phone("+16175550101")}, effective_at=then)
            World().append(tx, workspace, [event], now=NOW)

    def told() -> dict[str, Any]:
        with database.begin(workspace) as tx:
            row = reading.row(tx, workspace, name)
        assert row is not None
        row["provenance"] = [
            {**by, "since": by["since"] and datetime.fromisoformat(by["since"])} for by in row["provenance"]["by"]
        ]
        return {key: value for key, value in row.items() if key not in ("revision", "updated_at")}

    with database.begin(workspace) as tx:
        assert rows(tx, "SELECT state, made_by IS NOT NULL AS told FROM entity") == [{"state": None, "told": True}]
    alone = told()
    with database.begin(workspace) as tx:
        World().refold(tx, workspace, [alone["entity_id"]], now=NOW)
        assert rows(tx, "SELECT made_by FROM entity") == [{"made_by": None}]
    assert told() == alone


def test_a_record_that_arrives_after_others_spoke_of_it_joins_what_they_said(
    database: Database, workspace: str
) -> None:
    name = "ehr:Patient:1"
    entity = entity_id_of(workspace, name)
    with database.begin(workspace) as tx:
        said = a_voice_event(entity, {"language": "fr"}, canonical_id=name)
        World().append(tx, workspace, [said], now=NOW)
    landed = land(database, workspace, a_record(a_patient(), day=1), a_record(a_patient("2"), day=1))
    assert (landed.events_created, landed.entities_created, landed.entities_updated) == (2, 1, 1)
    with database.begin(workspace) as tx:
        row = reading.row(tx, workspace, name)
    assert row is not None
    assert (row["state"]["language"], row["state"]["telecom"][0]["value"]) == ("fr", "+16175550101")
    assert (row["event_count"], row["revision"]) == (2, 2)


def related(tx: Tx, workspace: str, canonical: str) -> list[Row]:
    view = reading.view(tx, workspace, canonical)
    return [] if view is None else reading.related(tx, workspace, view)


def test_a_reference_is_a_relationship_before_and_after_its_target_arrives(database: Database, workspace: str) -> None:
    encounter = {"resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "AMB"},
                 "subject": {"reference": "Patient/1"}}  # fmt: skip
    land(database, workspace, a_record(encounter))
    with database.begin(workspace) as tx:
        early = related(tx, workspace, "ehr:Encounter:e1")
    land(database, workspace, a_record(a_patient()))
    with database.begin(workspace) as tx:
        late = related(tx, workspace, "ehr:Encounter:e1")
        back = related(tx, workspace, "ehr:Patient:1")
    assert [(r["name"], r["canonical_id"]) for r in early] == [("patient", None)]
    assert [(r["name"], r["canonical_id"]) for r in late] == [("patient", "ehr:Patient:1")]
    assert [(r["direction"], r["name"], r["canonical_id"]) for r in back] == [("in", "patient", "ehr:Encounter:e1")]


def test_a_reference_by_identifier_finds_its_bearer_whichever_came_first(database: Database, workspace: str) -> None:
    npi = {"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}
    by_identifier = f"Practitioner?identifier={npi['system']}|{npi['value']}"
    encounter = {"resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "AMB"},
                 "participant": [{"individual": {"reference": by_identifier}}]}  # fmt: skip
    practitioner = {"resourceType": "Practitioner", "id": "d1", "identifier": [npi], "name": [{"family": "Lindqvist"}]}
    land(database, workspace, a_record(encounter))
    land(database, workspace, a_record(practitioner))
    with database.begin(workspace) as tx:
        out = related(tx, workspace, "ehr:Encounter:e1")
    assert {r["canonical_id"] for r in out} == {"ehr:Practitioner:d1"}


def test_an_identifier_of_no_system_joins_nobody(database: Database, workspace: str) -> None:
    patient = a_patient(identifier=[{"value": "12345"}])
    encounter = {"resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "AMB"},
                 "subject": {"type": "Patient", "identifier": {"value": "12345"}}}  # fmt: skip
    land(database, workspace, a_record(patient), a_record(encounter))
    with database.begin(workspace) as tx:
        assert related(tx, workspace, "ehr:Encounter:e1") == []


def test_a_withdrawn_reference_is_no_relationship_any_more(database: Database, workspace: str) -> None:
    with_doctor = a_patient(generalPractitioner=[{"reference": "Practitioner/d1"}])
    land(database, workspace, a_record(with_doctor, day=1))
    land(database, workspace, a_record(a_patient(), day=2))
    with database.begin(workspace) as tx:
        assert related(tx, workspace, "ehr:Patient:1") == []


def test_who_refers_to_a_record_is_kept_apart_though_stored_together(database: Database, workspace: str) -> None:
    def seen_by(number: str, doctor: str) -> dict[str, Any]:
        return a_patient(number, generalPractitioner=[{"reference": f"Practitioner/{doctor}"}])

    def of(doctor: str) -> list[tuple[str, str, str]]:
        with database.begin(workspace) as tx:
            found = rows(
                tx,
                "SELECT r.name, e.canonical_id FROM relationship r JOIN entity e USING (workspace_id, entity_id)"
                " WHERE r.target_id = :id",
                id=entity_id_of(workspace, f"ehr:Practitioner:{doctor}"),
            )
        return [("in", row["name"], row["canonical_id"]) for row in found]

    def patients(*numbers: str) -> set[tuple[str, str, str]]:
        return {("in", "general_practitioner", f"ehr:Patient:{number}") for number in numbers}

    land(database, workspace, *(a_record(seen_by(number, "d1"), day=1) for number in "123"))
    assert (set(of("d1")), len(of("d1"))) == (patients("1", "2", "3"), 3)
    land(database, workspace, a_record(seen_by("2", "d2"), day=2), a_record(a_patient("1", gender="other"), day=2))
    assert (of("d1"), of("d2")) == (list(patients("3")), list(patients("2")))
    land(database, workspace, a_record(seen_by("2", "d1"), day=3), a_record(seen_by("3", "d1"), day=3))
    assert (set(of("d1")), len(of("d1")), of("d2")) == (patients("2", "3"), 2, [])


def test_the_body_is_kept_as_it_came(database: Database, workspace: str) -> None:
    odd = b'{ "resourceType":"Patient", "id":"1", "multipleBirthInteger" : 2, "x": 1.00 }'
    record = SourceRecord("Patient", "1", odd, exact_json.loads(odd))
    land(database, workspace, a_record(a_patient("0")), record)
    event = show(database, workspace, "ehr:Patient:1").events[0]
    with database.begin(workspace) as tx:
        stored = reading.event(tx, event.id)
        assert stored is not None
        assert raw.read(tx, stored["raw_id"], stored["raw_position"]) == odd


def test_an_entered_in_error_record_loses_its_whole_contribution(database: Database, workspace: str) -> None:
    observation = {"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "Glucose"},
                   "valueQuantity": {"value": 5.40, "unit": "mmol/L"}}  # fmt: skip
    land(database, workspace, a_record(observation, day=1))
    land(database, workspace, a_record(observation | {"status": "entered-in-error"}, day=2))
    view = show(database, workspace, "ehr:Observation:o1")
    assert (view.state, view.folded.status) == ({}, "retracted")


def test_a_type_without_a_mapping_is_kept_raw_counted_and_not_counted_twice(database: Database, workspace: str) -> None:
    record = a_record({"resourceType": "Basic", "id": "b1", "code": {"text": "x"}})
    first, second = land(database, workspace, record), land(database, workspace, record)
    assert (dict(first.unmapped), first.events_created, dict(second.unmapped)) == ({"Basic": 1}, 0, {})
    with database.begin(workspace) as tx:
        row = one(tx, "SELECT raw_id, raw_position FROM record_version WHERE event_id IS NULL")
        assert row is not None
        assert raw.read(tx, row["raw_id"], row["raw_position"]) == record.raw


def test_a_record_that_cannot_be_read_is_put_aside_and_its_neighbours_land(database: Database, workspace: str) -> None:
    rejects = Rejected()
    land(database, workspace, a_record(a_patient("2", birthDate="1982-03-05")))
    records = [a_record(a_patient("1")), a_record(a_patient("2", birthDate="1982-13-45")), a_record(a_patient("3"))]
    placed = [structs.replace(record, place=f"f.json entry {n}") for n, record in enumerate(records)]
    page = land(database, workspace, *placed, rejects=rejects)
    assert (page.events_created, page.quarantined) == (2, 1)
    assert "f.json entry 1" in page.errors[0]
    assert "birthDate" in page.errors[0]
    assert "1982-13-45" not in page.errors[0]
    assert rejects.seen[0]["subject"] == "ehr:Patient:2"
    assert show(database, workspace, "ehr:Patient:2").state["birth_date"] == "1982-03-05"


def test_two_workers_that_land_the_same_records_at_once_land_them_once(database: Database, workspace: str) -> None:
    page = [a_record(a_patient(str(n)), day=1) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        pages = list(
            pool.map(lambda records: land(database, workspace, *records), [page, page[::-1], page, page[::-1]])
        )
    with database.begin(workspace) as tx:
        events = rows(tx, "SELECT entity_id, count(*) AS n FROM event GROUP BY 1")
    assert sum(landed.events_created for landed in pages) == 40
    assert {row["n"] for row in events} == {1}


def test_two_workers_that_append_to_one_new_entity_at_once_lose_nothing(database: Database, workspace: str) -> None:
    entity = new_id()

    def append(n: int) -> None:
        with database.begin(workspace) as tx:
            World().append(tx, workspace, [a_voice_event(entity, {f"field_{n}": n})], now=NOW)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(16)))
    view = show(database, workspace, entity)
    assert view.state == {f"field_{n}": n for n in range(16)}


def test_a_voice_agent_that_claims_certainty_is_held_to_its_ceiling(database: Database, workspace: str) -> None:
    land(database, workspace, a_record(a_patient()))
    entity = entity_id_of(workspace, "ehr:Patient:1")
    with database.begin(workspace) as tx:
        bold = a_voice_event(entity, {"telecom": home_phone("+16175550199")}, confidence=1.0)
        World().append(tx, workspace, [bold], now=NOW)
    settled = show(database, workspace, entity).folded.atoms["telecom[phone|home]"]
    assert (settled.winner.confidence, settled.losers[0].confidence) == (1.0, 0.5)


def test_only_review_writes_verdicts(database: Database, workspace: str) -> None:
    forged = a_voice_event(
        new_id(), {"about": new_id()}, source="review", event_type="review.approved", confidence=0.95
    )
    with pytest.raises(Forbidden), database.begin(workspace) as tx:
        World().append(tx, workspace, [forged], now=NOW)


class Told:
    """A subscriber that remembers."""

    def __init__(self) -> None:
        self.changes: list[EntityChange] = []

    def __call__(self, tx: Tx, workspace_id: str, changes: Sequence[EntityChange]) -> None:
        self.changes.extend(changes)


def test_a_verdict_raises_the_named_fields_and_tells_whom_it_concerns(database: Database, workspace: str) -> None:
    land(database, workspace, a_record(a_patient()))
    entity, told = entity_id_of(workspace, "ehr:Patient:1"), Told()
    event = a_voice_event(entity, {"telecom": home_phone("+16175550199"), "language": {"code": "es"}})
    with database.begin(workspace) as tx:
        World().append(tx, workspace, [event], now=NOW)
    with database.begin(workspace) as tx:
        verdict = Verdict(event.id, True, "nurse-7", fields=["telecom"])
        decide(tx, World([told]), workspace, verdict, now=NOW + timedelta(hours=1))
    view = show(database, workspace, entity)
    assert view.state["telecom"] == home_phone("+16175550199")
    assert view.folded.atoms["language"].winner.confidence == 0.5
    assert [change.entity_id for change in told.changes] == [entity]


def test_a_verdict_about_nothing_is_refused(database: Database, workspace: str) -> None:
    event = a_voice_event(new_id(), {"gender": "female"})
    with database.begin(workspace) as tx:
        World().append(tx, workspace, [event], now=NOW)
    for verdict in (Verdict(new_id(), True, "nurse-7"), Verdict(event.id, False, "nurse-7"),
                    Verdict(event.id, True, "nurse-7", fields=["shoe_size"])):  # fmt: skip
        with pytest.raises(BadRecord), database.begin(workspace) as tx:
            decide(tx, World(), workspace, verdict, now=NOW)


@pytest.mark.parametrize("poll_first", [False, True])
def test_an_echo_through_an_adopted_record_changes_nothing(
    database: Database, workspace: str, poll_first: bool
) -> None:
    """The write's outcome and the poll that brings it back may commit in either order."""
    world, store = World(), Origin(new_id(), "store", "fhir_r4")
    land(database, workspace, a_record(a_patient(), day=1))
    entity = entity_id_of(workspace, "ehr:Patient:1")
    before = show(database, workspace, entity)
    sent = [
        SentAtom(atom, s.winner.value, s.winner.event_id, s.winner.source, s.winner.source_system,
                 s.winner.confidence, s.winner.since)
        for atom, s in before.folded.atoms.items()
    ]  # fmt: skip
    copy = a_record(a_patient("copy"), day=300)
    if poll_first:
        land(database, workspace, copy, origin=store)
    with database.begin(workspace) as tx:
        world.adopt(tx, workspace, "store:Patient:copy", entity, store.data_source_id, now=NOW)
        world.remember_sent(tx, workspace, "store:Patient:copy", sent, now=NOW)
    if not poll_first:
        land(database, workspace, copy, origin=store, now=NOW + timedelta(minutes=1))
    with database.begin(workspace) as tx:
        world.refold_dirty(tx, workspace, now=NOW)
    after = show(database, workspace, entity)
    winners = {atom: s.winner.event_id for atom, s in after.folded.atoms.items()}
    assert after.state == before.state
    assert winners == {atom: s.winner.event_id for atom, s in before.folded.atoms.items()}
    with database.begin(workspace) as tx:
        names = [row["canonical_id"] for row in rows(tx, "SELECT canonical_id FROM entity")]
        assert reading.entity_id(tx, workspace, "store:Patient:copy") == entity
    assert names == ["ehr:Patient:1"]
