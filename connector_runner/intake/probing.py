"""Probe a data source: ask what its server can do, keep that, and tell of what is no longer as it was.

Once a day for each source, and whenever a person tests one. Nothing is written to the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.probing import capability_store
from connector_runner.connectors.probing.findings import STRATEGY, Drift, Finding, Known, Probed
from connector_runner.infra.database import Database
from connector_runner.infra.logging import get_logger
from connector_runner.intake import noting
from connector_runner.intake.opening import Deps, open_source
from connector_runner.intake.read_gate import LONGEST_PATIENCE_S, Patience, Turn
from connector_runner.kernel.errors import RunnerError

EVERY_S: Final = 86400.0
_AGAIN_S: Final = 3600.0
_LEASE_S: Final = 900.0
_LIMIT: Final = 100

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DueSource:
    """A source whose turn it is."""

    workspace_id: str
    data_source_id: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What one probe found, and what of it is not as it was."""

    findings: tuple[Finding, ...] = ()
    drifts: tuple[Drift, ...] = ()
    code: str | None = None

    def __bool__(self) -> bool:
        """Whether there was something to find."""
        return bool(self.findings)


def probe(
    deps: Deps,
    source: DataSource,
    *,
    now: datetime,
    only: Sequence[str] | None = None,
    turn: Turn = Turn.INTERACTIVE,
) -> Probe:
    """Ask the server of a source what it can do, for the record types polled (or ``only`` those), and keep it.

    A source that cannot be probed has no findings. Raises what a read raises; nothing is kept then.
    """
    reader = open_source(deps, source, turn=turn, patience=Patience(LONGEST_PATIENCE_S))
    if not isinstance(reader, Probed):
        return Probe()
    polled = [name for name, resource in source.settings.resources.items() if resource.enabled]
    findings = reader.probe(polled or ["Patient"] if only is None else only)
    with deps.database.begin(source.workspace_id) as tx:
        drifts = noting.keep(tx, source, findings, now=now)
        capability_store.put_off(tx, source.workspace_id, source.data_source_id, EVERY_S)
    return Probe(tuple(findings), tuple(drifts))


def find(database: Database) -> list[DueSource]:
    """Every source whose turn it is; one that is new gets a turn."""
    with database.sweep() as tx:
        unknown = capability_store.know_sources(tx)
    for row in unknown:
        with database.begin(row["workspace_id"]) as tx:
            capability_store.add_turn(tx, row["workspace_id"], row["data_source_id"])
    with database.sweep() as tx:
        return [
            DueSource(str(row["workspace_id"]), str(row["data_source_id"])) for row in capability_store.due(tx, _LIMIT)
        ]


def probe_due(deps: Deps, workspace_id: str, data_source_id: str, *, owner: str, now: datetime) -> Probe | None:
    """Probe a source if it is its turn; None when it is not, or somebody else does it.

    A source that cannot be asked is tried again within an hour; its polls tell its owner of it.
    """
    with deps.database.begin(workspace_id) as tx:
        claimed = capability_store.claim(tx, workspace_id, data_source_id, owner, _LEASE_S)
        source = directory.load(tx, workspace_id, data_source_id) if claimed is not None else None
    if claimed is None or source is None:
        return None
    try:
        found = probe(deps, source, now=now, turn=Turn.RECONCILE)
    except RunnerError as error:
        if error.code == "database_unavailable":
            raise
        log.warning("probe.failed", data_source_id=data_source_id, code=error.code)
        found = Probe(code=error.code)
    with deps.database.begin(workspace_id) as tx:
        wait_s = EVERY_S if found.code in (None, "not_polled") else _AGAIN_S
        capability_store.settle(tx, workspace_id, data_source_id, claimed, wait_s=wait_s, error_code=found.code)
    return found


def matrix(database: Database, source: DataSource) -> list[Known]:
    """All that is known of what the server of a source can do."""
    with database.begin(source.workspace_id) as tx:
        return capability_store.matrix(tx, source.workspace_id, source.data_source_id)


def strategies(findings: Sequence[Finding]) -> dict[str, str]:
    """By record type, what it is read by."""
    return {one.resource_type: one.measured for one in findings if one.capability == STRATEGY and one.measured}


def as_document(finding: Finding) -> dict[str, Any]:
    """A finding as it is shown."""
    document: dict[str, Any] = {
        "resource_type": finding.resource_type,
        "capability": finding.capability,
        "declared": finding.declared,
        "measured": finding.measured,
        "evidence": list(finding.evidence),
    }
    if isinstance(finding, Known):
        document |= {"at": finding.at, "previous": finding.previous, "changed_at": finding.changed_at}
    return document
