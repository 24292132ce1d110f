"""Chunks: one at a time, by several workers, after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from connector_runner.intake.imports import chunks, registering, running, store
from connector_runner.kernel.errors import Conflict
from connector_runner.settings import PROJECT_ROOT
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
from tests.integration.imports.stack import MAPPINGS, Parts
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
