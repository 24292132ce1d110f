"""SQL of first readings: of which record types of a source all has landed, and all of it has been compared.

All that a source holds has landed once a window of all records has, and after it another window: of a large source it
takes hours from the first page to the last, and who is registered there meanwhile is in the window that follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector_runner.infra.database import Tx, execute, rows


def landed(tx: Tx, workspace_id: str, data_source_id: str, resource_types: Sequence[str], *, whole: bool) -> set[str]:
    """Note that a window of these record types has landed to its end; of which another one is wanted for that.

    ``whole``: it had all records, or all that is ever asked for. Once another follows on such a one all has landed, by
    the clock of those who wait to be compared; the sweep notes when they have been (``compared_whole_at``).
    """
    found = rows(
        tx,
        "UPDATE source_resource SET listed_whole_at = coalesce(listed_whole_at, clock_timestamp()),"
        " read_whole_at = CASE WHEN listed_whole_at IS NOT NULL THEN clock_timestamp() END WHERE workspace_id = :ws"
        " AND data_source_id = :source AND resource_type = ANY(:types) AND read_whole_at IS NULL"
        " AND (:whole OR listed_whole_at IS NOT NULL) RETURNING resource_type, read_whole_at IS NULL AS again",
        ws=workspace_id,
        source=data_source_id,
        types=list(resource_types),
        whole=whole,
    )
    return {row["resource_type"] for row in found if row["again"]}


def begin_anew(tx: Tx, workspace_id: str, data_source_id: str, resource_type: str | None = None) -> None:
    """Have all of a record type read anew that was off: nobody told us what is new there. Polls under way are void.

    Without ``resource_type`` every type of a source that was off as a whole, or is another now.
    """
    execute(
        tx,
        "UPDATE source_resource SET listed_whole_at = NULL, read_whole_at = NULL, compared_whole_at = NULL,"
        " cursor = cursor - 'window' - 'sync', full_sync_due_at = NULL, polls_since_full = :many, fence = fence + 1,"
        " lease_until = NULL, lease_owner = NULL WHERE workspace_id = :ws AND data_source_id = :source"
        " AND (CAST(:type AS text) IS NULL OR resource_type = :type AND NOT enabled)",
        ws=workspace_id,
        source=data_source_id,
        type=resource_type,
        many=_MANY,
    )


_MANY = 1_000_000
"""More polls than any settings let pass before all is read again."""


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
