"""Replay of what was quarantined, stage by stage: what is mended goes through, what is not counts up."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.connectors.base import BadEntry
from connector_runner.infra.database import Database, one, rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.imports import running
from connector_runner.intake.landing import Intake
from connector_runner.intake.read_gate import Gates
from connector_runner.kernel.clock import utc_now
from connector_runner.observability.explain import explain
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.operating.replay import Replayed, replay
from connector_runner.outbound.releasing import release as releasing
from connector_runner.resilience.limiter import Limiter
from connector_runner.resilience.quarantine import Entry, Quarantine
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import MappingSet, load_mappings
from tests.integration.outbound_stack import MAPPINGS, Clinic, System, a_patient, sinks_of

PATIENTS = {"entity_types": ["patient"]}
BAD_DATE = "1982-13-45"


@dataclass
class Parts:
    """What replaying and importing work with, over a clinic."""

    clinic: Clinic
    redis_url: str
    mappings: MappingSet = MAPPINGS

    @property
    def gates(self) -> Gates:
        return Gates(Limiter(self.redis_url), self.clinic.outbound.limiter, lambda workspace, sink: [])

    @property
    def database(self) -> Database:
        return self.clinic.database

    @property
    def outbound(self) -> Outbound:
        return replace(self.clinic.outbound, mappings=self.mappings)

    @property
    def quarantine(self) -> Quarantine:
        return self.clinic.outbound.quarantine

    @property
    def intake(self) -> Intake:
        return Intake(self.clinic.outbound.world, self.mappings, self.quarantine)

    @property
    def http(self) -> HTTP:
        return HTTP(self.settings)

    @property
    def sealer(self) -> Sealer:
        return self.clinic.outbound.sealer

    @property
    def settings(self) -> Settings:
        return Settings(http_allow=("127.0.0.1",))

    def entries(self, **chosen: Any) -> list[Entry]:
        with self.database.begin(self.clinic.workspace) as tx:
            return list(self.quarantine.list(tx, self.clinic.workspace, **chosen))

    def again(self, *, named: bool = False, dry_run: bool = False, **chosen: Any) -> list[Replayed]:
        """Replay the open entries of a cause."""
        return replay(self, self.clinic.workspace, self.entries(**chosen), actor="op", named=named, dry_run=dry_run)


@pytest.fixture
def parts(clinic: Clinic, redis_url: str) -> Parts:
    return Parts(clinic, redis_url)


def lenient(folder: Path) -> MappingSet:
    """The mappings with birth dates taken as they come."""
    shutil.copytree(PROJECT_ROOT / "mappings", folder / "mappings")
    place = folder / "mappings" / "inbound" / "fhir_r4" / "patient.yaml"
    text = place.read_text().replace("birth_date: {path: birthDate, transform: date}", "birth_date: birthDate")
    place.write_text(re.sub(r"(?m)^version: \d+", "version: 99", text))
    return load_mappings(folder / "mappings")


def state_of(clinic: Clinic, name: str) -> dict[str, Any] | None:
    with clinic.database.begin(clinic.workspace) as tx:
        row = one(tx, "SELECT state FROM projection WHERE canonical_id = :name", name=name)
    return None if row is None else dict(row["state"])


def test_a_polled_record_lands_when_the_mapping_is_mended(parts: Parts, ehr: System, tmp_path: Path) -> None:
    clinic = parts.clinic
    clinic.source("ehr", ehr)
    assert clinic.land("ehr", a_patient("bad", birthDate=BAD_DATE), a_patient("good")).quarantined == 1
    [failed] = parts.again()
    assert (failed.stage, failed.outcome, failed.reason) == ("unify", "failed", failed.code)
    [entry] = parts.entries()
    assert (entry.times, entry.status) == (2, "open")

    parts.mappings = lenient(tmp_path)
    [rehearsed] = parts.again(dry_run=True)
    assert rehearsed.outcome == "replayed"
    assert (len(parts.entries()), state_of(clinic, "ehr:Patient:bad")) == (1, None)
    [done] = parts.again()
    assert done.outcome == "replayed"
    assert (state_of(clinic, "ehr:Patient:bad") or {})["birth_date"] == BAD_DATE
    assert parts.entries() == []
    with clinic.database.begin(clinic.workspace) as tx:
        [audited] = rows(tx, "SELECT detail FROM audit_log WHERE action = 'quarantine.replayed' AND n > 0 ORDER BY n"
                             " DESC LIMIT 1")  # fmt: skip
        event = one(tx, "SELECT raw_id, source FROM event WHERE record_key = 'ehr:Patient:bad'")
    assert audited["detail"] == {"ids": [entry.quarantine_id], "count": 1, "outcomes": {"replayed": 1}}
    assert event is not None
    assert event["raw_id"] is not None
    assert event["source"] == "connector_runner"


def test_an_imported_record_lands_as_an_import(parts: Parts, tmp_path: Path) -> None:
    clinic = parts.clinic
    file = tmp_path / "drop.ndjson"
    file.write_text('{"resourceType":"Patient","id":"b","birthDate":"%s","name":[{"family":"Okafor"}]}\n' % BAD_DATE)
    with clinic.database.begin(clinic.workspace) as tx:
        slug = one(tx, "SELECT slug FROM workspace")
    assert slug is not None
    running.run_local(parts, slug["slug"], "partner", [str(file)])
    assert [entry.stage for entry in parts.entries()] == ["unify"]
    parts.mappings = lenient(tmp_path / "m")
    assert [result.outcome for result in parts.again(stage="unify")] == ["replayed"]
    assert (state_of(clinic, "partner:Patient:b") or {})["birth_date"] == BAD_DATE
    with clinic.database.begin(clinic.workspace) as tx:
        event = one(tx, "SELECT source, confidence FROM event WHERE record_key = 'partner:Patient:b'")
    assert event is not None
    assert (event["source"], event["confidence"]) == ("fhir_import", 1.0)


def test_a_body_that_only_its_file_can_place_is_not_landed(parts: Parts, tmp_path: Path) -> None:
    clinic = parts.clinic
    resource = {
        "resourceType": "Observation", "id": "o", "status": "final", "effectiveDateTime": "yesterday",
        "code": {"text": "x"}, "subject": {"reference": "urn:uuid:0b8ae9b6-7b54-4a29-9b3a-0d2a3a3a2a11"},
    }  # fmt: skip
    with clinic.database.begin(clinic.workspace) as tx:
        document = {"name": "partner", "source_type": "file_drop"}
        applied = directory.apply(tx, clinic.workspace, document, actor="test", now=utc_now())
    clinic.ids["partner"] = applied[0].source.data_source_id
    clinic.land("partner", resource)
    assert [(r.outcome, r.reason) for r in parts.again()] == [("refused", "local_names")]
    assert [entry.times for entry in parts.entries()] == [1]


def test_an_old_body_without_a_clock_does_not_undo_a_newer_one(parts: Parts, ehr: System, tmp_path: Path) -> None:
    clinic = parts.clinic
    clinic.source("ehr", ehr)
    clinic.land("ehr", a_patient("p1", birthDate=BAD_DATE))
    clinic.land("ehr", a_patient("p1", gender="other"))
    parts.mappings = lenient(tmp_path)
    assert [(r.outcome, r.reason) for r in parts.again()] == [("refused", "newer_landed")]
    assert (state_of(clinic, "ehr:Patient:p1") or {})["gender"] == "other"


def test_what_was_no_record_still_is_none(parts: Parts, ehr: System) -> None:
    clinic = parts.clinic
    source_id = clinic.source("ehr", ehr)
    bad = BadEntry("entry[0]", "no_id", "the resource has no id", b'{"resourceType": "Patient"}')
    with clinic.database.begin(clinic.workspace) as tx:
        parts.quarantine.put(
            tx, clinic.workspace, stage="poll", subject="x", code=bad.code, message=bad.message, place=bad.place,
            data_source_id=source_id, body=bad.raw, now=utc_now(),
        )  # fmt: skip
    assert [(r.outcome, r.reason) for r in parts.again(stage="poll")] == [("failed", "no_id")]
    assert [entry.times for entry in parts.entries()] == [2]


def refused_lane(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient())
    store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1})
    clinic.flow("store")
    assert clinic.lane("store")["state"] == "quarantined"


def test_a_lane_goes_again_under_the_same_key(parts: Parts, ehr: System, store: System) -> None:
    clinic = parts.clinic
    refused_lane(clinic, ehr, store)
    [entry] = parts.entries(stage="outbound")
    assert [r.outcome for r in parts.again(stage="outbound", dry_run=True)] == ["put_back"]
    assert clinic.lane("store")["state"] == "quarantined"
    assert [r.outcome for r in parts.again(stage="outbound", code=entry.code)] == ["put_back"]
    clinic.flow("store")
    assert (clinic.lane("store")["state"], len(store.all("Patient"))) == ("idle", 1)
    assert parts.entries() == []
    with clinic.database.begin(clinic.workspace) as tx:
        keys = rows(tx, "SELECT DISTINCT idempotency_key FROM write_log")
    assert len(keys) == 1


def test_what_may_do_harm_is_not_done_for_a_whole_cause(parts: Parts, ehr: System, store: System) -> None:
    clinic = parts.clinic
    refused_lane(clinic, ehr, store)
    clinic.execute("UPDATE sync_lane SET reason = 'multiple_matches'")
    assert [(r.outcome, r.reason) for r in parts.again()] == [("refused", "multiple_matches")]
    assert clinic.lane("store")["state"] == "quarantined"
    assert [r.outcome for r in parts.again(named=True)] == ["put_back"]


def test_an_entity_that_release_could_not_decide_about_is_decided_again(
    parts: Parts, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = parts.clinic
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)

    def broken(*_: Any, **__: Any) -> bool:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as fault:
        fault.setattr(releasing.Releasing, "_decide", broken)
        clinic.land("ehr", a_patient())
        clinic.release()
        assert [(r.outcome, r.reason) for r in parts.again(stage="release")] == [("failed", "internal_error")]
    [entry] = parts.entries(stage="release")
    assert entry.times == 2
    assert [r.outcome for r in parts.again(stage="release")] == ["replayed"]
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    assert parts.entries() == []


def test_a_create_that_may_double_is_replayed_only_by_name(parts: Parts, ehr: System, store: System) -> None:
    """As explaining the entity says."""
    clinic = parts.clinic
    refused_lane(clinic, ehr, store)
    clinic.execute(
        "UPDATE data_source SET settings = jsonb_set(settings, '{sink,capabilities}', '{\"at_least_once\": true}')"
        " WHERE data_source_id = :id",
        id=clinic.ids["store"],
    )
    sinks = sinks_of(clinic.database, clinic.outbound.sealer, clinic.outbound.limiter)
    clinic.outbound = replace(clinic.outbound, sinks=sinks)
    [answer] = parts.again()
    assert (answer.outcome, answer.reason) == ("refused", "possible_duplicates")
    with clinic.database.begin(clinic.workspace) as tx:
        told = explain(tx, clinic.outbound, clinic.workspace, "ehr:Patient:p1")["safe_to_replay"]
    assert told["code"] == answer.reason
    assert parts.again(named=True)[0].outcome == "put_back"


def test_parked_deletes_are_applied_only_where_they_are_named(parts: Parts, ehr: System) -> None:
    clinic = parts.clinic
    source_id = clinic.source("ehr", ehr)
    ehr.put(a_patient("alive"))
    clinic.land("ehr", a_patient("gone"), a_patient("alive"))
    with clinic.database.begin(clinic.workspace) as tx:
        parts.quarantine.put(
            tx, clinic.workspace, stage="tombstones", subject="s", code="too_many_deletes", message="many",
            data_source_id=source_id, now=utc_now(),
            context={"resource_type": "Patient", "records": 2, "ids": ["gone", "alive"]},
        )  # fmt: skip
    assert [(r.outcome, r.reason) for r in parts.again()] == [("refused", "name_it")]
    assert [r.outcome for r in parts.again(named=True)] == ["replayed"]
    with clinic.database.begin(clinic.workspace) as tx:
        found = rows(tx, "SELECT canonical_id, status FROM entity ORDER BY canonical_id")
    assert [(row["canonical_id"], row["status"]) for row in found] == [
        ("ehr:Patient:alive", "active"), ("ehr:Patient:gone", "deleted"),
    ]  # fmt: skip


def test_each_entry_has_its_own_fate(parts: Parts, ehr: System, tmp_path: Path) -> None:
    clinic = parts.clinic
    clinic.source("ehr", ehr)
    clinic.land("ehr", a_patient("a", birthDate=BAD_DATE), a_patient("b", active="perhaps"), a_patient("c"))
    parts.mappings = lenient(tmp_path)
    outcomes = {result.code: result.outcome for result in parts.again()}
    assert sorted(outcomes.values()) == ["failed", "replayed"]
    assert [entry.times for entry in parts.entries()] == [2]


def test_what_cannot_be_read_back_is_put_before_a_person_and_looked_for_again(
    parts: Parts, ehr: System, store: System
) -> None:
    clinic = parts.clinic
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    store.faults(
        {"on": "PUT Patient", "kind": "drop_answer", "next": 1}, {"on": "GET Patient", "kind": "html", "status": 200}
    )
    clinic.land("ehr", a_patient())
    assert clinic.flow("store").outcomes["unknown"] == 1
    overdue = "UPDATE {} SET {} = clock_timestamp() - interval '1 second'"
    clinic.execute("UPDATE sync_lane SET attempts = 20")
    clinic.execute(overdue.format("sync_lane", "due_at"))
    clinic.execute(overdue.format("open_intent", "resolve_after"))
    assert clinic.drain("store").outcomes == {"quarantined": 1}
    assert (clinic.lane("store")["reason"], clinic.count("open_intent")) == ("html", 1)

    store.faults()
    assert [result.outcome for result in parts.again(stage="outbound")] == ["put_back"]
    clinic.flow("store")
    assert (clinic.lane("store")["state"], clinic.count("open_intent")) == ("idle", 0)
    assert (len(store.all("Patient")), len(store.writes())) == (1, 1)
