"""What an import counts and tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from connector_runner.intake.landing import Landed

KEPT_ERRORS = 100
NUMBERS = (
    "events_created",
    "events_updated",
    "events_skipped",
    "entities_created",
    "entities_updated",
    "quarantined",
    "resources",
    "duplicates",
)


class Report:
    """Counts and errors of one file, kept as JSON between chunks."""

    def __init__(self, counts: dict[str, Any], errors: Iterable[str]) -> None:
        self.numbers: Counter[str] = Counter({name: int(counts.get(name, 0)) for name in NUMBERS})
        self.ignored: Counter[str] = Counter(counts.get("ignored", {}))
        self.unmapped: Counter[str] = Counter(counts.get("unmapped", {}))
        self.errors_total = int(counts.get("errors_total", 0))
        self.errors: list[str] = list(errors)

    def copy(self) -> Report:
        """The same, to be changed by a transaction that may not commit."""
        return Report(self.counts(), self.errors)

    def tell(self, error: str) -> None:
        """Add an error; only the first hundred are kept."""
        self.errors_total += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(error)

    def landed(self, landed: Landed) -> None:
        """Add what became of a chunk."""
        for name in NUMBERS[:6]:
            self.numbers[name] += getattr(landed, name)
        self.numbers["resources"] += landed.records
        self.unmapped.update(landed.unmapped)
        for error in landed.errors:
            self.tell(error)

    def counts(self) -> dict[str, Any]:
        """All counts, to be stored."""
        return {name: self.numbers[name] for name in NUMBERS} | {
            "ignored": dict(self.ignored),
            "unmapped": dict(self.unmapped),
            "errors_total": self.errors_total,
        }


def summed(reports: Iterable[tuple[dict[str, Any], list[str]]]) -> dict[str, Any]:
    """The counts of several files as one, with their ``errors``."""
    total = Report({}, [])
    errors: list[str] = []
    for counts, found in reports:
        one = Report(counts, found)
        total.numbers.update(one.numbers)
        total.ignored.update(one.ignored)
        total.unmapped.update(one.unmapped)
        total.errors_total += one.errors_total
        errors.extend(found)
    return total.counts() | {"errors": errors}
