"""A rule of the classification: what it looks at in an answer, what it concludes, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from connector_runner.connectors.classification.evidence import Evidence, Purpose, Shape
from connector_runner.connectors.sinks import Outcome

READING: Final[tuple[Purpose, ...]] = ("read", "search", "check")
CREATING: Final[tuple[Purpose, ...]] = ("create", "conditional_create")
WRITING: Final[tuple[Purpose, ...]] = (*CREATING, "update", "transaction")
UNCLASSIFIED: Final = "unclassified"

NEXT_MINUTE: Final = "next_minute"
Wait = float | Literal["next_minute"] | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer means. What is left empty is not looked at; the first rule that holds counts.

    ``status`` holds statuses, or classes of them: 4 is every 4xx. ``codes``: one of them is in the answer. ``shape``:
    what the body is. ``retry_after``: whether the answer says when to come back. ``placed``: whether an issue
    names a place in what was sent. ``wait``: seconds to wait where the answer does not say, or until when.
    """

    outcome: Outcome
    cause: str
    source: str
    status: tuple[int, ...] = ()
    codes: frozenset[str] = frozenset()
    vendors: frozenset[str] = frozenset()
    purposes: tuple[Purpose, ...] = ()
    shape: Shape | None = None
    retry_after: bool | None = None
    placed: bool | None = None
    wait: Wait = None

    def may_hold(self, status: int, vendor: str, purpose: Purpose) -> bool:
        """Whether this rule is about answers of such a status of such a vendor to such requests at all."""
        return (
            (not self.status or status in self.status or status // 100 in self.status)
            and (not self.vendors or vendor in self.vendors)
            and (not self.purposes or purpose in self.purposes)
        )

    def holds(self, evidence: Evidence) -> bool:
        """Whether this rule is about such an answer, to which it ``may_hold``."""
        return (
            (not self.codes or not self.codes.isdisjoint(evidence.codes))
            and (self.shape is None or self.shape == evidence.shape)
            and (self.retry_after is None or self.retry_after == evidence.retry_after)
            and (self.placed is None or self.placed == bool(evidence.where))
        )


def rule(
    outcome: Outcome,
    cause: str,
    source: str,
    status: int | tuple[int, ...] = (),
    codes: str | Sequence[str] = (),
    vendor: str | Sequence[str] = (),
    to: Purpose | Sequence[Purpose] = (),
    *,
    shape: Shape | None = None,
    retry_after: bool | None = None,
    placed: bool | None = None,
    wait: Wait = None,
) -> Rule:
    """One row of a table, written short: texts of several words are several values."""
    return Rule(
        outcome,
        cause,
        source,
        (status,) if isinstance(status, int) else status,
        frozenset(codes.split() if isinstance(codes, str) else codes),
        frozenset(vendor.split() if isinstance(vendor, str) else vendor),
        (to,) if isinstance(to, str) else tuple(to),
        shape,
        retry_after,
        placed,
        wait,
    )
