"""What tests of bulk exports work with: a simulated server, and a workspace with a source that it is."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from connector_runner.bootstrap import Runner
from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.infra.database import execute, rows
from connector_runner.intake.bulk import requesting, running, store
from connector_runner.kernel.clock import utc_now
from connector_runner.sandbox import launch


class Server:
    """The simulated server as a test talks to it."""

    def __init__(self, system: launch.Running) -> None:
        self.system = system
        self.base = system.base_url
        self.call("POST", f"{system.switchboard}/reset", {"empty": True})

    def call(self, method: str, url: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/fhir+json"}, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            content = answer.read()
        return json.loads(content) if content else None

    def put(self, kind: str, record_id: str, **content: Any) -> None:
        body = {"resourceType": kind, "id": record_id, **content}
        self.call("PUT", f"{self.base}/{kind}/{record_id}", body)

    def patients(self, *numbers: int) -> None:
        for n in numbers:
            self.put("Patient", f"p{n}", name=[{"family": f"Ames{n}", "given": ["Ida"]}])

    def weights(self, *numbers: int) -> None:
        for n in numbers:
            code = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
            self.put("Observation", f"o{n}", status="final", code=code, subject={"reference": f"Patient/p{n}"},
                     effectiveDateTime="2026-01-02", valueQuantity={"value": 70 + n, "unit": "kg"})  # fmt: skip

    def group(self, *numbers: int) -> None:
        members = [{"entity": {"reference": f"Patient/p{n}"}} for n in numbers]
        self.put("Group", "panel", type="person", actual=True, member=members)

    def delete(self, kind: str, record_id: str) -> None:
        self.call("DELETE", f"{self.base}/{kind}/{record_id}")

    def behave(self, **how: Any) -> None:
        self.call("PUT", f"{self.system.switchboard}/behaviour", how)

    def faults(self, *orders: dict[str, Any]) -> None:
        self.call("PUT", f"{self.system.switchboard}/faults", list(orders))

    def asked(self, *words: str) -> list[dict[str, Any]]:
        journal = self.call("GET", f"{self.system.switchboard}/journal")
        return [entry for entry in journal if all(word in f"{entry['method']} {entry['path']}" for word in words)]


class Clinic:
    """One workspace with one source."""

    def __init__(self, deps: Runner, workspace: str, base_url: str) -> None:
        self.deps, self.workspace, self.base_url = deps, workspace, base_url
        self.source = self.apply()

    def apply(self, **bulk: Any) -> DataSource:
        bulk = {"poll_s": 0.05, **bulk}
        settings = {"base_url": self.base_url, "resources": ["Patient", "Observation"], "bulk": bulk}
        settings["rate"] = {"per_second": 1000, "burst": 1000}
        document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
        with self.deps.database.begin(self.workspace) as tx:
            self.source = directory.apply(tx, self.workspace, document, actor="test", now=utc_now())[0].source
        return self.source

    def ask(self, **what: Any) -> str:
        with self.deps.database.begin(self.workspace) as tx:
            return requesting.ask(tx, self.source, now=utc_now(), **what)[0]

    def export(self, **what: Any) -> dict[str, Any]:
        return running.run_to_end(self.deps, self.workspace, self.ask(**what))

    def slice(self, export_id: str, *, s: float = 1.0, owner: str = "worker") -> running.ExportOutcome:
        return running.run(self.deps, self.workspace, export_id, owner=owner, slice_s=s)

    def hurry(self, export_id: str) -> None:
        """Let no pause pass."""
        self.run("UPDATE export_job SET due_at = now() WHERE export_id = :id", id=export_id)
        self.run("UPDATE export_file SET due_at = now() WHERE export_id = :id", id=export_id)

    def look(self, export_id: str) -> dict[str, Any]:
        """Get on by one look, however soon it follows on another."""
        for _ in range(50):
            self.hurry(export_id)
            self.slice(export_id, s=0.001)
            standing = running.standing(self.deps, self.workspace, export_id)
            if standing["error"] != "read_paced":
                break
            time.sleep(0.02)
        return standing

    def run(self, statement: str, **bound: Any) -> None:
        with self.deps.database.begin(self.workspace) as tx:
            execute(tx, statement, **bound)

    def query(self, statement: str, **bound: Any) -> list[dict[str, Any]]:
        with self.deps.database.begin(self.workspace) as tx:
            return rows(tx, statement, **bound)

    def names(self) -> set[str]:
        """The records that are known and not deleted."""
        found = self.query("SELECT canonical_id FROM entity WHERE status = 'active'")
        return {row["canonical_id"].removeprefix("ehr:") for row in found}

    def events(self, verb: str) -> int:
        found = self.query("SELECT count(*) AS n FROM event WHERE event_type LIKE '%.' || :verb", verb=verb)
        return int(found[0]["n"])


def import_of(clinic: Clinic, export_id: str) -> str:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        job = store.job(tx, export_id)
    assert job is not None
    return job.import_id
