"""The engine with one of its safeguards taken away. The simulator must notice each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink, Step
from connector_runner.outbound.lanes.intents import Intent
from connector_runner.outbound.lanes.lane import Lane, State
from connector_runner.resilience.limiter import Grant
from tests.simulation.world import Sabotage


class _Around:
    """Something with a part of it replaced."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class NoIntents(_Around):
    """Nothing is written down before it is sent."""

    def open_intent(self, lane: Lane, intent: Intent, quiet_s: float) -> None:
        """Forgotten."""


class NoFence(_Around):
    """Whoever once claimed a lane has it for ever."""

    def _now(self, lane: Lane) -> Lane:
        row = self.inner.lanes[lane.lane_id]
        self.inner.lanes[lane.lane_id] = replace(row, lane=replace(row.lane, state=State.LEASED))
        return replace(lane, fence=row.lane.fence)

    def lock(self, lane: Lane) -> bool:
        """Always."""
        return bool(self.inner.lock(self._now(lane)))

    def lock_all(self, lanes: Sequence[Lane]) -> set[str]:
        """Always."""
        return {lane.lane_id for lane in lanes if self.lock(lane)}

    def extend_all(self, lanes: Sequence[Lane], lease_s: float) -> set[str]:
        """Always."""
        return {lane.lane_id for lane in lanes if self.extend(lane, lease_s)}

    def extend(self, lane: Lane, lease_s: float) -> bool:
        """Always."""
        return bool(self.inner.extend(self._now(lane), lease_s))

    def give_back(self, lane: Lane, to: Any, **options: Any) -> bool:
        """Always."""
        return bool(self.inner.give_back(self._now(lane), to, **options))

    def confirm(self, lane: Lane, **options: Any) -> bool:
        """Always."""
        return bool(self.inner.confirm(self._now(lane), **options))


class RoundsWithoutIntents(_Around):
    """Of several requests that are prepared in one transaction only the first is written down."""

    opened = 0

    def open_intent(self, lane: Lane, intent: Intent, quiet_s: float) -> None:
        """Forgotten, but for one."""
        self.opened += 1
        if self.opened == 1:
            self.inner.open_intent(lane, intent, quiet_s)


class RoundsWithoutFence(_Around):
    """Several lanes at once are sent by whoever once claimed them; one by itself is not."""

    def extend_all(self, lanes: Sequence[Lane], lease_s: float) -> set[str]:
        """Always."""
        self.inner.extend_all(lanes, lease_s)
        return {lane.lane_id for lane in lanes}


class Ageless(_Around):
    """A grant holds however late it is used."""

    def acquire(self, *given: Any, **options: Any) -> Grant:
        """For an hour."""
        grant: Grant = self.inner.acquire(*given, **options)
        return replace(grant, use_by=grant.use_by + 3600) if grant.granted else grant


class NoQuiet(_Around):
    """What may have been sent is looked for at once."""

    def open_intent(self, lane: Lane, intent: Intent, quiet_s: float) -> None:
        """May be looked for now."""
        self.inner.open_intent(lane, intent, 0.0)

    def resolve_later(self, lane: Lane, intent_id: str, quiet_s: float) -> None:
        """No later than now."""
        self.inner.resolve_later(lane, intent_id, 0.0)


class NoPrecondition(_Around):
    """An update replaces whatever is there."""

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """Without If-Match."""
        reply: Reply = self.inner.update(ref, body, None, before=before)
        return reply


class BlindTransactions(_Around):
    """A transaction whose answer was lost counts as undone."""

    def transact(self, steps: Sequence[Step]) -> list[Reply]:
        """As if each had been refused."""
        replies: list[Reply] = self.inner.transact(steps)
        lost = all(reply.outcome is Outcome.UNKNOWN for reply in replies)
        return [replace(reply, outcome=Outcome.REFUSED) for reply in replies] if lost else replies


def _blind_transactions(sink: Sink) -> Any:
    return BlindTransactions(sink)


def _no_precondition(sink: Sink) -> Any:
    return NoPrecondition(sink)


MUTATIONS: dict[str, Sabotage] = {
    sabotage.name: sabotage
    for sabotage in (
        Sabotage("intent", store=NoIntents),
        Sabotage("fence", store=NoFence),
        Sabotage("quiet", store=NoQuiet, terms=lambda terms: replace(terms, quiet_period_s=0.0)),
        Sabotage("precondition", sink=_no_precondition),
        Sabotage("rounds' intents", store=RoundsWithoutIntents),
        Sabotage("rounds' fence", store=RoundsWithoutFence),
        Sabotage("age of grants", limiter=Ageless),
        Sabotage("transaction", sink=_blind_transactions),
    )
}
