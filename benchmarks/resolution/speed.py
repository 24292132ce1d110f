"""CPU of comparing one more record, as the population grows: ours and Postgres', under row-level security.

python -m benchmarks.resolution.speed [--sizes 10000 200000] [--more 1000] [--seeded]

The people are the sandbox's. To each size the population is landed and compared; then ``--more`` records come, each
compared as a worker does it, in batches. ``--seeded``: the population is put there by COPY instead (see seeding); what
comes then is landed and compared as ever.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path

from benchmarks.machine import Bench, bench, report
from benchmarks.resolution.landing import Arrival, Clinic, Cost
from benchmarks.resolution.seeding import GivenOn, analyze, seed
from connector_runner.sandbox.demographics import patient, people

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
            _forget()
            cost = clinic.compare(all_of_it=False)
            each = cost.cpu_s / arguments.more * 1000
            first = first or each
            figures = {
                "records": size,
                "cpu_ms_a_record_of_all": round(whole.cpu_s / whole.compared * 1000, 3) if whole.compared else None,
                "cpu_ms_a_new_record": round(each, 3),
                "compared": cost.compared,
                "pairs_a_record": round(cost.pairs / cost.compared, 2),
                "against_the_first": round(each / first, 2),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
            report("resolution.speed", figures)


def _forget() -> None:
    """Let the collector pass over what this process holds to make a population of, as no worker does."""
    gc.collect()
    gc.freeze()


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
