"""What becomes of the records of a file: names resolved, repeats, bad ones, cut ones, versions and deletes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import rows
from connector_runner.intake.imports import running
from connector_runner.intake.landing import Intake
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import entity_id_of
from tests.integration.imports.stack import (
    Parts,
    bundle,
    count,
    entity,
    observation,
    patient,
    post,
    write,
)

ADA, VISIT = "urn:uuid:0d6b5d5e-1111-4a4a-8a8a-000000000001", "urn:uuid:0d6b5d5e-1111-4a4a-8a8a-000000000002"


def test_a_bundle_resolves_its_own_names_whatever_points_where(deps: Parts, workspace: str, tmp_path: Path) -> None:
    visit = {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
             "subject": {"reference": ADA}, "participant": [
                 {"individual": {"reference": "Practitioner?identifier=http://npi|1234567893"}}]}  # fmt: skip
    reversed_keys = {"entry": [post(observation(1, ADA)), post(visit, VISIT), post(patient(1), ADA)],
                     "type": "transaction", "resourceType": "Bundle"}  # fmt: skip
    outcome = running.run_local(deps, workspace, "partner", [str(write(tmp_path / "b.json.gz", reversed_keys))])
    assert (outcome["resources"], outcome["events_created"], outcome["errors"]) == (3, 3, [])
    found = entity(deps, workspace, "Observation", "o1")
    assert found["state"]["patient"]["ref"] == "partner:Patient:p1"
    seen = entity(deps, workspace, "Encounter", VISIT.removeprefix("urn:uuid:"))
    assert seen["state"]["patient"]["ref"] == "partner:Patient:p1"
    assert '"value": "1234567893"' in json.dumps(seen["state"]["participant"])


def test_numbers_without_a_country_are_of_the_region_that_the_source_states(
    deps: Parts, workspace: str, tmp_path: Path
) -> None:
    document = {"name": "partner", "source_type": "file_drop", "settings": {"default_region": "GB"}}
    with deps.database.begin(workspace) as tx:
        directory.apply(tx, workspace, document, actor="test", now=utc_now())
    said = patient(1, telecom=[{"system": "phone", "value": "020 7946 0958"}])
    running.run_local(deps, workspace, "partner", [str(write(tmp_path / "p.json", said))])
    assert entity(deps, workspace, "Patient", "p1")["state"]["telecom"][0]["value"] == "+442079460958"


def test_to_import_a_folder_again_says_nothing_new(deps: Parts, workspace: str, tmp_path: Path) -> None:
    write(tmp_path / "a.json", bundle(post(patient(1), ADA), post(observation(1, ADA), VISIT)))
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "Patient.ndjson", [patient(n) for n in range(2, 30)])
    write(tmp_path / "one.json", patient(40))
    (tmp_path / "readme.txt").write_text("not for import")
    first = running.run_local(deps, workspace, "partner", [str(tmp_path)])
    assert (first["events_created"], first["entities_created"], first["failed_files"]) == (31, 31, 0)
    assert first["ignored"] == {"other_files": 1}
    events = count(deps, workspace, "event")
    again = running.run_local(deps, workspace, "partner", [str(tmp_path)])
    assert (again["events_created"], again["events_updated"], again["events_skipped"]) == (0, 0, 31)
    assert count(deps, workspace, "event") == events


def test_bad_records_are_quarantined_with_their_place_and_bytes(deps: Parts, workspace: str, tmp_path: Path) -> None:
    entries = [
        json.dumps(post(patient(1))),
        '{"resource":{"resourceType":"Patient","id":"x","active":tru}}',
        json.dumps(post(patient(2, birthDate="1982-13-45"))),
        json.dumps({"resource": {"resourceType": "Patient", "active": True}}),
        json.dumps(post({"resourceType": "Spaceship", "id": "s"})),
        json.dumps(post(patient(1, active=False))),
        json.dumps({"request": {"method": "GET", "url": "Patient"}}),
        json.dumps({"resource": patient(3), "request": {"method": "DELETE", "url": "Patient/p3"}}),
    ]
    text = '{"resourceType":"Bundle","type":"batch","entry":[' + ",".join(entries) + "]}"
    body = text.encode().replace(b'"Ames2"', b'"Ames2"')
    (tmp_path / "mixed.json").write_bytes(body)
    (tmp_path / "bytes.ndjson").write_bytes(json.dumps(patient(9)).encode() + b'\n{"resourceType":"\xff"}\n')
    outcome = running.run_local(deps, workspace, "partner", [str(tmp_path)])
    errors = "\n".join(outcome["errors"])
    assert "bytes.ndjson line 2: not_utf8: not UTF-8 at byte 17" in errors
    assert "mixed.json entry[1]: not_json: not readable at byte" in errors
    assert "mixed.json entry[3].id: no_id" in errors
    assert "mixed.json entry[5]: duplicate_id" in errors
    assert "birthDate" in errors
    assert outcome["unmapped"] == {"Spaceship": 1}
    assert outcome["ignored"] == {"read_request": 1}
    assert outcome["failed_files"] == 0
    with deps.database.begin(workspace) as tx:
        kept = {entry.code: entry for entry in deps.quarantine.list(tx, workspace, stage="import")}
        body_kept = deps.quarantine.body(tx, workspace, kept["not_utf8"].quarantine_id)
    assert set(kept) == {"not_json", "no_id", "not_utf8"}
    assert body_kept == b'{"resourceType":"\xff"}'
    latest = entity(deps, workspace, "Patient", "p1")
    assert latest["state"]["active"] is False
    again = running.run_local(deps, workspace, "partner", [str(tmp_path)])
    assert (again["events_created"], again["events_updated"]) == (0, 0)
    with deps.database.begin(workspace) as tx:
        assert len(deps.quarantine.list(tx, workspace, stage="import")) == 3


def test_a_cut_bundle_gives_its_complete_entries(deps: Parts, workspace: str, tmp_path: Path) -> None:
    whole = json.dumps(bundle(*[post(patient(n)) for n in range(20)])).encode()
    (tmp_path / "cut.json").write_bytes(whole[:-100])
    outcome = running.run_local(deps, workspace, "partner", [str(tmp_path / "cut.json")])
    assert outcome["events_created"] == 19
    assert f"at byte {len(whole) - 100};" in outcome["errors"][0]
    assert outcome["quarantined"] == 1


def test_what_cannot_be_read_fails_alone(deps: Parts, workspace: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1,x\n")
    (tmp_path / "empty.json").write_text("")
    write(tmp_path / "z.json", patient(1))
    outcome = running.run_local(deps, workspace, "partner", [str(tmp_path)])
    assert (outcome["events_created"], outcome["failed_files"], outcome["status"]) == (1, 2, "completed")
    assert any("CSV" in error for error in outcome["errors"])


def test_one_record_that_makes_us_fail_is_found_and_set_aside(
    deps: Parts, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land = Intake.land

    def failing(self: Intake, tx: Any, workspace_id: str, origin: Any, records: Any, **rest: Any) -> Any:
        def poisoned() -> Iterator[SourceRecord]:
            for record in records:
                if record.record_id == "p13":
                    raise RuntimeError("a fault of ours")
                yield record

        return land(self, tx, workspace_id, origin, poisoned(), **rest)

    monkeypatch.setattr(Intake, "land", failing)
    path = write(tmp_path / "Patient.ndjson", [patient(n) for n in range(40)])
    outcome = running.run_local(deps, workspace, "partner", [str(path)])
    assert (outcome["events_created"], outcome["quarantined"]) == (39, 1)
    assert "line 14: internal_error" in outcome["errors"][0]


def test_a_source_keeps_its_mappings(deps: Parts, workspace: str, tmp_path: Path) -> None:
    path = str(write(tmp_path / "p.json", patient(1)))
    with pytest.raises(Misconfigured, match="no mappings of that name"):
        running.run_local(deps, workspace, "partner", [path], mapping="klingon")
    running.run_local(deps, workspace, "partner", [path])
    with deps.database.begin(workspace) as tx:
        made = rows(tx, "SELECT source_type, settings FROM data_source")
    assert made == [{"source_type": "file_drop", "settings": {"mapping": "fhir_r4"}}]
    with pytest.raises(Misconfigured):
        running.run_local(deps, workspace, "Partner Clinic", [path])
    with pytest.raises(Misconfigured, match="no such workspace"):
        running.run_local(deps, "nowhere", "partner", [path])


def test_history_bundles_bring_versions_and_deletes(deps: Parts, workspace: str, tmp_path: Path) -> None:
    def version(n: int, **more: Any) -> dict[str, Any]:
        meta = {"versionId": str(n), "lastUpdated": f"2026-01-0{n}T00:00:00Z"}
        return {"resource": patient(1, meta=meta, **more), "request": {"method": "PUT", "url": "Patient/p1"}}

    newest_first = bundle(version(3, active=False), version(2, active=True), version(1), kind="history")
    outcome = running.run_local(deps, workspace, "partner", [str(write(tmp_path / "h.json", newest_first))])
    assert outcome["errors"] == []
    found = entity(deps, workspace, "Patient", "p1")
    assert found["state"]["active"] is False
    gone = bundle(
        {"request": {"method": "DELETE", "url": "Patient/p1"}, "response": {"lastModified": "2026-02-01T00:00:00Z"}},
        kind="history",
    )
    running.run_local(deps, workspace, "partner", [str(write(tmp_path / "d.json", gone))])
    found = entity(deps, workspace, "Patient", "p1")
    assert found["status"] == "deleted"


def test_entity_ids_do_not_depend_on_the_way_of_import(deps: Parts, workspace: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", bundle(post(patient(1), ADA)))
    running.run_local(deps, workspace, "partner", [str(path)])
    with deps.database.begin(workspace) as tx:
        (row,) = rows(tx, "SELECT entity_id FROM entity")
    assert str(row["entity_id"]) == entity_id_of(workspace, "partner:Patient:p1")
