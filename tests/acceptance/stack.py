"""The whole product as its operators run it: servers, simulated systems, workers and beat as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import requests

from connector_runner.infra import embedded, migrations
from connector_runner.infra.database import Database, one, rows
from connector_runner.infra.embedded.ephemeral import EphemeralServices
from tests.acceptance.commands import Commands

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
POLLED = ("Organization", "Location", "Practitioner", "Patient", "Appointment", "Encounter", "Condition", "Observation")
WRITTEN = ("organization", "location", "practitioner", "patient", "appointment")


def wait_for(what: str, look: Callable[[], T | None], *, timeout_s: float = 240, every_s: float = 0.2) -> T:
    """Look until there is something truthy; the deadline only bounds a failing run."""
    end = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(every_s)


class Sandbox:
    """One simulated system, as a process."""

    def __init__(self, system: str, log: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "connector_runner.sandbox", "--system", system, "--port", "0", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log.open("ab"), text=True)
        line = self.process.stdout.readline() if self.process.stdout else ""
        assert "listening" in line, f"{system} did not start"
        self.root = line.split()[-1].rstrip("/").removesuffix("/fhir")
        self.fhir = f"{self.root}/fhir"

    def get(self, path: str, **params: Any) -> Any:
        answer = requests.get(f"{self.root}/{path}", params=params, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def put(self, path: str, body: Any) -> None:
        requests.put(f"{self.root}/{path}", json=body, timeout=30).raise_for_status()

    def post(self, path: str, body: Any) -> Any:
        answer = requests.post(f"{self.root}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def journal(self) -> list[dict[str, Any]]:
        found = self.get("_sandbox/journal")
        return found if isinstance(found, list) else found["entries"]

    def every(self, resource_type: str) -> list[dict[str, Any]]:
        """All resources of a type, by paging."""
        resources: list[dict[str, Any]] = []
        url: str | None = f"{self.fhir}/{resource_type}?_count=500"
        while url:
            bundle = requests.get(url, timeout=30).json()
            resources += [entry["resource"] for entry in bundle.get("entry", ())]
            url = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), None)
        return resources

    def repeated(self) -> list[str]:
        """Resources that were written as they were already: each write must have had something to say."""
        writes = Counter(entry["resource"] for entry in self.journal() if entry["committed"])
        found = []
        for resource, count in writes.items():
            versions = [self.get(f"fhir/{resource}/_history/{number}") for number in range(1, count + 1)]
            said = [{name: value for name, value in each.items() if name != "meta"} for each in versions]
            found += [resource for before, after in pairwise(said) if before == after]
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Stack:
    """Servers of its own, and whatever processes of the product a test starts on them."""

    def __init__(self, services: EphemeralServices, folder: Path, environment: Mapping[str, str]) -> None:
        self.services = services
        self.folder = folder
        self.environment = dict(environment)
        self.python = sys.executable
        self.processes: list[subprocess.Popen[bytes]] = []
        self.sandboxes: list[Sandbox] = []
        self.commands = Commands()

    @property
    def home(self) -> Path:
        return self.services.home

    def sandbox(self, system: str, *arguments: str) -> Sandbox:
        made = Sandbox(system, self.folder / f"{system}.log", *arguments)
        self.sandboxes.append(made)
        return made

    def start(
        self, *arguments: str, module: str = "connector_runner.cli", crash_at: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``connector-runner ARGUMENTS`` and leave it running; its output goes to a log."""
        environment = dict(self.environment)
        if crash_at is not None:
            environment |= {"CRASH_AT": crash_at, "PYTHONPATH": str(Path(__file__).parent / "crash_site")}
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def cli(self, *arguments: str, code: int = 0) -> Any:
        """Run one command; its JSON."""
        done = self.typed(*arguments, "--json")
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr, done.stderr[-4000:]
        return json.loads(done.stdout) if done.stdout.strip() else None

    def typed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command, as it is typed; what came of it."""
        return self.commands.run(arguments, self.environment)

    def write(self, name: str, content: Any) -> str:
        path = self.folder / name
        path.write_text(json.dumps(content))
        return str(path)

    def end(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
        """End a process and those that it started."""
        if process.poll() is None:
            if how is signal.SIGKILL:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        if process in self.processes:
            self.processes.remove(process)

    def close(self) -> None:
        for process in list(self.processes):
            self.end(process)
        for sandbox in self.sandboxes:
            sandbox.stop()
        self.commands.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cli("status")
        return found

    def taken_in(self, ehr: Sandbox) -> None:
        """Wait until a sandbox EHR was read: all that sinks get, some of the rest."""
        names = {kind: kind.lower() for kind in POLLED}
        there = {name: len(ehr.every(kind)) if name in WRITTEN else 1 for kind, name in names.items()}

        def look() -> bool:
            known = self.status()["entities"]
            return all(known.get(kind, 0) >= n for kind, n in there.items())

        wait_for(f"{there} of the population", look, every_s=1)

    def settled(self, *, timeout_s: float = 300) -> dict[str, Any]:
        """Wait until nothing is on its way to any sink; the status then. What was not read yet is not on its way."""

        def look() -> dict[str, Any] | None:
            status = self.status()
            moving = sum(
                n
                for sink in status["sinks"]
                for state, n in sink["lanes"].items()
                if state not in ("idle", "quarantined")
            )
            return status if not moving and not status["folding"]["pending"] and not self.pending() else None

        try:
            return wait_for("the lanes to settle", look, timeout_s=timeout_s, every_s=1)
        except AssertionError as error:
            log = (self.folder / "processes.log").read_text(errors="replace")
            last = "\n".join(
                line for line in log.splitlines()[-2000:] if '"level":"warn' in line or '"level":"err' in line
            )
            raise AssertionError(f"{error}: {self.pending()} pending, lanes {self.lanes()}\n{last}") from None

    def pending(self) -> int:
        """Changes that no release has looked at yet."""
        database = Database(self.services.services.database_url)
        try:
            with database.sweep() as tx:
                found = one(tx, "SELECT count(*) AS n FROM pending_release")
        finally:
            database.dispose()
        return 0 if found is None else int(found["n"])

    def lanes(self) -> list[dict[str, Any]]:
        """How many lanes are where, why, and for how many seconds yet."""
        database = Database(self.services.services.database_url)
        with database.sweep() as tx:
            found = rows(
                tx,
                "SELECT state, reason, reason_detail, attempts, entity_type, count(*) AS n,"
                " max(extract(epoch FROM due_at - now()))::int AS due_s FROM sync_lane"
                " WHERE state NOT IN ('idle') GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC LIMIT 20",
            )
        database.dispose()
        return found

    def restart_postgres(self) -> None:
        embedded.restart_postgres(self.home, immediate=True)

    def restart_redis(self, *, wipe: bool = False) -> None:
        embedded.restart_redis(self.home, wipe=wipe)


@contextmanager
def a_stack(folder: Path) -> Iterator[Stack]:
    """Fresh servers with the schema and the workspace ``demo``; everything is stopped at the end."""
    with EphemeralServices() as services:
        migrations.upgrade(services.services.database_url)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_RUNNER_")}
        environment |= {
            "DATABASE_URL": services.services.database_url,
            "REDIS_URL": services.services.redis_url,
            "CONNECTOR_RUNNER_HOME": str(services.home),
            "CONNECTOR_RUNNER_HTTP_ALLOW": "127.0.0.1",
            "FLOWER_BASIC_AUTH": "ops:ops-password",
            "HOST": "127.0.0.1",
        }
        stack = Stack(services, folder, environment)
        try:
            stack.cli("workspace", "create", "demo")
            yield stack
        finally:
            stack.close()


def ehr_settings(base_url: str, *, cadence_s: float = 1, sink: bool = True) -> dict[str, Any]:
    """An EHR that is polled every second and takes back what agents said and people verified."""
    settings: dict[str, Any] = {
        "base_url": base_url,
        "mapping": "fhir_r4",
        "overlap_s": 5,
        "page_size": 100,
        "request_timeout_s": 5,
        "resources": {name: {"cadence_s": cadence_s} for name in POLLED},
    }
    if sink:
        settings["sink"] = {
            "enabled": True,
            "entity_types": ["patient", "appointment"],
            "rate": {"per_second": 50, "burst": 10, "concurrency": 2},
            "quiet_period_s": 1,
        }
    return {"name": "ehr", "source_type": "fhir_store", "settings": settings}


def store_settings(
    base_url: str, *, polled: tuple[str, ...] = (), accept_from: tuple[str, ...] = ("ehr",)
) -> dict[str, Any]:
    """A FHIR store that gets what the EHR says."""
    return {
        "name": "store",
        "source_type": "fhir_store",
        "settings": {
            "base_url": base_url,
            "mapping": "fhir_r4",
            "overlap_s": 5,
            "request_timeout_s": 5,
            "resources": {name: {"cadence_s": 2} for name in polled},
            "sink": {
                "enabled": True,
                "entity_types": list(WRITTEN),
                "accept_from": list(accept_from),
                "rate": {"per_second": 100, "burst": 20, "concurrency": 4},
                "quiet_period_s": 1,
                "client_id": True,
            },
        },
    }
