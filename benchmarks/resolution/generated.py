"""False links among many: a generated town, through the product, against its truth.

python -m benchmarks.resolution.generated [--people 22000] [--seed 1] [--family-mailbox 0.0]

Prints the links made without a person, how many of them join two people, precision, recall and F1 of pairs, questions
to people, and the CPU of comparing a record (ours and Postgres').
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import bench, report
from benchmarks.resolution.landing import Arrival, Clinic
from benchmarks.resolution.town import population

_CHUNK = 5_000


def main() -> None:
    """Land a town, compare everybody, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=22_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family-mailbox", type=float, default=0.0, help="share of households with one mailbox")
    arguments = parser.parse_args()
    person_of: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        clinic = Clinic(machine, "town", Path(scratch))
        some: list[Arrival] = []
        for source, person, resource in population(arguments.people, arguments.seed, arguments.family_mailbox):
            name = f"{source}:{resource.get('resourceType', 'contact')}:{resource['id']}"
            person_of[name] = person
            some.append(Arrival(source, name, resource))
            if len(some) == _CHUNK:
                clinic.land(some)
                some.clear()
        clinic.land(some)
        cost = clinic.compare(all_of_it=True)
        links = clinic.links("patient")
        false = sum(person_of[one] != person_of[other] for one, other in links)
        figures: dict[str, Any] = {
            "people": len(set(person_of.values())),
            "records": len(person_of),
            "links": len(links),
            "false_links": false,
            "false_in_10000": round(false / max(len(links), 1) * 10_000, 2),
            **_pairs(clinic.rows("patient"), person_of),
            "cpu_ms_a_record": round(cost.cpu_s / len(person_of) * 1000, 3),
        }
        report("resolution.generated", figures)


def _pairs(rows: list[tuple[str, str]], person_of: dict[str, str]) -> dict[str, float]:
    clusters, people, both = (Counter[Any]() for _ in range(3))
    for name, cluster in rows:
        clusters[cluster] += 1
        people[person_of[name]] += 1
        both[cluster, person_of[name]] += 1
    found, true, right = (sum(n * (n - 1) // 2 for n in of.values()) for of in (clusters, people, both))
    precision, recall = right / max(found, 1), right / max(true, 1)
    f1 = 2 * precision * recall / (precision + recall)
    return {"precision": round(precision, 5), "recall": round(recall, 4), "f1": round(f1, 4)}


if __name__ == "__main__":
    main()
