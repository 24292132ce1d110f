"""Judge pairs of records of one kind by what is known of all of them: names that are common, phones of many people."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Set

from connector_runner.infra.database import Tx
from connector_runner.resolution import crowds, population_store, store
from connector_runner.resolution.clusters import Pair
from connector_runner.resolution.comparing import contradiction, is_silent
from connector_runner.resolution.evidence import Evidence, judge
from connector_runner.resolution.grouping import Weighed
from connector_runner.resolution.identity import Identity, Kind
from connector_runner.resolution.weights import shipped


class Judging:
    """The evidence of pairs, within one transaction. ``size``: how many records of the kind there are taken to be."""

    def __init__(
        self, tx: Tx, workspace_id: str, kind: Kind, people: dict[str, Identity], crowded: Set[str] | None = None
    ) -> None:
        """``crowded``: the phones of too many people among those of ``people``; looked up where it is not given."""
        self._tx, self._workspace_id, self._kind = tx, workspace_id, kind
        self._known = dict(people)
        self._looked_up: set[str] = set()
        self._population = population_store.load(tx, workspace_id, kind)
        if crowded is None:
            self._note_crowds(people.values())
        else:
            self._population.crowded |= crowded

    @property
    def size(self) -> int:
        """How many records the population is taken to have."""
        return self._population.size

    def against(self, others: Iterable[str], pairs: Iterable[Pair], kept: Container[Pair]) -> list[Evidence]:
        """The evidence of ``pairs``, each of one of the people and one of ``others``, where both say who they are.

        Of two whom a veto keeps apart only if they are among ``kept``: nobody links them or asks about them.
        """
        self._learn(others)
        known, weights = self._known, shipped()
        found = [
            (known[a], known[b])
            for a, b in pairs
            if a in known and b in known and ((a, b) in kept or not self._are_apart(known[a], known[b]))
        ]
        self._look_up(person for two in found for person in two)
        return [judge(one, other, weights, self._population) for one, other in found]

    def _are_apart(self, one: Identity, other: Identity) -> bool:
        return self._kind == "patient" and contradiction(one, other) is not None

    def among(self, component: Iterable[str]) -> Callable[[Pair], Weighed | None]:
        """What tells of two records of ``component`` that no key brought together what their evidence comes to.

        None where one says nothing of who it is. Who they are is looked up when it is first asked.
        """
        looked_up = False

        def weigh(two: Pair) -> Weighed | None:
            nonlocal looked_up
            if not looked_up:
                self._learn(component)
                people = [self._known[record] for record in component if record in self._known]
                self._look_up(people)
                self._note_crowds(people)
                looked_up = True
            one, other = self._known.get(two[0]), self._known.get(two[1])
            if one is None or other is None or is_silent(one, other):
                return None
            found = judge(one, other, shipped(), self._population)
            return Weighed(found.one, found.other, found.bits, found.veto, found.held)

        return weigh

    def _learn(self, entity_ids: Iterable[str]) -> None:
        missing = set(entity_ids) - self._known.keys()
        if missing:
            self._known |= store.identities(self._tx, self._workspace_id, missing, self._kind)

    def _look_up(self, people: Iterable[Identity]) -> None:
        """Learn how common names are of which it is not known yet."""
        names = {name for person in people for name in (person.given, person.family) if name} - self._looked_up
        if names:
            population_store.look_up(self._tx, self._workspace_id, self._kind, self._population, names)
            self._looked_up |= names

    def _note_crowds(self, people: Collection[Identity]) -> None:
        self._population.crowded |= crowds.crowded_numbers(self._tx, self._workspace_id, self._kind, people)
