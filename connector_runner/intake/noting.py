"""What polling notices of a server by the way: warnings, and parameters that it ignores. Kept beside what probes find.

Drift is told once: an alert for each capability that is not what it was, ended when the next probe finds the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from connector_runner.connectors.base import Page, SourceKey
from connector_runner.connectors.probing import capability_store
from connector_runner.connectors.probing.findings import IGNORED, PRESENT, Drift, Finding
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.metrics import counter
from connector_runner.resilience import alerts

DRIFT: Final = "drift"
"""A server can no longer do what it was measured to do, or can do more."""

WARNINGS = counter("source_warnings", "Warnings that sources sent along with their records", ("code",))
_CAPABILITIES: Final = {"_lastUpdated": "last_updated", "_sort": "sort"}


def seen(resource_type: str, page: Page) -> list[Finding]:
    """What a page shows of its server."""
    for code in page.warnings:
        WARNINGS.labels(code=code).inc()
    found = [Finding(resource_type, f"warning_{code}", None, PRESENT, ("seen_polling",)) for code in page.warnings]
    return found + [
        Finding(resource_type, _CAPABILITIES.get(name, name), None, IGNORED, ("seen_polling",)) for name in page.ignored
    ]


class Noticing:
    """What the pages of one poll show, each thing kept once."""

    def __init__(self, database: Database, source: SourceKey, resource_type: str) -> None:
        self._database, self._source, self._type = database, source, resource_type
        self._told: set[str] = set()

    def look_at(self, page: Page, now: datetime) -> None:
        """Keep what a page shows that none before it did. Raises Unavailable when Postgres cannot be asked."""
        fresh = [one for one in seen(self._type, page) if one.capability not in self._told]
        if not fresh:
            return
        with self._database.begin(self._source.workspace_id) as tx:
            keep(tx, self._source, fresh, now=now)
        self._told |= {one.capability for one in fresh}


def keep(tx: Tx, source: SourceKey, findings: Sequence[Finding], *, now: datetime) -> list[Drift]:
    """Keep findings, and tell of drift; what drifted."""
    drifts = capability_store.save(tx, source.workspace_id, source.data_source_id, findings, now=now)
    for subject in sorted({_subject(one.resource_type, one.capability) for one in findings}):
        # A change after a change is told anew; one that has come to stay needs nobody any more.
        alerts.end(tx, source.workspace_id, source.data_source_id, DRIFT, now=now, subject=subject)
    tell(tx, source, drifts, now=now)
    return drifts


def tell(tx: Tx, source: SourceKey, drifts: Iterable[Drift], *, now: datetime) -> None:
    """An alert for each capability that is not what it was."""
    for one in drifts:
        alerts.raise_once(
            tx,
            source.workspace_id,
            source.data_source_id,
            DRIFT,
            "capability_drift",
            now=now,
            subject=_subject(one.resource_type, one.capability),
            detail=f"was {one.before}, is {one.now}",
        )


def _subject(resource_type: str, capability: str) -> str:
    return f"{resource_type}.{capability}" if resource_type else capability
