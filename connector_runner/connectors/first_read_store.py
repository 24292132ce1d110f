"""SQL of first readings: of which record types of a source all has landed, and all of it has been compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector_runner.infra.database import Tx, execute, rows


def read_whole(tx: Tx, workspace_id: str, data_source_id: str, resource_types: Sequence[str]) -> None:
    """Note that all that a source holds of these record types has landed.

    By the clock of those who wait to be compared; the sweep notes when they have been (``compared_whole_at``).
    """
    execute(
        tx,
        "UPDATE source_resource SET read_whole_at = clock_timestamp() WHERE workspace_id = :ws"
        " AND data_source_id = :source AND read_whole_at IS NULL AND resource_type = ANY(:types)",
        ws=workspace_id,
        source=data_source_id,
        types=list(resource_types),
    )


def unread(tx: Tx, workspace_id: str) -> Mapping[str, frozenset[str]]:
    """By data source the record types that are polled there and of which not all was read and compared yet."""
    found = rows(
        tx,
        "SELECT data_source_id, resource_type FROM source_resource WHERE workspace_id = :ws AND enabled"
        " AND compared_whole_at IS NULL",
        ws=workspace_id,
    )
    by_source: dict[str, set[str]] = {}
    for row in found:
        by_source.setdefault(str(row["data_source_id"]), set()).add(row["resource_type"])
    return {source: frozenset(types) for source, types in by_source.items()}
