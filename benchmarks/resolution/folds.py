"""How weights do on people whom they were not fitted to: fit to some of the people of a folder, try on the others.

python -m benchmarks.resolution.folds FOLDER [--folds 2] [--seeds 3] [--size 11000] [--most 2]

Relatives are in one fold. Of each person at most ``--most`` records are kept, taken for records among ``--size``: what
a larger set would be of which less is known. In memory (see memory).
"""

from __future__ import annotations

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.machine import report
from benchmarks.resolution.dataset import Dataset, read
from benchmarks.resolution.fit import fit
from benchmarks.resolution.memory import Memory


def main() -> None:
    """Fit and try fold by fold; the mean of all and the worst one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=11_000)
    parser.add_argument("--most", type=int, default=2)
    arguments = parser.parse_args()
    data = read(arguments.folder, "patient")
    memory = Memory(data.records, arguments.size)
    found: list[dict[str, float]] = []
    for seed in range(arguments.seeds):
        for number, people in enumerate(_folds(data, arguments.folds, seed)):
            weights = fit(data, "fold", among=set(data.people.values()) - people)
            kept = _some(data, people, arguments.most, random.Random(f"{seed}:{number}"))
            found.append(score(memory.clusters(weights, kept).of, {record: data.people[record] for record in kept}))
            report("resolution.folds", {"seed": seed, "fold": number, "records": len(kept), **found[-1]})
    names = list(found[0])
    report("resolution.folds", {name: round(sum(each[name] for each in found) / len(found), 4) for name in names})
    worst = {"f1": min(each["f1"] for each in found), "false_merges": max(each["false_merges"] for each in found)}
    report("resolution.folds", {"worst": worst})


def score(clusters: Mapping[str, str], people: Mapping[str, str]) -> dict[str, float]:
    """Precision, recall and F1 of pairs, and the share of clusters of two or more records that hold two people."""
    sizes, persons = Counter(clusters[record] for record in people), Counter(people.values())
    both = Counter((clusters[record], person) for record, person in people.items())
    right, said, true = (sum(n * (n - 1) // 2 for n in of.values()) for of in (both, sizes, persons))
    mixed = Counter(cluster for cluster, _ in both)
    several = [cluster for cluster, number in sizes.items() if number > 1]
    precision, recall = right / max(said, 1), right / max(true, 1)
    return {
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / max(precision + recall, 1e-9), 4),
        "false_merges": round(sum(mixed[cluster] > 1 for cluster in several) / max(len(several), 1), 4),
    }


def _folds(data: Dataset, number: int, seed: int) -> Iterator[set[str]]:
    of = {person: person for person in sorted(set(data.people.values()))}

    def root(person: str) -> str:
        while of[person] != person:
            person = of[person]
        return person

    for two in sorted(data.relations, key=sorted):
        related = [root(person) for person in sorted(two) if person in of]
        if related:
            of[related[0]] = related[-1]
    families: dict[str, set[str]] = defaultdict(set)
    for person in of:
        families[root(person)].add(person)
    order = sorted(families)
    random.Random(seed).shuffle(order)
    for fold in range(number):
        yield set().union(*(families[family] for family in order[fold::number]))


def _some(data: Dataset, people: set[str], most: int, chance: random.Random) -> set[str]:
    records: dict[str, list[str]] = defaultdict(list)
    for record in sorted(data.records):
        records[data.people[record]].append(record)
    return {
        record
        for person in sorted(people)
        for record in chance.sample(records[person], min(most, len(records[person])))
    }


if __name__ == "__main__":
    main()
