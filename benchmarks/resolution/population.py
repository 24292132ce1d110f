"""How common names and phones are among records in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from connector_runner.resolution.identity import Identity


class Counted:
    """A Population counted from all its records."""

    def __init__(self, people: Iterable[Identity]) -> None:
        self._names: dict[str, Counter[str]] = {"given": Counter(), "family": Counter()}
        self._given_on: dict[str, set[str]] = defaultdict(set)
        self.size = 0
        for person in people:
            self.size += 1
            self._names["given"][person.given] += 1
            self._names["family"][person.family] += 1
            for number in person.phones:
                self._given_on[number].add(person.given[:3])

    def share(self, name_field: str, value: str) -> float:
        """The share of records with this name."""
        return self._names[name_field][value] / max(self.size, 1)

    def given_names_on(self, phone: str) -> int:
        """How many different given names there are on a phone."""
        return len(self._given_on[phone])
