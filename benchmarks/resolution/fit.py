"""Fit weights to records of known truth, and write them as a version that can be shipped.

python -m benchmarks.resolution.fit FOLDER [--version patient-2] [--write]

Each relation's table is what was counted of it, smoothed towards what its structure says: two of a household share
a surname and a place as often as one person's records do, and a given name as seldom as strangers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.resolution.dataset import ROOT, Dataset, read
from connector_runner.resolution.comparing import FIELDS, compare
from connector_runner.resolution.weights import SAME, UNRELATED, VERSION, Weights

STRUCTURE: dict[str, dict[str, float]] = {
    "household": {"family": 0.9, "phone": 0.5, "email": 0.12, "place": 0.95},
    "twin": {"family": 0.98, "birth": 0.98, "phone": 0.5, "email": 0.05, "place": 0.95, "sex": 0.3},
    "generation": {"given": 0.98, "family": 0.98, "phone": 0.4, "email": 0.1, "place": 0.9, "sex": 1.0},
    "namesake": {"given": 0.98, "family": 0.98, "birth": 0.02, "email": 0.05, "sex": 1.0},
}
"""How often two people of a relation have the same true value."""
SAME_NUMBER = {SAME: 0.95, "household": 2e-3, "twin": 2e-3, "generation": 2e-3, "namesake": 1e-4, UNRELATED: 1e-9}
"""How often two who both have a number of one system have the same: it is one person's, but for slips of those who
write it down, who open a relative's or a namesake's chart, or who are told a number that is a family's."""
SAME_CHART = 0.5
"""How often two records of a person have one chart number, before any were counted."""
RELATION_OF = {"household": "household", "twin": "twin", "jr_sr": "generation", "namesake": "namesake"}
SMOOTHING = 40.0
RANDOM_PAIRS = 300_000
TABLED = tuple(name for name in FIELDS if name != "identifier")
Counts = dict[str, Counter[str]]


def fit(data: Dataset, version: str, *, among: Collection[str] | None = None, seed: int = 3) -> Weights:
    """Weights of the records of these people (all of them by default)."""
    ids = sorted(r for r in data.records if among is None or data.people[r] in among)
    same, pairs_same = _counted(data, (pair for pair in data.same() if pair[0] in set(ids)))
    chance = random.Random(seed)
    strangers = ((chance.choice(ids), chance.choice(ids)) for _ in range(RANDOM_PAIRS))
    unrelated, _ = _counted(data, (p for p in strangers if data.people[p[0]] != data.people[p[1]]))
    levels = {name: sorted(set(same[name]) | set(unrelated[name])) for name in TABLED}
    tables = {SAME: _chances(same, levels, 0.5), UNRELATED: _chances(unrelated, levels, 0.2)}
    rates = {SAME: pairs_same / len(ids)}
    for word, relation in RELATION_OF.items():
        counts, pairs = _counted(data, _related(data, word, set(ids)))
        rates[relation] = max(pairs, 1) / len(ids)
        tables[relation] = {
            name: _smoothed(counts[name], tables, STRUCTURE[relation].get(name, 0.0), name) for name in TABLED
        }
    for relation, table in tables.items():
        table["identifier"] = _numbers(relation, same["identifier"]["chart_differs"])
    names = {name: _shared(Counter(getattr(data.records[r], name) for r in ids)) for name in ("given", "family")}
    return Weights(version, tables, rates, names)


def _counted(data: Dataset, pairs: Any) -> tuple[Counts, int]:
    counts: Counts = defaultdict(Counter)
    total = 0
    for one, other in pairs:
        total += 1
        for name, level in compare(data.records[one], data.records[other]).items():
            counts[name][level] += 1
    return counts, total


def _related(data: Dataset, word: str, ids: Collection[str]) -> Any:
    records: dict[str, list[str]] = defaultdict(list)
    for record in sorted(ids):
        records[data.people[record]].append(record)
    for two, relation in sorted(data.relations.items(), key=lambda item: sorted(item[0])):
        if relation == word and len(two) == 2:
            one, other = sorted(two)
            yield from product(records[one], records[other])


def _chances(counts: Counts, levels: dict[str, list[str]], little: float) -> dict[str, dict[str, float]]:
    return {
        name: {
            level: (counts[name][level] + little) / (counts[name].total() + little * len(levels[name]))
            for level in levels[name]
        }
        for name in TABLED
    }


def _numbers(relation: str, other_charts: int) -> dict[str, float]:
    """Chances of one number, of two of a system that numbers people, and of two of one that numbers charts."""
    equal = SAME_NUMBER[relation]
    charts = (other_charts + SMOOTHING * SAME_CHART) / (other_charts + SMOOTHING) if relation == SAME else 1 - equal
    return {"equal": equal, "differs": 1 - equal, "chart_differs": charts}


def _smoothed(
    counts: Counter[str], tables: dict[str, dict[str, dict[str, float]]], share: float, name: str
) -> dict[str, float]:
    total = counts.total() + SMOOTHING
    return {
        level: (counts[level] + SMOOTHING * (share * tables[SAME][name][level] + (1 - share) * stranger)) / total
        for level, stranger in tables[UNRELATED][name].items()
    }


def _shared(counts: Counter[str]) -> float:
    total = counts.total()
    return sum((count / total) ** 2 for value, count in counts.items() if value)


def main() -> None:
    """Fit, and show or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", default=VERSION)
    parser.add_argument("--write", action="store_true", help="into the package, to be shipped")
    arguments = parser.parse_args()
    weights = fit(read(arguments.folder, "patient"), arguments.version)
    text = json.dumps(_rounded(weights), indent=1, sort_keys=True) + "\n"
    if arguments.write:
        target = ROOT / "connector_runner" / "resolution" / "weights" / f"{arguments.version}.json"
        target.write_text(text, encoding="utf-8")
    else:
        print(text)


def _rounded(weights: Weights) -> dict[str, Any]:
    chances = {
        relation: {
            name: {level: float(f"{value:.4g}") for level, value in table.items()} for name, table in all_.items()
        }
        for relation, all_ in weights.chances.items()
    }
    return {
        "version": weights.version,
        "chances": chances,
        "rates": {relation: round(rate, 4) for relation, rate in weights.rates.items()},
        "names": {name: round(value, 6) for name, value in weights.names.items()},
    }


if __name__ == "__main__":
    main()
