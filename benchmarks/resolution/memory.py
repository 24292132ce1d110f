"""Who is one, in memory: by the keys, evidence, guards and clusters of the product, without its database.

For what is tried many times over. A run through the product of the same records gives the same clusters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from itertools import combinations

from connector_runner.resolution.blocking import is_broad, is_loose, keys, phone_key
from connector_runner.resolution.clusters import Clusters, Pair
from connector_runner.resolution.comparing import is_silent
from connector_runner.resolution.crowds import MANY_NAMES
from connector_runner.resolution.evidence import RAREST, Evidence, judge
from connector_runner.resolution.grouping import Weighed, group
from connector_runner.resolution.identity import Identity
from connector_runner.resolution.key_store import BROAD_CAP, KEY_CAP
from connector_runner.resolution.population_store import LEAST, Snapshot, share_step, size_step
from connector_runner.resolution.thresholds import thresholds
from connector_runner.resolution.weights import Weights

People = Mapping[str, Identity]


class Memory:
    """Patients who are compared with one another, by the names and phones of all of them.

    ``size``: how many records the population is taken to have, by default as many as there are.
    """

    def __init__(self, people: People, size: int | None = None) -> None:
        self._people = people
        self._population = _counted(people, size)
        self._pairs = _pairs(people, self._population.crowded)

    def clusters(self, weights: Weights, among: Collection[str] | None = None) -> Clusters:
        """The clusters of these records, or of all."""
        chosen = set(self._people if among is None else among)
        evidence = [
            _weighed(judge(self._people[a], self._people[b], weights, self._population))
            for a, b in self._pairs
            if a in chosen and b in chosen
        ]

        def weigh(two: Pair) -> Weighed | None:
            one, other = (self._people[record] for record in two)
            if is_silent(one, other):
                return None
            return _weighed(judge(one, other, weights, self._population))

        names = {record: record for record in chosen}
        return group(names, evidence, {}, threshold=thresholds(self._population.size).link, weigh=weigh)


def _weighed(found: Evidence) -> Weighed:
    return Weighed(found.one, found.other, found.bits, found.veto, found.held)


def _counted(people: People, size: int | None) -> Snapshot:
    records = max(len(people), LEAST)
    named = Counter((field, getattr(p, field)) for p in people.values() for field in ("given", "family"))
    shares = {name: share_step(n / records) for name, n in named.items() if name[1] and n > RAREST * records}
    given: dict[str, set[str]] = defaultdict(set)
    for person in people.values():
        for number in person.phones if person.given else ():
            given[number].add(person.given[:3])
    crowded = {number for number, found in given.items() if len(found) > MANY_NAMES}
    return Snapshot(size_step(size or len(people)), shares, crowded)


def _pairs(people: People, crowded: Collection[str]) -> list[Pair]:
    holders: dict[str, list[str]] = defaultdict(list)
    for record in sorted(people):
        for key in keys(people[record]):
            holders[key].append(record)
    silent = {phone_key(number) for number in crowded}
    found: set[Pair] = set()
    for key, records in holders.items():
        if key not in silent and len(records) <= (BROAD_CAP if is_broad(key) else KEY_CAP):
            both = combinations(records, 2)
            dated = {record for record in records if is_loose(key) and people[record].is_dated}
            found.update((a, b) for a, b in both if not (a in dated and b in dated))
    return sorted(found)
