"""Chain the reads of protected data that were noted since, in every workspace."""

from __future__ import annotations

from datetime import datetime

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database
from connector_runner.observability import store


def seal(database: Database, *, now: datetime) -> int:
    """Seal them; how many there were."""
    with database.sweep() as tx:
        workspaces = [row["workspace_id"] for row in store.workspaces(tx)]
    sealed = 0
    for workspace_id in workspaces:
        with database.begin(workspace_id) as tx:
            sealed += audit.seal_reads(tx, workspace_id, now=now)
    return sealed
