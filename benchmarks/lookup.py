"""What it costs Postgres to show one entity by its name, and to lock who holds a record, among few and among many.

python -m benchmarks.lookup [--sizes 5000 50000]

The sandbox's patients are imported into a workspace of each size; of fifty the middle cost is told.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.machine import Bench, bench, report
from benchmarks.resolution.landing import Arrival, Clinic
from benchmarks.resolution.speed import arrivals
from connector_runner.infra.database import Tx, one
from connector_runner.kernel.ids import entity_id_of
from connector_runner.world import reading, store

_CHUNK = 5_000
_ASKED = 50


def main() -> None:
    """Fill a workspace of each size, and look entities up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 50_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        for size in arguments.sizes:
            clinic, arriving = Clinic(machine, f"of-{size}", Path(scratch)), islice(arrivals(), size)
            while some := list(islice(arriving, _CHUNK)):
                clinic.land(some)
            with machine.database().engine.connect() as connection:
                for table in ("entity", "event", "adopted_record"):
                    connection.exec_driver_sql(f"VACUUM ANALYZE {table}")
            asked = list(islice(arrivals(), _ASKED))
            figures = {
                "entities": size,
                "view_postgres_ms": _cost(machine, clinic.workspace, asked, _view),
                "lock_postgres_ms": _cost(machine, clinic.workspace, asked, _lock),
            }
            report("lookup", figures)


def _view(tx: Tx, workspace: str, name: str) -> None:
    assert reading.view(tx, workspace, name) is not None


def _lock(tx: Tx, workspace: str, name: str) -> None:
    store.lock_holder(tx, entity_id_of(workspace, name))
    one(tx, "SELECT 1")  # what waits for the next statement goes with it


def _cost(machine: Bench, workspace: str, asked: list[Arrival], work: Callable[[Tx, str, str], None]) -> float:
    database, spent = machine.database(), []
    for arrival in (asked[0], *asked):
        before = machine.postgres_cpu_s()
        with database.begin(workspace) as tx:
            work(tx, workspace, arrival.name)
        spent.append(machine.postgres_cpu_s() - before)
    return round(median(spent[1:]) * 1000, 3)


if __name__ == "__main__":
    main()
