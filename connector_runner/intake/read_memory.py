"""What the limiter of reads must not forget with Redis, in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector_runner.connectors import read_state_store as store
from connector_runner.infra.database import Database
from connector_runner.resilience.pace_memory import Period, Recalled

_SUFFIX: Final = ".read"


def read_key(data_source_id: str) -> str:
    """The name under which the limiter knows the reads of a source, beside its writes."""
    return data_source_id + _SUFFIX


@dataclass(frozen=True, slots=True)
class ReadMemory:
    """Safe to share between threads. Methods raise Unavailable when Postgres cannot be used."""

    database: Database

    def recall(self, workspace_id: str, sink: str) -> Recalled:
        """What was kept of a source."""
        with self.database.begin(workspace_id) as tx:
            row = store.learned(tx, workspace_id, _source(sink))
        return Recalled() if row is None else Recalled(**row)

    def keep(self, workspace_id: str, sink: str, *, pause_s: float, rate: float | None) -> None:
        """Keep a pause and a learned rate."""
        with self.database.begin(workspace_id) as tx:
            store.keep_learned(tx, workspace_id, _source(sink), pause_s, rate)

    def book(
        self, workspace_id: str, sink: str, period: Period, known: int | None, *, block: int, quota: int
    ) -> tuple[int, int]:
        """Book a block. Where the count was lost with Redis, all that was booked counts as used."""
        with self.database.begin(workspace_id) as tx:
            booked = store.lock_booked(tx, workspace_id, _source(sink), period.name, period.ends)
            if known is not None and known < booked <= known + block:
                return known, booked
            after = max(booked, min(booked + block, quota))
            store.set_booked(tx, workspace_id, _source(sink), period.name, after)
        return booked, after

    def rest(self, workspace_id: str, sink: str, wait_s: float) -> None:
        """Nothing is kept: each poll writes down itself when it is due again."""


def _source(key: str) -> str:
    return key.removesuffix(_SUFFIX)
