"""What follows for sinks when entities were compared with one another, in the transaction that did it."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.database import Tx
from connector_runner.outbound.planning import member_store
from connector_runner.outbound.releasing import release_store


def subscriber(tx: Tx, workspace_id: str, compared: Sequence[str], regrouped: Sequence[str]) -> None:
    """Resolution's EntitiesResolved: who waited to be made is looked at, and who is one with others than before.

    Lanes are held first: a create whose intent is being opened now is there before the cluster changes, or is planned
    anew after it.
    """
    covered = sorted(release_store.covered_types(tx, workspace_id))
    if not covered:
        return
    if regrouped:
        member_store.hold_lanes(tx, workspace_id, regrouped)
        member_store.release_regrouped(tx, workspace_id, regrouped, covered)
    if compared:
        member_store.release_compared(tx, workspace_id, compared)
