"""What an export could not bring, once more: another export of the same, and deletes that can be read by now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors.fhir.bulk.manifest import deletions_on
from connector_runner.infra.database import Tx
from connector_runner.intake.bulk import requesting, store
from connector_runner.intake.bulk.fetching import STAGE
from connector_runner.kernel.errors import BadRecord

__all__ = ["ISSUE", "STAGE", "ask_again", "deletes"]

ISSUE: Final = "export_issue"
"""The code of what the server says that it could not export; all others are of lines that we could not read."""


def ask_again(tx: Tx, workspace_id: str, data_source_id: str, context: Mapping[str, Any], *, now: datetime) -> str:
    """Ask for an export of the same records since the same time; the id of the one that is to bring them.

    One that is known no more is asked for in full, as the settings say. Raises Conflict (``export_running``) while
    another export of the source is under way, Misconfigured where the source has none.
    """
    source = requesting.load(tx, workspace_id, data_source_id)
    job = store.job(tx, str(context.get("export_id")))
    if job is None:
        return requesting.ask(tx, source, full=True, now=now)[0]
    group = job.group_id if job.scope == "group" else None
    scope = None if group is not None else job.scope
    return requesting.ask(
        tx, source, scope=scope, group=group, types=job.types, since=job.since, full=job.since is None, now=now
    )[0]


def deletes(body: bytes | None) -> dict[str, list[str]]:
    """The records that a line of deletes names, by type. Raises BadRecord where it still cannot be read."""
    if not body:
        raise BadRecord("nothing of it was kept: ask for the export again", code="no_body")
    found: dict[str, list[str]] = {}
    for one in deletions_on(body):
        found.setdefault(one.resource_type, []).append(one.record_id)
    return found
