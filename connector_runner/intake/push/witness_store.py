"""SQL that finds a record which a source is known to hold, to ask for beside one that it says it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector_runner.infra.database import Tx, rows
from connector_runner.intake import sync_store
from connector_runner.intake.sync_store import Scope

_LOOKED_AT: Final = 5000


def live(tx: Tx, scope: Scope, besides: Sequence[str]) -> str | None:
    """The id of a record of the type, heard of lately and alive, none of ``besides``; None: there is none."""
    found = rows(
        tx,
        "SELECT DISTINCT record_id, fhir_resource_id FROM (SELECT e.record_id, e.fhir_resource_id, e.data_source_id,"
        "  e.fhir_resource_type FROM event e WHERE e.workspace_id = :ws ORDER BY e.id DESC LIMIT :looked) lately"
        " WHERE data_source_id = :source AND fhir_resource_type = :type AND record_id IS NOT NULL"
        " AND fhir_resource_id IS NOT NULL AND NOT fhir_resource_id = ANY(:besides) LIMIT 20",
        looked=_LOOKED_AT,
        besides=[*besides],
        **scope.bound,
    )
    alive = sync_store.alive_among(tx, scope, [str(row["record_id"]) for row in found]) if found else set()
    return next((row["fhir_resource_id"] for row in found if str(row["record_id"]) in alive), None)
