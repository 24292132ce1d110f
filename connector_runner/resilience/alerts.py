"""Alerts: what an operator is told of once, when it goes wrong, and once more when it is well again.

An alert is open from the one to the other. While it is, whoever notices the same adds nothing, in whatever process,
so a source that fails all night makes one alert. It is a row, a line in the log, a counter; ``status`` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Row, Tx, after_commit
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import ALERTS
from connector_runner.kernel.ids import new_id
from connector_runner.resilience import alert_store as store

HEALTH: Final = "health"
"""The source is unhealthy."""

log = get_logger(__name__)


def raise_once(
    tx: Tx,
    workspace_id: str,
    data_source_id: str | None,
    kind: str,
    code: str,
    *,
    now: datetime,
    subject: str = "",
    detail: str = "",
) -> bool:
    """Open an alert about a data source, unless one of the same ``kind`` and ``subject`` is open; whether it is new.

    ``data_source_id`` is None for one that is about the workspace.

    ``code`` and ``detail`` are words of ours. The log is told once the caller's transaction is committed.
    """
    new = store.add(
        tx,
        workspace_id,
        data_source_id,
        alert_id=new_id(),
        kind=kind,
        subject=subject,
        code=code,
        detail=detail,
        now=now,
    )
    if new:
        after_commit(tx, lambda: _told("alert.raised", workspace_id, data_source_id, kind, subject, code))
    return new


def end(tx: Tx, workspace_id: str, data_source_id: str | None, kind: str, *, now: datetime, subject: str = "") -> bool:
    """It is well again: end the open alert of this ``kind`` and ``subject``; whether there was one."""
    code = store.end(tx, workspace_id, data_source_id, kind, subject, now)
    if code is not None:
        after_commit(tx, lambda: _told("alert.ended", workspace_id, data_source_id, kind, subject, code))
    return code is not None


def acknowledge(tx: Tx, workspace_id: str, alert_id: str, *, actor: str, now: datetime) -> bool:
    """Say that a person has seen an alert; False when there is none, or somebody has before. The caller audits it."""
    return store.acknowledge(tx, workspace_id, alert_id, actor, now)


def listing(tx: Tx, workspace_id: str, *, ended: bool = False, limit: int = 100) -> Sequence[Row]:
    """The open alerts of a workspace, the latest first; with ``ended`` also those that are over.

    Each has ``alert_id``, ``source`` (its name; empty for the workspace), ``kind``, ``subject``, ``code``, ``detail``,
    ``raised_at``, ``ended_at``, and who acknowledged it when.
    """
    return store.listing(tx, workspace_id, ended=ended, limit=limit)


def _told(what: str, workspace_id: str, data_source_id: str | None, kind: str, subject: str, code: str) -> None:
    raised = what == "alert.raised"
    ALERTS.labels(kind=kind, outcome="raised" if raised else "ended").inc()
    tell = log.error if raised else log.info
    tell(what, workspace_id=workspace_id, data_source_id=data_source_id, kind=kind, subject=subject, code=code)
