"""Looking at lanes and the write log, and what an operator does with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector_runner.audit import log as audit
from connector_runner.connectors import directory
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.errors import Misconfigured
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating import quarrel_store
from connector_runner.outbound.lanes.lane import State
from connector_runner.outbound.operating import status_store, undo_store
from connector_runner.outbound.reconciling import reconcile_store
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.sinks import sink_state


def lanes_by_state(tx: Tx, workspace_id: str) -> list[dict[str, Any]]:
    """Per sink: ``name``, ``lanes`` (state -> count), ``synced``, ``pending``, ``failed``, and why it stands still.

    ``drift`` counts lanes whose sink did not hold what it had confirmed, by what was found; ``reconciled_at`` is the
    end of the last walk, ``reconcile_asked`` how many entities it found to be looked at again.
    ``possible_duplicates``: a create whose answer is lost may end in a second record there.
    """
    sinks = status_store.sinks(tx, workspace_id)
    counts = status_store.lane_counts(tx, workspace_id)
    reconciled = reconcile_store.state_of_sinks(tx, workspace_id)
    answer = []
    for sink in sinks:
        states = {str(state): 0 for state in State}
        synced = failed = 0
        for row in counts:
            if row["sink_id"] == sink["data_source_id"]:
                states[row["state"]] += row["lanes"]
                synced += row["synced"]
                failed += row["failed"]
        answer.append(
            {
                "name": sink["name"],
                "sink_id": sink["data_source_id"],
                "enabled": sink["sink_enabled"] and sink["enabled"],
                "paused_reason": sink["sink_paused_reason"],
                "breaker_until": sink["breaker_until"],
                "possible_duplicates": may_duplicate(tx, workspace_id, sink["data_source_id"]),
                "lanes": states,
                "synced": synced,
                "pending": sum(states[s] for s in ("ready", "leased", "waiting", "unknown")),
                # What hangs on an unverified record has failed too, until somebody verifies that one.
                "failed": states["quarantined"] + failed,
                **_reconciled(reconciled.get(sink["data_source_id"])),
            }
        )
    return answer


def may_duplicate(tx: Tx, workspace_id: str, sink_id: str) -> bool:
    """Whether a lost answer may end in a second record there, as far as its settings can be read."""
    try:
        return directory.load(tx, workspace_id, sink_id).settings.sink_capabilities.at_least_once
    except Misconfigured:
        return False


def _reconciled(row: Row | None) -> dict[str, Any]:
    found = row or {"drift": {}, "finished_at": None, "asked": 0}
    return {
        "drift": found["drift"],
        "reconciled_at": found["finished_at"],
        "reconcile_asked": found["asked"],
    }


def lanes(
    tx: Tx, workspace_id: str, *, sink: str | None = None, state: str | None = None, limit: int = 100
) -> list[Row]:
    """Lanes one by one: where each is and why; names and codes, no values."""
    return status_store.lanes(tx, workspace_id, sink=sink, state=state, limit=limit)


def lanes_of_entity(tx: Tx, workspace_id: str, entity_id: str) -> list[Row]:
    """The lanes of one entity, by sink."""
    return status_store.lanes_of_entity(tx, workspace_id, entity_id)


@dataclass(frozen=True, slots=True)
class PutBack:
    """What a retry did: lanes put back, and those on which values that were undone may go again."""

    lanes: int
    let_go: int


def retry(
    outbound: Outbound,
    workspace_id: str,
    *,
    lane_ids: list[str] | None,
    sink: str | None,
    actor: str,
    undone: bool = False,
) -> PutBack:
    """Put quarantined, unknown or paused lanes back: all of ``sink``, or those named. Audited.

    One with an intent open is read back, not sent again. A sink that was paused is tried at once. Values that an
    undo took back go again from lanes that are named; from all of a sink only where ``undone`` says so.
    """

    def work(tx: Tx) -> PutBack:
        moved = status_store.put_back(tx, workspace_id, lane_ids=lane_ids, sink=sink)
        for sink_id in sorted({row["sink_id"] for row in moved}):
            sink_state.resume(tx, workspace_id, sink_id)
        if sink is not None:
            for row in sink_store.enabled_sinks(tx, workspace_id):
                if row["name"] == sink:
                    sink_state.resume(tx, workspace_id, row["data_source_id"])
        freed = undo_store.let_go(tx, workspace_id, lane_ids=lane_ids, sink=sink) if lane_ids or undone else []
        # A quarrel between systems is forgotten with all the rest that a person has looked at.
        settled = quarrel_store.settle(tx, workspace_id, lane_ids=lane_ids, sink=sink)
        ids = [row["lane_id"] for row in [*moved, *settled]]
        audit.append(
            tx,
            workspace_id,
            actor=actor,
            action="outbound.retry",
            object=sink or "lanes",
            detail={"lanes": ids[:100], "count": len(ids), "let_go": len(freed)},
            now=outbound.clock(),
        )
        sink_store.request_release(tx, workspace_id, [row["entity_id"] for row in [*moved, *settled, *freed]])
        return PutBack(len(moved) + len(settled), len(freed))

    return outbound.database.retrying(workspace_id, work)
