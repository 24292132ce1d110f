"""Ask for a poll of what pushes did not tell; where nothing is polled, tell an operator that events are lost."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from connector_runner.connectors import store as sources
from connector_runner.infra.database import Tx
from connector_runner.intake.push.subscription_store import Scope
from connector_runner.resilience import alerts

GAP: Final = "push_gap"
"""Events were missed of a record type that is not polled."""
_DETAIL: Final = "pushes of this record type were missed and it is not polled: add it to resources"


def poll(
    tx: Tx, scope: Scope, resource_type: str | None, now: datetime, *, full: bool = False, missed: bool = True
) -> None:
    """Make a record type due now, or with None all of the source. ``missed``: something happened that was not told."""
    ids = (scope.workspace_id, scope.data_source_id)
    due = sources.make_due(tx, *ids, now, resource_type=resource_type, full=full)
    subject = resource_type or ""
    if due:
        alerts.end(tx, *ids, GAP, now=now, subject=subject)
    elif missed:
        alerts.raise_once(tx, *ids, GAP, GAP, now=now, subject=subject, detail=_DETAIL)
