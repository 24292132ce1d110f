"""Imports on real Postgres: in process and by workers, resumed, repeated, damaged."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Database, Row, one, rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.imports import chunks, registering, running, store
from connector_runner.intake.landing import Intake
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Conflict, Misconfigured, Unavailable
from connector_runner.kernel.ids import canonical_id, entity_id_of
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.world import reading
from connector_runner.world.service import World

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
METADATA = "http://169.254.169.254/latest/meta-data"
ADA, VISIT = "urn:uuid:0d6b5d5e-1111-4a4a-8a8a-000000000001", "urn:uuid:0d6b5d5e-1111-4a4a-8a8a-000000000002"


@dataclass(frozen=True)
class Parts:
    """What imports work with."""

    settings: Settings
    database: Database
    http: HTTP
    mappings: MappingSet
    intake: Intake
    quarantine: Quarantine


@pytest.fixture
def deps(database: Database) -> Parts:
    settings = Settings(http_allow=("127.0.0.1",))
    quarantine = Quarantine(Sealer(b"k" * 32))
    intake = Intake(World(), MAPPINGS, quarantine)
    return Parts(settings, database, HTTP(settings), MAPPINGS, intake, quarantine)


def patient(n: int | str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": f"p{n}", "name": [{"family": f"Ames{n}", "given": ["Ida"]}]} | more


def observation(n: int, subject: str) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "8302-2"}]}
    quantity = {"value": 170 + n % 10, "unit": "cm"}
    said = {"code": code, "effectiveDateTime": "2026-01-02", "valueQuantity": quantity}
    return {"resourceType": "Observation", "id": f"o{n}", "status": "final", "subject": {"reference": subject}} | said


def post(resource: dict[str, Any], full_url: str | None = None) -> dict[str, Any]:
    request = {"method": "POST", "url": resource["resourceType"]}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def bundle(*entries: Any, kind: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def write(path: Path, content: Any) -> Path:
    """A file of lines from a list of resources, of one document otherwise; packed when its name says so."""
    text = "\n".join(map(json.dumps, content)) if isinstance(content, list) else json.dumps(content, indent=2)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def entity(deps: Parts, workspace: str, kind: str, record_id: str) -> Row:
    with deps.database.begin(workspace) as tx:
        found = reading.row(tx, workspace, canonical_id("partner", kind, record_id))
    assert found is not None
    return found


def count(deps: Parts, workspace: str, table: str) -> int:
    with deps.database.begin(workspace) as tx:
        row = one(tx, f"SELECT count(*) AS n FROM {table}")
    return int(row["n"]) if row else 0


def run_to_end(deps: Parts, workspace: str, import_id: str, *, slice_s: float = 10) -> int:
    """Slices until there is nothing left; how many it took."""
    for slices in range(1, 200):
        if not running.run(deps, workspace, import_id, owner="worker", slice_s=slice_s).more:
            return slices
    raise AssertionError("the import does not end")


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


def test_workers_read_what_was_registered_from_storage(deps: Parts, workspace: str, tmp_path: Path) -> None:
    entries = [post(patient(n), f"urn:uuid:{n:08}-0000-4000-8000-000000000000") for n in range(50)]
    entries += [post(observation(n, f"urn:uuid:{n:08}-0000-4000-8000-000000000000")) for n in range(50)]
    path = write(tmp_path / "b.json.gz", bundle(*reversed(entries)))
    workspace_id, import_id = registering.register(deps, workspace, "partner", str(path))
    path.unlink()
    assert workspace_id == workspace
    with deps.database.sweep() as tx:
        assert (workspace, import_id) in running.overdue(tx, utc_now())
    run_to_end(deps, workspace, import_id)
    outcome = running.outcome_of(deps, workspace, import_id)
    assert (outcome["status"], outcome["events_created"], outcome["errors"]) == ("completed", 100, [])
    found = entity(deps, workspace, "Observation", "o7")
    assert found["state"]["patient"]["ref"] == "partner:Patient:p7"
    assert count(deps, workspace, "import_part") == 0
    with deps.database.sweep() as tx:
        assert (workspace, import_id) not in running.overdue(tx, utc_now())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few kilobytes count as large, and chunks are small."""
    monkeypatch.setattr(chunks, "SMALL_BYTES", 500)
    monkeypatch.setattr(chunks, "NAMES_A_WRITE", 7)
    monkeypatch.setattr(chunks, "CHUNK_ITEMS", 10)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("slice_s", [0.0001, 10])
def test_a_large_bundle_looks_names_up_a_chunk_at_a_time(
    deps: Parts, workspace: str, tmp_path: Path, slice_s: float
) -> None:
    urls = [f"urn:uuid:{n:08}-0000-4000-8000-000000000000" for n in range(40)]
    entries = [post(observation(n, urls[n].upper().replace("URN:UUID", "urn:uuid"))) for n in range(40)]
    entries += [post(patient(n), urls[n]) for n in range(40)]
    path = write(tmp_path / "b.json", bundle(*entries))
    _, import_id = registering.register(deps, workspace, "partner", str(path))
    slices = run_to_end(deps, workspace, import_id, slice_s=slice_s)
    assert (slices > 5) == (slice_s < 1)
    outcome = running.outcome_of(deps, workspace, import_id)
    assert (outcome["events_created"], outcome["errors"]) == (80, [])
    for n in (0, 17, 39):
        found = entity(deps, workspace, "Observation", f"o{n}")
        assert found["state"]["patient"]["ref"] == f"partner:Patient:p{n}"
    assert count(deps, workspace, "import_reference") == 0


@pytest.mark.usefixtures("tiny")
def test_a_worker_that_lost_its_file_writes_nothing(deps: Parts, workspace: str, tmp_path: Path) -> None:
    path = write(tmp_path / "Patient.ndjson", [patient(n) for n in range(30)])
    _, import_id = registering.register(deps, workspace, "partner", str(path))
    first = running._claim(deps, workspace, import_id, "first")
    assert first is not None
    with deps.database.begin(workspace) as tx:
        store.free_file(tx, first)
    second = running._claim(deps, workspace, import_id, "second")
    assert second is not None
    with pytest.raises(Conflict) as caught:
        running._work(deps, first, time.monotonic() + 10)
    assert caught.value.code == "lease_lost"
    assert count(deps, workspace, "event") == 0
    assert running._work(deps, second, time.monotonic() + 10)
    assert count(deps, workspace, "event") == 30


KILLED = """
import os, signal, sys
from connector_runner.intake.imports import chunks, running, store
from tests.integration.test_imports import MAPPINGS, Parts
from connector_runner.infra.database import Database
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.landing import Intake
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.settings import Settings
from connector_runner.world.service import World
url, workspace, import_id, at, chunk, small = sys.argv[1:]
chunks.CHUNK_ITEMS, chunks.SMALL_BYTES, chunks.NAMES_A_WRITE = int(chunk), int(small), 9
store.LEASE_S = 0.2
s = Settings(); q = Quarantine(Sealer(b"k" * 32))
deps = Parts(s, Database(url), HTTP(s), MAPPINGS, Intake(World(), MAPPINGS, q), q)
save, left = store.save_progress, int(at)
def dying(tx, lease):
    global left
    save(tx, lease)
    left -= 1
    if left == 0:
        if int(at) % 2: tx.commit()
        os.kill(os.getpid(), signal.SIGKILL)
store.save_progress = dying
running.run(deps, workspace, import_id, owner="doomed", slice_s=60)
"""


@pytest.mark.parametrize("at", [1, 2, 3, 6, 8, 11])
@pytest.mark.parametrize("small", [500, 1_000_000])
def test_an_import_that_was_killed_goes_on_where_it_was(
    deps: Parts, database_url: str, workspace: str, tmp_path: Path, at: int, small: int
) -> None:
    urls = [f"urn:uuid:{n:08}-0000-4000-8000-000000000000" for n in range(30)]
    entries = [post(observation(n, urls[n])) for n in range(30)] + [post(patient(n), urls[n]) for n in range(30)]
    path = write(tmp_path / "b.json", bundle(*entries))
    _, import_id = registering.register(deps, workspace, "partner", str(path))
    command = [sys.executable, "-c", KILLED, database_url, workspace, import_id, str(at), "10", str(small)]
    died = subprocess.run(command, cwd=PROJECT_ROOT, env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}, timeout=60)
    if died.returncode == 0:
        assert small > 500  # a small file has fewer writes than this kill waits for
        assert at > 6
    else:
        assert died.returncode == -signal.SIGKILL
    time.sleep(0.25)
    run_to_end(deps, workspace, import_id)
    outcome = running.outcome_of(deps, workspace, import_id)
    assert (outcome["status"], outcome["events_created"], outcome["resources"]) == ("completed", 60, 60)
    assert (count(deps, workspace, "event"), count(deps, workspace, "record_version")) == (60, 60)
    found = entity(deps, workspace, "Observation", "o29")
    assert found["state"]["patient"]["ref"] == "partner:Patient:p29"


def test_two_workers_share_the_files_of_an_import(deps: Parts, workspace: str, tmp_path: Path) -> None:
    for file in range(6):
        write(tmp_path / f"f{file}.ndjson", [patient(file * 100 + n) for n in range(60)] + [patient("same")])
    _, import_id = registering.register(deps, workspace, "partner", str(tmp_path))
    workers = [threading.Thread(target=run_to_end, args=(deps, workspace, import_id)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    outcome = running.outcome_of(deps, workspace, import_id)
    assert (outcome["status"], outcome["events_created"], outcome["events_skipped"]) == ("completed", 361, 5)


class _Files(http.server.BaseHTTPRequestHandler):
    content = b""
    ranges = True
    failures = 0

    def do_GET(self) -> None:
        kind = type(self)
        if kind.failures:
            kind.failures -= 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin, end, status = 0, len(kind.content), 200
        if kind.ranges and (wanted := self.headers.get("Range")):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end, status = int(first), min(int(last) + 1, end), 206
        self.send_response(status)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        self.wfile.write(kind.content[begin:end])

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def files() -> Iterator[tuple[type[_Files], str]]:
    handler = type("Files", (_Files,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}/Ada%20Ames.ndjson"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_worker_fetches_a_url_and_waits_while_it_cannot(
    deps: Parts, workspace: str, files: tuple[type[_Files], str], ranges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector_runner.intake.imports.storage.PART_BYTES", 2000)
    monkeypatch.setattr("connector_runner.intake.imports.storage._FETCH_BYTES", 16000)
    served, url = files
    served.content = "\n".join(json.dumps(patient(n)) for n in range(500)).encode()
    served.ranges, served.failures = ranges, 1
    _, import_id = registering.register(deps, workspace, "partner", url)
    with pytest.raises(Unavailable):
        running.run(deps, workspace, import_id, owner="worker")
    run_to_end(deps, workspace, import_id)
    outcome = running.outcome_of(deps, workspace, import_id)
    assert (outcome["status"], outcome["events_created"], outcome["errors"]) == ("completed", 500, [])


def test_object_stores_are_read_and_other_places_are_refused(deps: Parts, workspace: str) -> None:
    with fsspec.open("memory://drop/Patient.ndjson", "wb") as file:
        file.write("\n".join(json.dumps(patient(n)) for n in range(10)).encode())
    _, import_id = registering.register(deps, workspace, "partner", "memory://drop/Patient.ndjson")
    run_to_end(deps, workspace, import_id)
    assert running.outcome_of(deps, workspace, import_id)["events_created"] == 10
    for url in ("ftp://h/x.json", "https://u:p@h/x.json", "simplecache::https://h/x.json", "github://a:b@/x", METADATA):
        with pytest.raises(Misconfigured):
            registering.register(deps, workspace, "partner", url)
    elsewhere = replace(deps, http=HTTP(Settings(http_allow=("169.254.169.254",))))
    _, import_id = registering.register(elsewhere, workspace, "partner", METADATA)
    run_to_end(deps, workspace, import_id)
    refused = running.outcome_of(deps, workspace, import_id)
    assert (refused["status"], refused["failed_files"]) == ("failed", 1)
    assert "may not be called" in refused["errors"][0]


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
