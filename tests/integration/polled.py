"""A workspace with one source that is polled by hand, and the simulated FHIR server that it reads."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.infra.database import Database, rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake import polling
from connector_runner.intake.landing import Intake
from connector_runner.intake.polling import PollOutcome
from connector_runner.intake.read_gate import Gates
from connector_runner.intake.read_memory import ReadMemory
from connector_runner.kernel.clock import utc_now
from connector_runner.resilience.limiter import Limiter
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.sandbox import launch
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import load_mappings
from connector_runner.world.service import World

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")


@dataclass
class Deps:
    database: Database
    intake: Intake
    quarantine: Quarantine
    http: HTTP
    sealer: Sealer
    gates: Gates


@contextmanager
def deps_of(database: Database, redis_url: str) -> Iterator[Deps]:
    """What polling works with, on real Postgres and Redis."""
    sealer = Sealer(b"k" * 32)
    quarantine = Quarantine(sealer)
    http = HTTP(Settings(http_allow=("127.0.0.1",)))
    gates = Gates(Limiter(redis_url, ReadMemory(database)), Limiter(redis_url), lambda workspace, sink: [])
    yield Deps(database, Intake(World(), MAPPINGS, quarantine), quarantine, http, sealer, gates)
    http.close()


class Server:
    """The simulated server as a test talks to it."""

    def __init__(self, system: launch.Running) -> None:
        self.system = system
        self.call("POST", f"{system.switchboard}/reset", {"empty": True})
        self.faults()

    def call(self, method: str, url: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/fhir+json"}, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            content = answer.read()
        return json.loads(content) if content else None

    def put(self, record_id: str, **content: Any) -> None:
        body = {"resourceType": "Patient", "id": record_id, **content}
        self.call("PUT", f"{self.system.base_url}/Patient/{record_id}", body)

    def delete(self, record_id: str) -> None:
        self.call("DELETE", f"{self.system.base_url}/Patient/{record_id}")

    def faults(self, *orders: dict[str, Any]) -> None:
        self.call("PUT", f"{self.system.switchboard}/faults", list(orders))


class Clinic:
    """One workspace with one source, polled by hand."""

    def __init__(self, deps: Deps, workspace: str, base_url: str, **settings: Any) -> None:
        self.deps, self.workspace = deps, workspace
        self.at = utc_now()
        resources = settings.pop("resources", {"Patient": {"cadence_s": 30}})
        settings = {"base_url": base_url, "page_size": 10, "resources": resources, **settings}
        document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
        self.source = self.apply(document)

    def apply(self, document: dict[str, Any]) -> DataSource:
        with self.deps.database.begin(self.workspace) as tx:
            (applied,) = directory.apply(tx, self.workspace, document, actor="test", now=self.at)
        return applied.source

    def poll(self, *, after_s: float = 400, owner: str = "one", slice_s: float = 10) -> PollOutcome:
        """Poll once, as if ``after_s`` had passed; longer than any pause between polls."""
        self.at += timedelta(seconds=after_s)
        return polling.poll(
            self.deps,
            self.workspace,
            self.source.data_source_id,
            "Patient",
            owner=owner,
            now=self.at,
            slice_s=slice_s,
        )

    def poll_on(self, **how: Any) -> list[PollOutcome]:
        """Poll until a window is over."""
        outcomes = [self.poll(**how)]
        while outcomes[-1].more:
            outcomes.append(self.poll(after_s=0.01, **how))
        return outcomes

    def full_sync(self) -> PollOutcome:
        with self.deps.database.begin(self.workspace) as tx:
            directory.request_sync(
                tx, self.workspace, self.source.data_source_id, now=self.at + timedelta(seconds=1), full=True
            )
        return self.poll()

    def query(self, sql: str, **bound: Any) -> list[dict[str, Any]]:
        with self.deps.database.begin(self.workspace) as tx:
            return [dict(row) for row in rows(tx, sql, **bound)]

    @property
    def alive(self) -> set[str]:
        found = self.query("SELECT canonical_id FROM entity WHERE status = 'active'")
        return {row["canonical_id"].rpartition(":")[2] for row in found}

    @property
    def events(self) -> int:
        return int(self.query("SELECT count(*) AS n FROM event")[0]["n"])

    @property
    def resource(self) -> dict[str, Any]:
        return self.query("SELECT * FROM source_resource")[0]

    @property
    def health(self) -> tuple[str, str | None]:
        (row,) = self.query("SELECT health_status, health_code FROM data_source")
        return row["health_status"], row["health_code"]

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        return self.query("SELECT stage, code, context, times FROM quarantine WHERE status = 'open'")
