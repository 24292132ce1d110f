"""CPU of comparing one more record, as the population grows: ours and Postgres', under row-level security.

python -m benchmarks.resolution.speed [--sizes 10000 200000] [--more 330] [--settling 6] [--rounds 9] [--seeded]

The people are the sandbox's. A workspace of each size is landed and compared. Then, by turns, so that a machine that
becomes slower does so for all of them, ``--more`` records come to each, which a process of its own compares as a worker
does, in batches; the middle one of some rounds is told, and what that process holds in memory. Some rounds before are
not told: for half a minute after a table was filled, autovacuum goes over it and each page that is changed is logged
whole. What shelving the keys of a record costs later is added. ``--seeded``: the populations are put there by COPY
instead (see seeding); who comes then is landed and compared as ever.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import psutil

from benchmarks.machine import Bench, bench, cpu_s_of, report
from benchmarks.resolution.landing import Arrival, Clinic, Cost, resolve_waiting
from benchmarks.resolution.seeding import analyze, seed
from connector_runner.bootstrap import Addresses, Runner, collect_rarely
from connector_runner.infra.database import Database, execute, rows
from connector_runner.resolution import service
from connector_runner.sandbox.demographics import patient, people
from connector_runner.settings import Settings

_CHUNK = 5_000
_TODAY = date(2026, 1, 1)


def main() -> None:
    """Fill a workspace of each size, and measure in each by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--more", type=int, default=330)
    parser.add_argument("--settling", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seeded", action="store_true")
    arguments = parser.parse_args()
    more, settling, rounds = arguments.more, arguments.settling, arguments.rounds
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        grown = [_grown(machine, Path(scratch), size, seeded=arguments.seeded) for size in arguments.sizes]
        analyze(machine.database())
        machine.checkpoint()
        found: dict[int, list[Compared]] = defaultdict(list)
        for _ in range(settling + rounds):
            for one in grown:
                one.clinic.land(islice(one.arriving, more))
                found[one.size].append(_compared(machine, one.clinic.workspace))
        first: float | None = None
        for one in grown:
            told = found[one.size][settling:]
            compared = sorted(told, key=lambda round_: round_.cost.cpu_s)[rounds // 2]
            shelving = _shelved(machine, one.clinic.workspace) * 1000
            each = compared.cost.cpu_s / more * 1000 + shelving
            first = first or each
            figures = {
                "records": one.size,
                "cpu_ms_a_record_of_all": round(one.whole.cpu_s / one.whole.compared * 1000, 3) if one.whole else None,
                "cpu_ms_a_new_record": round(each, 3),
                "of_the_rounds": [round(round_.cost.cpu_s / more * 1000, 3) for round_ in told],
                "of_that_postgres": round(compared.postgres_s / more * 1000, 3),
                "of_that_shelving_keys": round(shelving, 3),
                "compared": compared.cost.compared,
                "pairs_a_record": round(compared.cost.pairs / compared.cost.compared, 2),
                "against_the_first": round(each / first, 2),
                "worker_mb": round(compared.megabytes),
            }
            report("resolution.speed", figures)


@dataclass(frozen=True, slots=True)
class Grown:
    """A workspace with so many records, and those that come next. ``whole``: what comparing all of them cost."""

    size: int
    clinic: Clinic
    arriving: Iterator[Arrival]
    whole: Cost | None


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing cost, Postgres' part of it, and the resident memory of who did it in the end."""

    cost: Cost
    postgres_s: float
    megabytes: float


def _compared(machine: Bench, workspace: str) -> Compared:
    """Have what waits compared by another process, which holds nothing of what the population was made of."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        urls = Addresses(machine.database_url, machine.redis_url)
        return worker.submit(_work, machine.home, urls, machine.postmaster.pid, workspace).result()


def _shelved(machine: Bench, workspace: str) -> float:
    """Have the keys that came lately shelved, and their table vacuumed; CPU s a record.

    It is what each record costs besides, some time after it came.
    """
    database = machine.database()
    with database.begin(workspace) as tx:
        keys = rows(tx, "SELECT count(*) AS n, count(DISTINCT entity_id) AS of FROM recent_key")[0]
    before = machine.postgres_cpu_s() + time.process_time()
    turn = 1
    while service.shelve(database, workspace, turn=turn):
        turn += 1
    with database.engine.connect() as connection:
        connection.exec_driver_sql("VACUUM recent_key")
    return (machine.postgres_cpu_s() + time.process_time() - before) / max(1, keys["of"])


def _work(home: Path, urls: Addresses, postmaster: int, workspace: str) -> Compared:
    collect_rarely()
    runner, postgres = Runner(Settings(home=home), urls), psutil.Process(postmaster)
    _meet_every_page(runner.database, workspace)
    ours, theirs = time.process_time(), cpu_s_of(postgres)
    compared, pairs = resolve_waiting(runner.database, workspace)
    postgres_s = cpu_s_of(postgres) - theirs
    cost = Cost(time.process_time() - ours + postgres_s, compared, pairs)
    return Compared(cost, postgres_s, psutil.Process().memory_info().rss / 2**20)


def _meet_every_page(database: Database, workspace: str) -> None:
    """What a worker's connection has done after some hours of work.

    The first time that a connection meets a page in shared memory costs more than reading the page, where the system
    has no huge pages. It would be all that is measured of a connection that compares a thousand records and ends.
    """
    with database.begin(workspace) as tx:
        execute(tx, "SET LOCAL enable_seqscan = off")
        execute(tx, "SET LOCAL enable_bitmapscan = off")
        execute(tx, "SET LOCAL max_parallel_workers_per_gather = 0")
        for column, table in (("*", "blocking_key"), ("*", "recent_key"), ("kind", "identity")):
            execute(tx, f"SELECT count({column}) FROM {table}")


def _grown(machine: Bench, scratch: Path, size: int, *, seeded: bool) -> Grown:
    clinic, arriving = Clinic(machine, f"of-{size}", scratch), arrivals()
    first = islice(arriving, size)
    if seeded:
        seed(machine.database(), clinic.workspace, first)
        return Grown(size, clinic, arriving, None)
    while some := list(islice(first, _CHUNK)):
        clinic.land(some)
    return Grown(size, clinic, arriving, clinic.compare(all_of_it=True))


def arrivals() -> Iterator[Arrival]:
    """The sandbox's patients, without end."""
    for person in people(11, _TODAY):
        found = patient(person, "org-1", "doc-1")
        yield Arrival("ehr", f"ehr:Patient:{person.id}", dict(found))


if __name__ == "__main__":
    main()
