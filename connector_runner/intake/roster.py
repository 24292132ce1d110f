"""The patients that a source is known to have, for systems that are read patient by patient."""

from __future__ import annotations

from connector_runner.infra.database import Database
from connector_runner.intake import roster_store


class KnownPatients:
    """A roster from the world model; each look is a transaction of its own."""

    def __init__(self, database: Database, workspace_id: str, source_name: str) -> None:
        self._database = database
        self._workspace_id = workspace_id
        self._source_name = source_name

    def patients(self, after: str | None, limit: int) -> list[str]:
        """Their ids in the source, from behind ``after``. Raises Unavailable when Postgres cannot be asked."""
        with self._database.begin(self._workspace_id) as tx:
            return roster_store.patients(tx, self._workspace_id, self._source_name, after, limit)
