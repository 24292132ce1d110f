"""How long it takes to explain an entity: every value, its place in the record, and its standing in two sinks.

python -m benchmarks.explain [--versions 50 --times 40]
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.machine import report
from connector_runner.infra import migrations
from connector_runner.infra.database import Database, execute
from connector_runner.infra.embedded.ephemeral import EphemeralServices
from connector_runner.kernel.ids import new_id
from connector_runner.observability.explain import explain
from connector_runner.sandbox import launch
from tests.integration.outbound_stack import Clinic, System, a_patient, outbound_of

PAGE = 200
PATIENTS = {"entity_types": ["patient"]}


def prepared(clinic: Clinic, versions: int) -> None:
    """One patient in many versions, each on a full page; approved values, written to two sinks."""
    with launch.start("ehr", patients=0) as ehr, launch.start("store", patients=0) as store:
        clinic.source("ehr", System(ehr), **PATIENTS)
        clinic.source("store", System(store))
        for number in range(versions):
            stamp = {"lastUpdated": f"2026-11-20T10:{number // 60:02}:{number % 60:02}Z", "versionId": str(number)}
            others = [a_patient(f"o{number}x{n}") for n in range(PAGE - 1)]
            clinic.land("ehr", a_patient(phone=f"617-555-{number:04}", meta=stamp), *others)
        clinic.execute("DELETE FROM pending_release")
        clinic.source("store", System(store), accept_from=["ehr"], **PATIENTS)
        said = clinic.say(
            canonical_id="ehr:Patient:p1", entity_type="patient", confidence=0.5,
            facts={"telecom": [{"system": "email", "use": "home", "value": "ada@example.org"}]},
        )  # fmt: skip
        clinic.judge(str(said.events[0]["id"]))
        clinic.flow("store")


def main() -> None:
    """Print one line: milliseconds of query and fold, the median and the 95th of a hundred."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--versions", type=int, default=50)
    arguments.add_argument("--times", type=int, default=40)
    given = arguments.parse_args()
    with EphemeralServices() as services:
        url = services.services.database_url
        migrations.upgrade(url)
        database, workspace = Database(url), new_id()
        with database.begin(workspace) as tx:
            execute(tx, "INSERT INTO workspace (workspace_id, slug) VALUES (:id, 'bench')", id=workspace)
        clinic = Clinic(outbound_of(database, services.services.redis_url), workspace)
        prepared(clinic, given.versions)
        took = []
        for _ in range(given.times):
            with database.begin(workspace) as tx:
                started = time.perf_counter()
                found = explain(tx, clinic.outbound, workspace, "ehr:Patient:p1")
                took.append((time.perf_counter() - started) * 1000)
        figures: dict[str, object] = {
            "versions": given.versions,
            "atoms": len(found["atoms"]),
            "sinks": len(found["sinks"]),
            "p50_ms": round(statistics.median(took), 1),
            "p95_ms": round(sorted(took)[int(len(took) * 0.95)], 1),
            "bound_ms": 200,
        }
        report("explain", figures)
        database.dispose()


if __name__ == "__main__":
    main()
