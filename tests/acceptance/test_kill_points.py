"""Workers that are killed at thirty seeded points leave what an undisturbed run leaves, and write nothing twice.

The seed is printed; ``DRILL_SEED=n make test ARGS="-k kill_points"`` runs another.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from connector_runner.infra.database import Database, rows
from tests.acceptance.stack import POLLED, ROOT, Sandbox, Stack, a_stack, ehr_settings, store_settings, wait_for

SEED = int(os.environ.get("DRILL_SEED", "20261121"))
POINTS = 30
DEATH_S = 90.0
"""Far more than a worker takes to come to its point: only one that never would is given up."""
FED_S = 4.0
WRITTEN = ("Patient", "Organization", "Practitioner", "Location", "Appointment")


@dataclass(frozen=True)
class KillPoint:
    """Where one worker dies: at the ``nth`` time that it comes to ``moment``, in a pool of ``pool``."""

    number: int
    phase: str
    pool: str
    moment: str
    nth: int

    @staticmethod
    def plan(seed: int) -> list[KillPoint]:
        dice = random.Random(seed)
        points = []
        for number in range(POINTS):
            phase = ("import", "poll", "drain")[number % 3]
            moments = ["before_commit", "after_commit"] + (
                [] if phase == "import" else ["before_request", "after_request"]
            )
            nth = dice.randint(1, 3 if phase == "import" else 6)
            points.append(KillPoint(number, phase, "cpu" if phase == "import" else "io", dice.choice(moments), nth))
        return points


class Drill:
    """One run over one EHR, disturbed or not."""

    def __init__(self, stack: Stack, ehr: Sandbox, store: Sandbox) -> None:
        self.stack, self.ehr, self.store = stack, ehr, store
        self.deaths: Counter[str] = Counter()
        stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
        stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir)))

    def import_file(self, path: Path) -> None:
        """As from a Python shell: registered, and left to the workers."""
        code = (
            "import sys; from tasks.imports import import_bundle;"
            " import_bundle.delay(sys.argv[1], workspace='demo', source='partner')"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, env=self.stack.environment, check=True)

    def kill_at(self, point: KillPoint) -> None:
        """Run a worker, and change something at the EHR now and then, until it dies at the point."""
        token = self.stack.folder / "token"
        token.touch()
        crash_at = f"{point.moment}:{point.nth}:{token}"
        process = self.stack.start("worker", "--pool", point.pool, crash_at=crash_at)
        given_up = time.monotonic() + DEATH_S
        while process.poll() is None and time.monotonic() < given_up:
            try:
                process.wait(FED_S)
            except subprocess.TimeoutExpired:
                self.ehr.post("_sandbox/change", {"n": 1})
        self.deaths[point.phase] += process.poll() == -9
        self.stack.end(process)

    def finish(self) -> None:
        """Let ordinary workers do what is left."""
        for pool in ("io", "cpu"):
            self.stack.start("worker", "--pool", pool)
        self.stack.start("beat")
        wait_for("the imports", self._imported, every_s=0.5)
        wait_for("the polls", self._caught_up, every_s=0.5)
        self.stack.settled()

    def _query(self, sql: str) -> list[dict[str, Any]]:
        database = Database(self.stack.services.services.database_url)
        workspace = self.stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
        with database.begin(workspace) as tx:
            found = rows(tx, sql)
        database.dispose()
        return found

    def _imported(self) -> bool:
        return not self._query("SELECT 1 FROM import_job WHERE status IN ('pending', 'running')")

    def _caught_up(self) -> bool:
        """Every record of the EHR is in, in its latest version."""
        have = {
            (row["record_key"], row["version"])
            for row in self._query(
                "SELECT e.record_key, v.version FROM record_version v JOIN event e ON e.id = v.event_id"
            )
        }
        return all(
            (f"ehr:{kind}:{resource['id']}", resource["meta"]["versionId"]) in have
            for kind in POLLED
            for resource in self.ehr.every(kind)
        )

    def called_off(self, kind: str) -> list[str]:
        """What the EHR's resources say that were called off before they were sent, and so are in no sink."""
        found = self._query(
            "SELECT e.canonical_id FROM sync_lane l JOIN entity e ON e.entity_id = l.entity_id"
            " WHERE l.state = 'idle' AND l.reason = 'cancelled_before_sent'"
        )
        unsent = {row["canonical_id"] for row in found}
        return [said(resource) for resource in self.ehr.every(kind) if f"ehr:{kind}:{resource['id']}" in unsent]

    def outlived(self, kind: str) -> list[str]:
        """What the store has of resources that the EHR deleted since: nothing is ever deleted in a sink."""
        found = self._query(
            "SELECT l.sink_ref FROM sync_lane l JOIN entity e ON e.entity_id = l.entity_id"
            " WHERE e.status = 'deleted' AND l.sink_ref IS NOT NULL"
        )
        kept = {row["sink_ref"] for row in found}
        return [said(resource) for resource in self.store.every(kind) if f"{kind}/{resource['id']}" in kept]

    def states(self) -> dict[str, str]:
        """The text of each active entity's state."""
        found = self._query("SELECT canonical_id, state::text AS state FROM projection WHERE status = 'active'")
        return {row["canonical_id"]: row["state"] for row in found}


def said(resource: dict[str, Any]) -> str:
    """What a resource says of itself, without its ids and references."""
    kept = ("name", "telecom", "birthDate", "gender", "address", "status", "start", "end")
    return json.dumps({name: resource[name] for name in kept if name in resource}, sort_keys=True)


def contents(sandbox: Sandbox, kind: str) -> list[str]:
    """What the resources of a type say of themselves."""
    return sorted(map(said, sandbox.every(kind)))


def some_files(folder: Path, count: int) -> list[Path]:
    """NDJSON files of a partner's patients, two versions of each among them."""
    files = []
    for number in range(count):
        lines = [
            {"resourceType": "Patient", "id": f"f{number}-{n % 40}", "name": [{"family": f"Partner{n % 40}"}],
             "telecom": [{"system": "phone", "value": f"617-555-{1000 + n}"}],
             "meta": {"lastUpdated": f"2026-0{1 + n // 40}-01T00:00:00Z", "versionId": str(n // 40)}}
            for n in range(80)
        ]  # fmt: skip
        files.append(folder / f"partner{number}.ndjson")
        files[-1].write_text("\n".join(map(json.dumps, lines)))
    return files


@pytest.fixture
def ehr(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox("ehr", tmp_path / "ehr.log", "--seed", "5", "--patients", "4")
    yield sandbox
    sandbox.stop()


def disturbed(drill: Drill, files: list[Path]) -> None:
    """All thirty deaths, with servers restarted and emptied among them."""
    stack, began = drill.stack, time.monotonic()
    stack.start("beat")
    for point in KillPoint.plan(SEED):
        print(f"{time.monotonic() - began:.0f} s: {point}", flush=True)
        if point.phase == "import":
            drill.import_file(files[point.number // 3])
        drill.ehr.post("_sandbox/change", {"n": 4})
        if point.number % 10 == 5:
            drill.store.put("_sandbox/faults", [{"on": "* *", "kind": "drop_answer", "next": 2}])
        if point.number == 7:
            redis.Redis.from_url(stack.services.services.redis_url).flushall()
        if point.number == 13:
            stack.restart_redis(wipe=True)
        if point.number == 20:
            stack.restart_postgres()
        drill.kill_at(point)
    drill.store.put("_sandbox/faults", [])


@pytest.mark.slow
def test_thirty_kill_points_lose_nothing_and_write_nothing_twice(tmp_path: Path, ehr: Sandbox) -> None:
    print(f"DRILL_SEED={SEED}")
    files = some_files(tmp_path, POINTS // 3)
    for name in ("disturbed", "calm"):
        (tmp_path / name).mkdir()
    with a_stack(tmp_path / "disturbed") as stack:
        drill = Drill(stack, ehr, stack.sandbox("store"))
        disturbed(drill, files)
        drill.finish()
        states, deaths = drill.states(), drill.deaths
        written = {kind: contents(drill.store, kind) for kind in WRITTEN}
        called_off = {kind: drill.called_off(kind) for kind in WRITTEN}
        outlived = {kind: drill.outlived(kind) for kind in WRITTEN}
        status = stack.status()
    with a_stack(tmp_path / "calm") as stack:
        calm = Drill(stack, ehr, stack.sandbox("store"))
        for file in files:
            calm.import_file(file)
        calm.finish()
        expected = calm.states()
        undisturbed = {kind: contents(calm.store, kind) for kind in WRITTEN}

    print(f"died: {dict(deaths)}")
    assert sum(deaths.values()) >= POINTS * 4 // 5, "the drill killed too little to prove anything"
    assert {name: state for name, state in states.items() if name in expected} == expected
    for kind in WRITTEN:
        due = Counter(undisturbed[kind]) - Counter(called_off[kind])
        missing = due - Counter(written[kind])
        extra = Counter(written[kind]) - Counter(outlived[kind]) - due
        assert not missing, f"{kind}: {len(missing)} not written"
        assert not extra, f"{kind}: {len(extra)} written twice, or called off and written"
    assert status["sinks"], "the sinks are there"
