"""The limiter's memory in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector_runner.infra.database import Database
from connector_runner.outbound.sinks import pace_store
from connector_runner.resilience.pace_memory import Period, Recalled

_MOST_REST_S: Final = 60.0
"""A sink is looked at once a minute at least: what it waits for may be gone."""


@dataclass(frozen=True, slots=True)
class SqlMemory:
    """Safe to share between threads. A limit that says no workspace is not remembered, and has no quota to give."""

    database: Database

    def recall(self, workspace_id: str, sink: str) -> Recalled:
        """What was kept; raises Unavailable."""
        if not workspace_id:
            return Recalled()
        with self.database.begin(workspace_id) as tx:
            row = pace_store.learned(tx, workspace_id, sink)
        return Recalled() if row is None else Recalled(**row)

    def keep(self, workspace_id: str, sink: str, *, pause_s: float, rate: float | None) -> None:
        """Keep a pause and a learned rate."""
        if workspace_id:
            with self.database.begin(workspace_id) as tx:
                pace_store.keep_learned(tx, workspace_id, sink, pause_s, rate)

    def book(
        self, workspace_id: str, sink: str, period: Period, known: int | None, *, block: int, quota: int
    ) -> tuple[int, int]:
        """Book a block. The first of a period counts what the write log has of it."""
        if not workspace_id:
            return quota, quota
        with self.database.begin(workspace_id) as tx:
            pace_store.forget_periods(tx, workspace_id, sink)
            pace_store.begin_period(tx, workspace_id, sink, period.name, period.starts, period.ends)
            booked = pace_store.lock_booked(tx, workspace_id, sink, period.name)
            if known is not None and known < booked <= known + block:
                return known, booked
            after = max(booked, min(booked + block, quota))
            pace_store.set_booked(tx, workspace_id, sink, period.name, after)
        return booked, after

    def rest(self, workspace_id: str, sink: str, wait_s: float) -> None:
        """Keep the sweep from hinting a sink that gets no grant."""
        if workspace_id:
            with self.database.begin(workspace_id) as tx:
                pace_store.rest(tx, workspace_id, sink, min(wait_s, _MOST_REST_S))
