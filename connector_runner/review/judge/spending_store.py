"""What asking a model has cost each workspace, by the hour; shared by all processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Database, execute


@dataclass(frozen=True, slots=True)
class SqlSpending:
    """A bound on tokens for each workspace and hour on the clock."""

    database: Database
    tokens_per_hour: int

    def book(self, workspace_id: str, tokens: int, now: datetime) -> bool:
        """Take ``tokens`` from what the hour has left; False, and nothing is taken, where that is less."""
        if tokens > self.tokens_per_hour:
            return False
        with self.database.begin(workspace_id) as tx:
            return (
                execute(
                    tx,
                    "INSERT INTO model_spending AS s (workspace_id, hour, requests, tokens)"
                    " VALUES (:ws, date_trunc('hour', CAST(:now AS timestamptz)), 1, :tokens)"
                    " ON CONFLICT (workspace_id, hour) DO UPDATE SET requests = s.requests + 1,"
                    " tokens = s.tokens + excluded.tokens WHERE s.tokens + excluded.tokens <= :most",
                    ws=workspace_id,
                    now=now,
                    tokens=tokens,
                    most=self.tokens_per_hour,
                )
                == 1
            )
