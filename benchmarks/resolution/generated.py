"""False links among many: a generated town, through the product, against its truth.

python -m benchmarks.resolution.generated [--people 22000] [--seed 1] [--family-mailbox 0.0] [--in-memory]

Prints the links made without a person, how many of them join two people, precision, recall and F1 of pairs, and the
CPU of comparing a record (ours and Postgres'). ``--in-memory`` leaves the database out (see memory), for many seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import bench, report
from benchmarks.resolution.dataset import mapped
from benchmarks.resolution.folds import score
from benchmarks.resolution.landing import Arrival, Clinic
from benchmarks.resolution.memory import Memory
from benchmarks.resolution.town import population
from connector_runner.resolution.weights import shipped

_CHUNK = 5_000
Found = tuple[list[tuple[str, str]], dict[str, str], dict[str, Any]]
"""Links, the cluster of each record, and what it cost."""


def main() -> None:
    """Compare everybody in a town, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=22_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family-mailbox", type=float, default=0.0, help="share of households with one mailbox")
    parser.add_argument("--in-memory", action="store_true")
    arguments = parser.parse_args()
    person_of: dict[str, str] = {}
    arrivals = _arrivals(arguments.people, arguments.seed, arguments.family_mailbox, person_of)
    links, clusters, cost = _in_memory(arrivals) if arguments.in_memory else _landed(arrivals)
    false = sum(person_of[one] != person_of[other] for one, other in links)
    figures: dict[str, Any] = {
        "seed": arguments.seed,
        "people": len(set(person_of.values())),
        "records": len(person_of),
        "links": len(links),
        "false_links": false,
        "false_in_10000": round(false / max(len(links), 1) * 10_000, 2),
        **score(clusters, person_of),
        **cost,
    }
    report("resolution.generated", figures)


def _arrivals(people: int, seed: int, family_mailbox: float, person_of: dict[str, str]) -> Iterator[Arrival]:
    for source, person, resource in population(people, seed, family_mailbox):
        name = f"{source}:{resource.get('resourceType', 'contact')}:{resource['id']}"
        person_of[name] = person
        yield Arrival(source, name, resource)


def _landed(arrivals: Iterable[Arrival]) -> Found:
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        clinic = Clinic(machine, "town", Path(scratch))
        some: list[Arrival] = []
        records = 0
        for arrival in arrivals:
            records += 1
            some.append(arrival)
            if len(some) == _CHUNK:
                clinic.land(some)
                some.clear()
        clinic.land(some)
        cost = clinic.compare(all_of_it=True)
        cpu = {"cpu_ms_a_record": round(cost.cpu_s / records * 1000, 3)}
        return clinic.links("patient"), dict(clinic.rows("patient")), cpu


def _in_memory(arrivals: Iterable[Arrival]) -> Found:
    people = {found.record: found for arrival in arrivals if (found := mapped(arrival.source, arrival.resource))}
    clusters = Memory(people).clusters(shipped())
    return list(clusters.links), dict(clusters.of), {}


if __name__ == "__main__":
    main()
