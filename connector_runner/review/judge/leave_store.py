"""What asking a model has cost each workspace, by the hour, and what was disclosed with it; shared by all processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, execute

_JUDGE: Final = "connector_runner"


@dataclass(frozen=True, slots=True)
class SqlLeave:
    """A bound on tokens for each workspace and hour on the clock. Whatever leaves is noted in the audit log first."""

    database: Database
    tokens_per_hour: int

    def take(self, workspace_id: str, tokens: int, now: datetime, *, session: str, about: Mapping[str, Any]) -> bool:
        """Take ``tokens`` from what the hour has left, and note that something of a session is disclosed.

        ``about`` says to whom, of whom and what, in ids, names and counts. False, and nothing is taken or noted, where
        less is left.
        """
        if tokens > self.tokens_per_hour:
            return False
        with self.database.begin(workspace_id) as tx:
            taken = execute(
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
            if taken:
                audit.record_read(
                    tx,
                    workspace_id,
                    actor=_JUDGE,
                    action="material.disclosed",
                    object=session,
                    detail=about,
                    now=now,
                )
            return bool(taken)
