"""Try a source's settings: one page of one record type, of which nothing is kept."""

from __future__ import annotations

from typing import Any, Protocol

from connector_runner.connectors import directory, registry
from connector_runner.infra import secrets
from connector_runner.infra.database import Database
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer


class Deps(Protocol):
    """What a probe works with."""

    @property
    def database(self) -> Database: ...
    @property
    def http(self) -> HTTP: ...
    @property
    def sealer(self) -> Sealer: ...


def probe(deps: Deps, workspace_id: str, name: str) -> dict[str, Any]:
    """Read one page; the record type that was asked for and how many records came.

    Raises what reading raises, Misconfigured (``not_polled``) where there is nothing to read.
    """
    with deps.database.begin(workspace_id) as tx:
        source = directory.load(tx, workspace_id, name)

    def reveal(reference: str) -> str:
        with deps.database.begin(workspace_id) as tx:
            return secrets.resolve(reference, tx, workspace_id, deps.sealer)

    opened = registry.open_source(source, deps.http, reveal)
    resource_type = next(iter(source.settings.resources), "Patient")
    page = next(iter(opened.pages(resource_type, {}, full=True)))
    return {
        "name": source.name,
        "resource_type": resource_type,
        "records": len(page.records),
        "unusable": len(page.bad),
    }
