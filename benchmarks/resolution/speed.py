"""CPU of one more record, as the population grows: ours and Postgres', under row-level security.

python -m benchmarks.resolution.speed [--sizes 10000 200000] [--turns 10] [--seeded]

The people are the sandbox's. Workspaces of each size are landed and compared, and then grow by a tenth: who comes is
compared, as a worker does it, by a process of its own; once all of the tenth is there names are counted anew, as they
are then, and whom that concerns is compared again; last the keys that came lately are shelved. All of it is what the
records of the tenth cost, and each part is told. The largest workspace grows by a part of its tenth in each turn, and
another of each smaller size by the whole of its own: a machine that becomes slower does so for all of them.
``--seeded``: the populations are put there by COPY (see seeding); who comes then is landed and compared as ever.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
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
_FIRST = 330
"""So many come to each workspace before anything is told: the first batch after a table was filled costs more."""


def main() -> None:
    """Fill workspaces of each size, and have each grow by a tenth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--seeded", action="store_true")
    arguments = parser.parse_args()
    sizes, turns = sorted(arguments.sizes), arguments.turns
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        filled = {
            size: [
                _filled(machine, Path(scratch), size, number, seeded=arguments.seeded)
                for number in range(1 if size == sizes[-1] else turns)
            ]
            for size in sizes
        }
        analyze(machine.database())
        machine.checkpoint()
        told = {size: Told(size) for size in sizes}
        for clinic, arriving in (one for some in filled.values() for one in some):
            clinic.land(islice(arriving, _FIRST))
            _compared(machine, clinic.workspace)
        for turn in range(turns):
            for size, some in filled.items():
                clinic, arriving = some[turn % len(some)]
                tenth = len(some) == turns
                more = int(service.SLACK * size / (1 if tenth else turns)) + 1
                clinic.land(islice(arriving, more))
                told[size].came += more
                told[size].comparing.append(_compared(machine, clinic.workspace))
                if tenth or turn == turns - 1:
                    told[size].counting.append(_compared(machine, clinic.workspace))
                    told[size].shelving.append(_shelved(machine, clinic.workspace))
        first = told[sizes[0]].figures()["cpu_ms_a_record"]
        for one in told.values():
            figures = one.figures()
            report("resolution.speed", figures | {"against_the_first": round(figures["cpu_ms_a_record"] / first, 2)})


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing cost, Postgres' part of it, and the resident memory of who did it in the end."""

    cost: Cost
    postgres_s: float
    megabytes: float


@dataclass(slots=True)
class Told:
    """What records that came to populations of one size cost. ``shelving``: of the keys of one record, CPU s."""

    size: int
    came: int = 0
    comparing: list[Compared] = field(default_factory=list)
    counting: list[Compared] = field(default_factory=list)
    shelving: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """CPU ms, and what else there is to tell, of each record that came."""
        shelving = sum(self.shelving) / len(self.shelving)
        newcomers, counting = self._a_record(self.comparing), self._a_record(self.counting)
        return {
            "records": self.size,
            "came": self.came,
            "cpu_ms_a_record": round((newcomers + counting + shelving) * 1000, 3),
            "of_that_comparing_it": round(newcomers * 1000, 3),
            "of_that_counting_names": round(counting * 1000, 3),
            "of_that_shelving_keys": round(shelving * 1000, 3),
            "postgres_of_comparing_it": round(sum(turn.postgres_s for turn in self.comparing) / self.came * 1000, 3),
            "compared_anew": round(sum(turn.cost.compared for turn in self.counting) / self.came, 2),
            "pairs": round(sum(turn.cost.pairs for turn in self.comparing) / self.came, 2),
            "worker_mb": round(max(turn.megabytes for turn in (*self.comparing, *self.counting))),
        }

    def _a_record(self, turns: Sequence[Compared]) -> float:
        return sum(turn.cost.cpu_s for turn in turns) / self.came


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


def _filled(machine: Bench, scratch: Path, size: int, number: int, *, seeded: bool) -> tuple[Clinic, Iterator[Arrival]]:
    """A workspace with so many records, and those that come next."""
    clinic, arriving = Clinic(machine, f"of-{size}-{number}", scratch), arrivals()
    first = islice(arriving, size)
    if seeded:
        seed(machine.database(), clinic.workspace, first)
        return clinic, arriving
    while some := list(islice(first, _CHUNK)):
        clinic.land(some)
    clinic.compare(all_of_it=True)
    return clinic, arriving


def arrivals() -> Iterator[Arrival]:
    """The sandbox's patients, without end."""
    for person in people(11, _TODAY):
        found = patient(person, "org-1", "doc-1")
        yield Arrival("ehr", f"ehr:Patient:{person.id}", dict(found))


if __name__ == "__main__":
    main()
