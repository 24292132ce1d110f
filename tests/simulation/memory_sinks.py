"""Sinks in memory: open, paused, or left alone by their breakers."""

from __future__ import annotations

from dataclasses import replace

from connector_runner.outbound.lanes.lane import State
from connector_runner.outbound.sinks.sink_state import QUOTA, SinkState
from connector_runner.resilience.breaker import BreakerLimits
from tests.simulation.tables import LaneRow, SinkRow

BREAKER = BreakerLimits()


class SinkVerbs:
    """The verbs of a transaction that are about a sink as a whole."""

    def __init__(self, lanes: dict[str, LaneRow], sinks: dict[str, SinkRow], now: float) -> None:
        self.lanes, self.sinks, self.now = lanes, sinks, now

    def sink_state(self, sink_id: str) -> SinkState:
        """Open, paused, or left alone."""
        row = self.sinks.get(sink_id, SinkRow())
        phase = row.breaker.phase(self.now)
        paused = row.paused is not None
        state = SinkState(
            None, 0.0, row.breaker.in_a_row, paused, phase == "half_open", row.breaker.clean and not paused
        )
        wake_s = max(row.wake_at - self.now, 0.0) if row.wake_at is not None else None
        if paused and (wake_s is None or wake_s > 0):
            return replace(state, closed=QUOTA if row.paused == QUOTA else "paused", wait_s=wake_s or 0.0)
        if phase == "open":
            return replace(state, closed="breaker", wait_s=row.breaker.wait_s(self.now))
        return state

    def pause(self, sink_id: str, code: str, for_s: float) -> None:
        """For a time."""
        self.sinks[sink_id] = replace(self.sinks.get(sink_id, SinkRow()), paused=code, wake_at=self.now + for_s)

    def fail(self, sink_id: str) -> float:
        """The breaker learns."""
        row = self.sinks.get(sink_id, SinkRow())
        breaker = row.breaker.failed(self.now, BREAKER)
        self.sinks[sink_id] = replace(row, breaker=breaker)
        return max(breaker.wait_s(self.now), BREAKER.first_open_s)

    def works(self, sink_id: str) -> bool:
        """The breaker learns; who was refused with a paused sink may try."""
        row = self.sinks.get(sink_id, SinkRow())
        self.sinks[sink_id] = SinkRow(breaker=row.breaker.succeeded(self.now))
        if row.paused is not None:
            for key, held in self.lanes.items():
                lane = held.lane
                if lane.sink_id == sink_id and lane.reason == "auth" and lane.state in (State.READY, State.UNKNOWN):
                    self.lanes[key] = replace(held, due_at=min(held.due_at, self.now))
        return self.sinks[sink_id].breaker.clean
