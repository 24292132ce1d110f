"""Files that a worker fetches: from our storage, a URL, an object store."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from connector_runner.infra.http import HTTP
from connector_runner.intake.imports import registering, running
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured, Unavailable
from connector_runner.settings import Settings
from tests.integration.imports.stack import (
    Parts,
    bundle,
    count,
    entity,
    observation,
    patient,
    post,
    run_to_end,
    write,
)

METADATA = "http://169.254.169.254/latest/meta-data"


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
