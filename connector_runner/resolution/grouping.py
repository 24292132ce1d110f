"""From rows of evidence to clusters: what waits for a person, who is nothing but a phone, who is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from connector_runner.resolution.clusters import APART, UNSEEN, Clusters, Pair, clusters, pair
from connector_runner.resolution.guards import ONLY_PHONE, counted_bits
from connector_runner.resolution.phones import with_lone_phones


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the evidence of one pair comes to."""

    one: str
    other: str
    bits: float
    veto: str | None = None
    held: str | None = None


def group(
    names: Mapping[str, str],
    evidence: Iterable[Weighed],
    decided: Mapping[Pair, bool],
    *,
    threshold: float,
    lone: Iterable[str] = (),
    weigh: Callable[[Pair], Weighed | None] = lambda _: None,
) -> Clusters:
    """Clusters of the entities in ``names`` (entity -> canonical id) by their evidence and what people decided.

    ``lone`` are entities that are nothing but a phone. ``weigh`` tells what the evidence of two comes to that is not
    in ``evidence``, as it links nobody. Ties fall by canonical id, which is the same wherever records are landed.
    """
    entity_of = {name: entity for entity, name in names.items()}

    def named(two: Pair) -> Pair:
        return pair(names[two[0]], names[two[1]])

    known = {named((e.one, e.other)): e for e in evidence if e.one in names and e.other in names}
    said = {named(two): same for two, same in decided.items() if two[0] in names and two[1] in names}
    never = {two for two, same in said.items() if not same}
    never |= {two for two, e in known.items() if e.veto and not said.get(two)}

    def weighed(two: Pair) -> float:
        e = known.get(two) or weigh(pair(entity_of[two[0]], entity_of[two[1]]))
        if e is None:
            return UNSEEN
        return APART if e.veto and not said.get(two) else counted_bits(e.bits, e.held)

    found = clusters(
        entity_of,
        {two: counted_bits(e.bits, e.held) for two, e in known.items()},
        threshold=threshold,
        must=frozenset(two for two, same in said.items() if same),
        never=frozenset(never),
        weigh=weighed,
    )
    phoned = [two for two, e in known.items() if e.held == ONLY_PHONE]
    if phoned:
        alone = frozenset(names[entity] for entity in lone if entity in names)
        found = with_lone_phones(found, alone, phoned, lambda two: two in never or weighed(two) == APART)
    return _of_entities(found, entity_of)


def _of_entities(found: Clusters, entity_of: Mapping[str, str]) -> Clusters:
    members: dict[str, list[str]] = {}
    for name, cluster in found.of.items():
        members.setdefault(cluster, []).append(entity_of[name])
    return Clusters(
        {entity: min(entities) for entities in members.values() for entity in entities},
        _pairs(found.links, entity_of),
        _pairs(found.refused, entity_of),
    )


def _pairs(pairs: Sequence[Pair], entity_of: Mapping[str, str]) -> tuple[Pair, ...]:
    return tuple(pair(entity_of[a], entity_of[b]) for a, b in pairs)
