"""CPU of comparing one more record, as the population grows: ours and Postgres', under row-level security.

python -m benchmarks.resolution.speed [--sizes 10000 200000] [--more 1000] [--seeded]

The people are the sandbox's. To each size the population is landed and compared; then ``--more`` records come, which a
process of its own compares as a worker does, in batches; what that holds in memory is told besides. ``--seeded``: the
population is put there by COPY instead (see seeding); what comes then is landed and compared as ever.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import psutil

from benchmarks.machine import Bench, bench, report
from benchmarks.resolution.landing import Arrival, Clinic, Cost, resolve_waiting
from benchmarks.resolution.seeding import GivenOn, analyze, seed
from connector_runner.bootstrap import Addresses, Runner, collect_rarely
from connector_runner.sandbox.demographics import patient, people
from connector_runner.settings import Settings

_CHUNK = 5_000
_TODAY = date(2026, 1, 1)


def main() -> None:
    """Grow one workspace to each size in turn, and measure there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--more", type=int, default=1_000)
    parser.add_argument("--seeded", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        clinic, arriving, landed = Clinic(machine, "speed", Path(scratch)), arrivals(), 0
        first: float | None = None
        given_on: GivenOn | None = {} if arguments.seeded else None
        for size in arguments.sizes:
            whole = _grown(machine, clinic, islice(arriving, size - landed), given_on)
            clinic.land(islice(arriving, arguments.more))
            landed = size + arguments.more
            compared = _compared(machine, clinic.workspace)
            each = compared.cost.cpu_s / arguments.more * 1000
            first = first or each
            figures = {
                "records": size,
                "cpu_ms_a_record_of_all": round(whole.cpu_s / whole.compared * 1000, 3) if whole.compared else None,
                "cpu_ms_a_new_record": round(each, 3),
                "of_that_postgres": round(compared.postgres_s / arguments.more * 1000, 3),
                "compared": compared.cost.compared,
                "pairs_a_record": round(compared.cost.pairs / compared.cost.compared, 2),
                "against_the_first": round(each / first, 2),
                "worker_mb": round(compared.megabytes),
            }
            report("resolution.speed", figures)


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing cost, Postgres' part of it, and the resident memory of who did it in the end."""

    cost: Cost
    postgres_s: float
    megabytes: float


def _compared(machine: Bench, workspace: str) -> Compared:
    """Have what waits compared by another process, which holds nothing of what the population was made of."""
    before = machine.postgres_cpu_s()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        cost, megabytes = worker.submit(
            _work, str(machine.home), machine.database_url, machine.redis_url, workspace
        ).result()
    postgres_s = machine.postgres_cpu_s() - before
    return Compared(Cost(cost.cpu_s + postgres_s, cost.compared, cost.pairs), postgres_s, megabytes)


def _work(home: str, database_url: str, redis_url: str, workspace: str) -> tuple[Cost, float]:
    collect_rarely()
    runner = Runner(Settings(home=Path(home)), Addresses(database_url, redis_url))
    before = time.process_time()
    compared, pairs = resolve_waiting(runner.database, workspace)
    cost = Cost(time.process_time() - before, compared, pairs)
    return cost, psutil.Process().memory_info().rss / 2**20


def _grown(machine: Bench, clinic: Clinic, arriving: Iterator[Arrival], given_on: GivenOn | None) -> Cost:
    if given_on is not None:
        seed(machine.database(), clinic.workspace, arriving, given_on)
        analyze(machine.database())
        return Cost(0.0, 0, 0)
    while some := list(islice(arriving, _CHUNK)):
        clinic.land(some)
    return clinic.compare(all_of_it=True)


def arrivals() -> Iterator[Arrival]:
    """The sandbox's patients, without end."""
    for person in people(11, _TODAY):
        found = patient(person, "org-1", "doc-1")
        yield Arrival("ehr", f"ehr:Patient:{person.id}", dict(found))


if __name__ == "__main__":
    main()
