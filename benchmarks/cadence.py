"""How late polls are when many sources are polled every minute and hardly anything changes.

python -m benchmarks.cadence [--sources 200 --cadence 60 --minutes 3 --settle 90 --workers 2]

Each source polls the eight record types of the acceptance tests from one simulated FHIR store. A poll is late by what
lies between the moment at which it was due and the one at which what it found had landed. All sources begin at once,
which is as bad as it gets; the first round, and the minutes in which they spread (``--settle`` seconds), are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.machine import report
from connector_runner.infra.database import Database, rows
from tests.acceptance.stack import POLLED, Stack, a_stack, wait_for

LOOK_S = 2.0
PAGE_SIZE = 100


def apply_sources(stack: Stack, base_url: str, sources: int, cadence_s: float) -> None:
    """``sources`` data sources that poll the same system."""
    documents = [
        {
            "name": f"clinic{n}",
            "source_type": "fhir_store",
            "settings": {
                "base_url": base_url,
                "page_size": PAGE_SIZE,
                "resources": {name: {"cadence_s": cadence_s} for name in POLLED},
            },
        }
        for n in range(sources)
    ]
    stack.cli("source", "apply", stack.write("sources.json", documents))


class Watch:
    """Looks at the rows of all record types again and again, and notes what each poll was late by."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._before: dict[tuple[str, str], tuple[object, float]] = {}
        self.late_s: list[float] = []
        self.errors = 0

    def look(self) -> None:
        """One look; polls that ended since the one before are counted."""
        with self._database.sweep() as tx:
            found = rows(
                tx,
                "SELECT data_source_id, resource_type, last_ok_at, extract(epoch FROM last_ok_at)::float8 AS ended,"
                " extract(epoch FROM due_at)::float8 AS due, consecutive_errors FROM source_resource WHERE enabled",
            )
        self.errors = sum(row["consecutive_errors"] for row in found)
        for row in found:
            key = (row["data_source_id"], row["resource_type"])
            ended, due = self._before.get(key, (None, 0.0))
            if ended is not None and row["last_ok_at"] != ended:
                self.late_s.append(max(row["ended"] - due, 0.0))
            self._before[key] = (row["last_ok_at"], row["due"])

    def all_polled(self) -> bool:
        """Whether each was polled once."""
        self.look()
        return all(ended is not None for ended, _ in self._before.values())

    def run(self, seconds: float) -> list[float]:
        """Look for so long; by how much polls were late."""
        self.late_s = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(LOOK_S)
        return self.late_s


def processes(stack: Stack) -> Iterator[psutil.Process]:
    """What works: workers and beat."""
    for process in stack.processes:
        yield psutil.Process(process.pid)


def cpu_s(stack: Stack) -> float:
    """CPU seconds of workers and beat so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes(stack))


def drive(stack: Stack, chosen: argparse.Namespace) -> dict[str, object]:
    """Start, settle, measure."""
    store = stack.sandbox("store", "--patients", "3")
    apply_sources(stack, store.fhir, chosen.sources, chosen.cadence)
    for _ in range(chosen.workers):
        stack.start("worker", "--pool", "io")
    stack.start("beat")
    watch = Watch(Database(stack.services.services.database_url))
    begun = time.monotonic()
    wait_for("every record type to be polled once", watch.all_polled, timeout_s=1200, every_s=LOOK_S)
    first_s = time.monotonic() - begun
    settling = watch.run(chosen.settle)
    before, started = cpu_s(stack), time.monotonic()
    late = sorted(watch.run(chosen.minutes * 60))
    seconds, used_s = time.monotonic() - started, cpu_s(stack) - before
    expected = chosen.sources * len(POLLED) * seconds / chosen.cadence
    return {
        "sources": chosen.sources,
        "record_types": len(POLLED),
        "cadence_s": chosen.cadence,
        "first_round_s": round(first_s, 1),
        "polls_while_settling": len(settling),
        "polls": len(late),
        "of_expected": round(len(late) / expected, 3),
        "late_p50_s": round(statistics.median(late), 2),
        "late_p95_s": round(late[int(len(late) * 0.95)], 2),
        "late_most_s": round(late[-1], 2),
        "failed": watch.errors,
        "cpu_ms_a_poll": round(used_s / len(late) * 1000, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Measure with worker processes, beat and a simulated system on one machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--cadence", type=float, default=60)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--settle", type=float, default=90)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, a_stack(Path(folder)) as stack:
        report("cadence", drive(stack, chosen))


if __name__ == "__main__":
    main()
