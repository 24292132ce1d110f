"""CPU of polling: of pages that hold nothing new, and of a source of many records of which few changed.

The source is a process of its own, and apart from the figures; Postgres, Redis and our own process are in them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from benchmarks.machine import ROOT, Bench, bench, report
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.connectors import directory
from connector_runner.infra.database import execute
from connector_runner.intake import polling
from connector_runner.settings import Settings


def main() -> None:
    """Sources of rising size; in each, windows in which nothing changed, and one in which a thousand did."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--changed", type=int, default=1000)
    arguments.add_argument("--page", type=int, default=1000)
    given = arguments.parse_args()
    with bench() as machine:
        for records in given.records:
            with served(records) as (url, change):
                source = Polled(machine, url, f"of-{records}", given.page)
                first = source.cost(records)
                unchanged = source.cost(records, full=True)
                change(given.changed)
                changed = source.cost(given.changed)
                report(
                    "poll_cost",
                    {
                        "records": records,
                        "first_ms_a_record": first["ms_a_record"],
                        "unchanged_ms_a_record": unchanged["ms_a_record"],
                        "unchanged_events": unchanged["events"],
                        "changed": given.changed,
                        "changed_cpu_s": changed["cpu_s"],
                        "changed_events": changed["events"],
                        "changed_pages": changed["pages"],
                    },
                )


class Polled:
    """One source of one workspace, polled by hand."""

    def __init__(self, machine: Bench, url: str, slug: str, page: int) -> None:
        self._machine = machine
        self._workspace = machine.workspace(slug)
        settings = Settings(http_allow=("127.0.0.1",), home=machine.home)
        self._runner = Runner(settings, Addresses(machine.database_url, machine.redis_url))
        document = {
            "name": "ehr",
            "source_type": "fhir_store",
            "settings": {
                "base_url": url,
                "page_size": page,
                "overlap_s": 0,
                "history": False,
                "resources": {"Patient": {"cadence_s": 1, "full_sync_every_s": None}},
                "rate": {"per_second": 1000, "burst": 1000, "concurrency": 10},
            },
        }
        with self._runner.database.begin(self._workspace) as tx:
            (applied,) = directory.apply(tx, self._workspace, document, actor="benchmark", now=datetime.now(UTC))
        self._source = applied.source

    def cost(self, records: int, *, full: bool = False) -> dict[str, float]:
        """CPU of one whole window, over our process and Postgres."""
        with self._runner.database.begin(self._workspace) as tx:
            execute(
                tx,
                "UPDATE source_resource SET due_at = '2026-01-01'"
                + (", cursor = cursor - 'since'" if full else "")
                + " WHERE workspace_id = :ws",
                ws=self._workspace,
            )
        postgres, ours = self._machine.postgres_cpu_s(), time.process_time()
        events = pages = 0
        while True:
            outcome = polling.poll(
                self._runner, self._workspace, self._source.data_source_id, "Patient",
                owner="benchmark", now=datetime.now(UTC), slice_s=5,
            )  # fmt: skip
            if outcome.status not in ("done", "more"):
                raise SystemExit(f"the poll ended with {outcome.status} {outcome.code}")
            events += outcome.landed.events_created + outcome.landed.events_updated
            pages += outcome.pages
            if not outcome.more:
                break
        spent = time.process_time() - ours + self._machine.postgres_cpu_s() - postgres
        return {
            "cpu_s": round(spent, 3),
            "ms_a_record": round(spent / records * 1000, 4),
            "events": events,
            "pages": pages,
        }


@contextmanager
def served(records: int) -> Iterator[tuple[str, Callable[[int], None]]]:
    """A source in a process of its own: its address, and what changes so many of its records."""
    command = [sys.executable, "-m", "benchmarks.poll_cost_source", str(records)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        def change(count: int) -> None:
            print(count, file=process.stdin, flush=True)
            process.stdout.readline()  # type: ignore[union-attr]

        try:
            yield url, change
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
