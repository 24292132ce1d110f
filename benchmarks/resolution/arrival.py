"""How soon a new record is linked, at a steady pace, by real workers.

python -m benchmarks.resolution.arrival [--per-second 50] [--seconds 60] [--records 10000] [--workers 2] [--count]

Among ``--records`` of the sandbox's patients records of known people come from another system, each landed in a
transaction of its own and told of as a poll tells. What is told is the time from the commit of a record to when it was
seen in the cluster of its person, looked at twenty times a second. ``--count`` has names counted half way, as once an
hour: of a population that grew by a tenth many records are weighed anew then.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from benchmarks.machine import Bench, bench, report
from benchmarks.push_latency import process
from benchmarks.resolution.landing import Arrival, Clinic
from benchmarks.resolution.seeding import analyze, seed
from benchmarks.resolution.speed import arrivals
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import id_array, tuples
from connector_runner.infra.queue import RECOUNT_WORKSPACE, RELEASE, RESOLVE
from connector_runner.intake.landing import Origin
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import derived_id, entity_id_of
from connector_runner.settings import Settings

_LOOK_S = 0.05
_PATIENCE_S = 30.0
_UNSAID = ("identifier", "extension", "meta", "generalPractitioner", "managingOrganization")


def main() -> None:
    """Prepare, start the workers, let records come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-second", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--count", action="store_true", help="count names half way")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench() as servers:
        clinic, people = Clinic(servers, "arrival", Path(scratch)), arrivals()
        known = list(islice(people, int(chosen.per_second * chosen.seconds)))
        seed(servers.database(), clinic.workspace, islice(people, chosen.records - len(known)))
        analyze(servers.database())
        clinic.land(known)
        clinic.compare(all_of_it=True)
        with ExitStack() as running:
            for words in [("worker", "--pool", "cpu")] * chosen.workers + [("beat",)]:
                running.enter_context(process(servers, *words))
            time.sleep(10)
            report(
                "resolution.arrival", _drive(servers, clinic.workspace, known, chosen.per_second, count=chosen.count)
            )


class Watch(threading.Thread):
    """Notes when each entity is first seen in a cluster."""

    def __init__(self, runner: Runner, workspace: str) -> None:
        super().__init__(daemon=True)
        self._runner, self._workspace = runner, workspace
        self.waiting: dict[str, float] = {}
        self.took_s: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Look until told that it is over."""
        while not self.over.wait(_LOOK_S):
            asked = list(self.waiting)
            with self._runner.database.begin(self._workspace) as tx:
                found = [entity for (entity,) in tuples(tx, _SEEN, ws=self._workspace, ids=id_array(asked))]
            now = time.monotonic()
            self.took_s += [now - self.waiting.pop(entity) for entity in found]


_SEEN = "SELECT entity_id FROM cluster_member WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))"


def _drive(
    servers: Bench, workspace: str, known: list[Arrival], per_second: float, *, count: bool
) -> dict[str, object]:
    runner = Runner(Settings(home=servers.home), Addresses(servers.database_url, servers.redis_url))
    watch, begin = Watch(runner, workspace), time.monotonic()
    watch.start()
    for n, record in enumerate(_copies(known)):
        time.sleep(max(0.0, begin + n / per_second - time.monotonic()))
        _land(runner, workspace, record)
        watch.waiting[entity_id_of(workspace, f"crm:Patient:{record.record_id}")] = time.monotonic()
        for task in (RELEASE, RESOLVE, *[RECOUNT_WORKSPACE] * (count and n == len(known) // 2)):
            runner.publisher.hint(task, workspace_id=workspace)
    landed_s = time.monotonic() - begin
    until = time.monotonic() + _PATIENCE_S
    while watch.waiting and time.monotonic() < until:
        time.sleep(_LOOK_S)
    watch.over.set()
    watch.join()
    took = sorted(watch.took_s)
    if not took:
        raise SystemExit("nobody was linked")
    return {
        "records": len(known),
        "per_second": round(len(known) / landed_s, 1),
        "linked": len(took),
        "p50_s": round(took[len(took) // 2], 3),
        "p95_s": round(took[int(len(took) * 0.95)], 3),
        "max_s": round(took[-1], 3),
        "load": round(os.getloadavg()[0], 1),
    }


def _copies(known: list[Arrival]) -> Iterator[SourceRecord]:
    """Each person once more, as another system has them: with another id and no numbers."""
    for arrival in known:
        body = {name: value for name, value in arrival.resource.items() if name not in _UNSAID}
        body["id"] = f"c{arrival.resource['id']}"
        yield SourceRecord("Patient", body["id"], json.dumps(body).encode(), body, last_updated=utc_now())


def _land(runner: Runner, workspace: str, record: SourceRecord) -> None:
    origin = Origin(data_source_id=derived_id(workspace, "crm"), name="crm", system="fhir_r4")
    runner.database.retrying(workspace, lambda tx: runner.intake.land(tx, workspace, origin, [record], now=utc_now()))


if __name__ == "__main__":
    main()
