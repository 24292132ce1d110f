"""What speaks for two records being one person, in bits: log-odds against everything else that could explain it.

After Fellegi and Sunter, A Theory for Record Linkage (1969), with one difference: *same person* is set against the
sum of household, twin, senior and junior, namesake and unrelated. A shared phone, surname and street are not three
independent agreements; one household explains all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log
from typing import Final, Protocol

from connector_runner.resolution import locations, practitioners
from connector_runner.resolution.comparing import Levels, compare, contradiction
from connector_runner.resolution.guards import CLEAR, counted_bits, held_back
from connector_runner.resolution.identity import Identity
from connector_runner.resolution.locations import judge_locations
from connector_runner.resolution.practitioners import VETO, judge_practitioners
from connector_runner.resolution.thresholds import thresholds
from connector_runner.resolution.weights import SAME, UNRELATED, VERSION, Weights

RULES: Final = 3
"""Raised with whatever decides what is compared, and how, beside the weights: readings, keys, guards, thresholds."""
_SAME_RECORD_BITS: Final = 40.0
"""For a source's own word that two records are of one person, which no table of chances is asked about."""
_GENERATION_BITS: Final = -12.0
"""For one who is called senior where the other is called junior."""
_LEAST: Final = 1e-4
RAREST: Final = 2e-4
"""The share of records at which a name counts as rare; rarer ones say no more."""
_NAME_SHARE: Final = 0.9
_MANY_NAMES: Final = 3
_GIVEN_FREE: Final = (UNRELATED, "household", "twin")
"""The relations in which two people have given names that have nothing to do with one another."""


def rules_of(kind: str) -> str:
    """By what entities of a kind are compared: when it is another than it was, all are compared anew."""
    versions = {"location": locations.VERSION, "practitioner": practitioners.VERSION}
    return f"{versions.get(kind, VERSION)}/{RULES}"


class Population(Protocol):
    """What is known of all records of a kind: common values say less than rare ones."""

    @property
    def size(self) -> int:
        """How many records there are."""

    def share(self, name_field: str, value: str) -> float:
        """The share of records with this given or family name."""

    def given_names_on(self, phone: str) -> int:
        """How many different given names are found with a phone."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one pair: ``bits`` for *same* (base-2 log-odds), and per field its level and what it adds."""

    one: str
    other: str
    bits: float
    levels: Levels
    weights: Mapping[str, float] = field(default_factory=dict)
    veto: str | None = None
    held: str | None = None
    """Why this pair may not link by itself (see guards), however many bits there are."""
    version: str = ""

    @property
    def counted(self) -> float:
        """What the pair counts where clusters are made."""
        return counted_bits(self.bits, self.held)


def judge(one: Identity, other: Identity, weights: Weights, population: Population) -> Evidence:
    """The evidence that two records of one kind are the same person. Symmetric, and ordered by their names."""
    if one.record > other.record:
        one, other = other, one
    if one.kind == "location":
        bits, levels, each, held = judge_locations(one, other)
        return Evidence(one.record, other.record, bits, levels, each, None, held, locations.VERSION)
    if one.kind == "practitioner":
        bits, levels, each, veto, held = judge_practitioners(one, other)
        return Evidence(one.record, other.record, bits, levels, each, veto, held, practitioners.VERSION)
    levels = compare(one, other)
    veto = contradiction(one, other)
    if veto is not None:
        return Evidence(one.record, other.record, VETO, levels, {veto: VETO}, veto, version=weights.version)
    crowd = levels.get("phone") == "equal" and _is_crowded(one, other, population)
    said = levels.get("identifier") == "same_record"
    silent = {name for name, is_silent in (("phone", crowd), ("identifier", said)) if is_silent}
    counted = {name: level for name, level in levels.items() if name not in silent}
    bits, each = _log_odds(counted, one, other, weights, population)
    if said:
        each["identifier"] = _SAME_RECORD_BITS
    common = max(population.share("given", p.given) * population.share("family", p.family) for p in (one, other))
    clear = bits >= thresholds(population.size).link + CLEAR
    names = all(population.share("given", person.given) > RAREST for person in (one, other))
    held = held_back(one, other, levels, name_share=common, clear=clear, names=names)
    if held == "generation":
        each["generation"] = _GENERATION_BITS
    bits += _SAME_RECORD_BITS * said + each.get("generation", 0.0)
    return Evidence(one.record, other.record, bits, levels, each, None, held, weights.version)


def _log_odds(
    levels: Levels, one: Identity, other: Identity, weights: Weights, population: Population
) -> tuple[float, dict[str, float]]:
    """Bits for *same* against the sum of all else, and what each field adds."""
    chances = {
        relation: {name: log(table[name].get(level, _LEAST)) for name, level in levels.items()}
        for relation, table in weights.chances.items()
    }
    _weigh_names(chances, levels, one, weights, population)
    size = max(population.size, 2)
    prior = {
        relation: 0.0 if relation == UNRELATED else log(2 * weights.rates[relation] / size) for relation in chances
    }
    found = {relation: prior[relation] + sum(chances[relation].values()) for relation in chances}
    bits = (found[SAME] - _log_sum([value for relation, value in found.items() if relation != SAME])) / log(2)
    return bits, _weight_of_each(chances, found)


def _is_crowded(one: Identity, other: Identity, population: Population) -> bool:
    """Whether each phone that both have is one of many people: an employer's, a shelter's, a clinic's own."""
    return all(population.given_names_on(number) > _MANY_NAMES for number in one.phones & other.phones)


def _weigh_names(
    chances: dict[str, dict[str, float]],
    levels: Levels,
    one: Identity,
    weights: Weights,
    population: Population,
) -> None:
    """Term frequency: agreement on a common name says less, on a rare one more, than on the average name."""
    for name, value, free in (("given", one.given, _GIVEN_FREE), ("family", one.family, (UNRELATED,))):
        if levels.get(name) != "equal":
            continue
        share = max(population.share(name, value), RAREST)
        rarity = _NAME_SHARE * log(share / max(weights.names[name], _LEAST))
        for relation in free:
            chances[relation][name] += rarity


def _weight_of_each(chances: Mapping[str, Mapping[str, float]], found: Mapping[str, float]) -> dict[str, float]:
    """What each field adds against the relation that explains the pair best otherwise, in bits."""
    rival = max((relation for relation in found if relation != SAME), key=lambda relation: found[relation])
    return {name: round((chances[SAME][name] - chances[rival][name]) / log(2), 3) for name in chances[SAME]}


def _log_sum(values: list[float]) -> float:
    most = max(values)
    return most + log(sum(exp(value - most) for value in values))
