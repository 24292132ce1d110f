"""Which events of a subscription are known: the arithmetic of its numbers. Pure.

Deliveries come twice, in any order, or not at all. Every event up to ``contiguous`` is known, and those of ``ahead``
beyond the first that is missing; ``highest`` is the highest number that was heard of, if only as a total. What lies
between is a gap (Subscriptions R5 Backport IG, Safe Notifications: event numbers).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from connector_runner.connectors.push import Kind

MOST_AHEAD: Final = 1000
"""Beyond so many the numbers are no longer kept: there is a gap whatever becomes of them."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known of a subscription's events. ``numbered``: it has said a number at all."""

    numbered: bool = False
    contiguous: int = 0
    highest: int = 0
    ahead: frozenset[int] = frozenset()
    restarts: int = 0

    @property
    def gap(self) -> bool:
        """Whether an event is missing."""
        return self.highest > self.contiguous

    def heard(self, kind: Kind, numbers: Iterable[int], total: int | None, *, ours: bool) -> Numbers:
        """After a notification. ``ours``: we made the subscription, so that its first event is number 1.

        A handshake, or the status, with fewer events than we know of means that the server began to count anew.
        """
        named = frozenset(numbers)
        state = self
        if kind in ("handshake", "status") and total is not None and total < state.highest:
            state = Numbers(True, total, total, restarts=state.restarts + 1)
        if not state.numbered and (named or total is not None):
            state = replace(state, numbered=True, contiguous=0 if ours else _before(named, total))
        highest = max([state.highest, total or 0, *named])
        return replace(state, highest=highest)._known(named)

    def caught_up(self) -> Numbers:
        """What was missing came another way."""
        return replace(self, contiguous=self.highest, ahead=frozenset())

    def _known(self, named: frozenset[int]) -> Numbers:
        ahead = {n for n in self.ahead | named if n > self.contiguous}
        contiguous = self.contiguous
        while contiguous + 1 in ahead:
            contiguous += 1
            ahead.remove(contiguous)
        kept = frozenset(sorted(ahead)[:MOST_AHEAD])
        return replace(self, contiguous=contiguous, ahead=kept)


def _before(named: frozenset[int], total: int | None) -> int:
    """Where counting begins for a subscription that was there before us."""
    return min(named) - 1 if named else total or 0
