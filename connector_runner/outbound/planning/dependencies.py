"""What must be in a sink before: a reference is written only to a resource that the sink holds.

A missing one is waited for where it comes earlier in the order of types, so that two records which refer to
each other never wait for one another; the later reference is left out at first and written once its target is
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import entity_id_of, parse_canonical_id
from connector_runner.outbound.gating.gates import UNVERIFIED
from connector_runner.outbound.lanes.lane import DEPENDENCY, Withheld
from connector_runner.outbound.planning.dependency_store import Held, held
from connector_runner.unification.model import Dependency

DEPENDENCY_BELOW_THRESHOLD: Final = "dependency_below_threshold"
HIERARCHY: Final = "part_of"

_RANKS: Final[dict[str, int]] = {
    "organization": 0, "location": 1, "practitioner": 1, "practitioner_role": 2, "medication": 2, "device": 2,
    "patient": 3, "related_person": 4, "insurance_plan": 4, "appointment": 4, "schedule": 4, "slot": 5,
    "care_team": 5, "encounter": 6, "condition": 7,
}  # fmt: skip
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
_LATE: Final = {"diagnostic_report": 9, "claim": 9, "explanation_of_benefit": 9, "composition": 9, "provenance": 9}


def rank(entity_type: str) -> int:
    """Where a type stands in the order of writing: 0 refers to nothing, 9 to many."""
    return _RANKS.get(entity_type, _LATE.get(entity_type, 8))


class References:
    """Where a sink has the records that an entity refers to. Looked up in one query, asked many times.

    ``along``: entity -> what refers to its record, where that is to be made in the same transaction.
    """

    def __init__(
        self,
        tx: Tx,
        workspace_id: str,
        terms: SinkTerms,
        canonical_ids: Iterable[str],
        along: Mapping[str, str] = NOBODY,
    ) -> None:
        self._terms = terms
        self._found: dict[str, Held] = {}
        self._foreign: dict[str, str] = {}
        # As of now: more may come along than what is written by this knows of.
        self._along = dict(along)
        for canonical in canonical_ids:
            own = self._own(canonical)
            if own is not None:
                self._found[canonical] = Held(None, own)
            else:
                self._foreign[canonical] = entity_id_of(workspace_id, canonical)
        there = held(tx, terms.sink_id, terms.name, sorted(self.asked_for)) if self._foreign else {}
        for canonical, record_id in self._foreign.items():
            self._found[canonical] = self._coming(there[record_id])

    @property
    def asked_for(self) -> set[str]:
        """The records of which the sink was asked whether it has them, by their ids."""
        return set(self._foreign.values())

    def hold(self, there: Mapping[str, Held]) -> bool:
        """Whether each is written as it was found: ``there`` is where the sink has by now what was asked for."""
        return all(
            self._coming(there[record_id]).ref == self._found[canonical].ref
            for canonical, record_id in self._foreign.items()
        )

    def _coming(self, found: Held) -> Held:
        comes = self._along.get(found.entity_id or "") if found.ref is None else None
        return found if comes is None else replace(found, ref=comes)

    def _own(self, canonical: str) -> str | None:
        try:
            source, kind, record = parse_canonical_id(canonical)
        except BadRecord:
            return None
        return f"{kind}/{record}" if source == self._terms.name else None

    def resolve(self, canonical: str) -> str | None:
        """``Type/id`` in the sink, or None. A record of the sink itself is always there."""
        found = self._found.get(canonical)
        return found.ref if found is not None else self._own(canonical)

    def entity_of(self, canonical: str) -> str | None:
        """The entity whose record it is, if that has arrived."""
        found = self._found.get(canonical)
        return found.entity_id if found is not None else None

    def unverified(self, dependency: Dependency) -> bool:
        """Whether a record is here, and is kept from the sink until somebody verifies it."""
        found = self._found.get(dependency.canonical_id)
        return found is not None and found.stopped in (UNVERIFIED | {DEPENDENCY_BELOW_THRESHOLD})

    def must_wait(self, entity_type: str, dependency: Dependency) -> bool:
        """Whether a missing record is worth waiting for."""
        if dependency.required:
            return True
        found = self._found.get(dependency.canonical_id)
        if found is None or found.entity_type not in self._terms.entity_types:
            return False
        if dependency.field == HIERARCHY and found.entity_type == entity_type:
            # A whole comes before its parts; one that waits as well may be part of a circle.
            return not found.waits
        declared = self._terms.depends.get(entity_type, ())
        return found.entity_type in declared or rank(found.entity_type or "") < rank(entity_type)


@dataclass(frozen=True, slots=True)
class Missing:
    """``waits_for``: fields whose records must come first. ``left_out``: references that are not written yet.

    ``unverified``: fields whose records must come first, and will not before somebody verifies them. ``on`` are the
    entities that are waited for, as far as they have arrived.
    """

    waits_for: tuple[str, ...]
    left_out: tuple[Withheld, ...]
    unverified: tuple[str, ...] = ()
    on: tuple[str, ...] = ()


def missing(references: References, entity_type: str, dependencies: Sequence[Dependency]) -> Missing:
    """What an entity refers to and the sink does not hold."""
    waits: list[str] = []
    stopped: list[str] = []
    left: list[Withheld] = []
    on: list[str] = []
    for dependency in dependencies:
        if references.resolve(dependency.canonical_id) is not None:
            continue
        if references.must_wait(entity_type, dependency):
            (stopped if references.unverified(dependency) else waits).append(dependency.field)
            on.append(references.entity_of(dependency.canonical_id) or "")
        else:
            left.append(Withheld(dependency.field, DEPENDENCY))
    return Missing(
        tuple(dict.fromkeys(waits)),
        tuple(dict.fromkeys(left)),
        tuple(dict.fromkeys(stopped)),
        tuple(entity for entity in dict.fromkeys(on) if entity),
    )


def lacks(reason: str | None, withheld: Iterable[str]) -> bool:
    """Whether a lane shows, by its reason or the codes of what it withholds, that it is woken by who lands there."""
    return reason in (DEPENDENCY, DEPENDENCY_BELOW_THRESHOLD) or DEPENDENCY in withheld


def refs_in(value: Any) -> set[str]:
    """Every canonical id that a value refers to, however deep."""
    if isinstance(value, dict):
        own = {value["ref"]} if isinstance(value.get("ref"), str) else set()
        return own.union(*(refs_in(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(refs_in(item) for item in value))
    return set()
