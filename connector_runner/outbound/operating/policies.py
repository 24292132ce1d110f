"""Let a workspace's policy hold: from then on at every gate, and for what waits at sinks already."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, Tx
from connector_runner.outbound.gating import consent_store, mark_store, marking
from connector_runner.outbound.lanes.lane import INTERACTIVE
from connector_runner.outbound.releasing import release_store
from connector_runner.policy import policies, store
from connector_runner.policy.settings import PolicySettings
from connector_runner.review import pending_store, policy_store

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Applied:
    """``version`` is the one that holds now. ``marked``: patients' records that bear something else than before."""

    version: int
    changed: bool
    marked: int = 0


def apply(database: Database, workspace_id: str, policy: PolicySettings, *, actor: str, now: datetime) -> Applied:
    """Let ``policy`` hold, look at every patient for the numbers of test callers, and ask for a look at every lane.

    What needed no review before is reviewed, where it needs it now.

    A write that was planned before is compared with it again before it is sent.
    """
    document = policy.model_dump(mode="json", exclude_defaults=True)

    def put(tx: Tx) -> tuple[int, bool, bool]:
        before = policies.current(tx, workspace_id)
        version = store.put(tx, workspace_id, document, actor=actor, now=now)
        if version is None:
            return store.version(tx, workspace_id), False, False
        # Which parts are others now, and not what is in them: numbers are whom they belong to.
        parts = [name for name in PolicySettings.model_fields if getattr(before, name) != getattr(policy, name)]
        detail = {"version": version, "parts": sorted(parts)}
        audit.append(
            tx, workspace_id, actor=actor, action="policy.applied", object=workspace_id, detail=detail, now=now
        )
        covered = release_store.covered_types(tx, workspace_id)
        release_store.request_release_of_types(tx, workspace_id, sorted(covered))
        if "without_review" in parts:
            pending_store.request_all(tx, workspace_id, but=policy_store.load(tx, workspace_id).skip_types)
        return version, True, before.tested != policy.tested

    version, changed, numbers = database.retrying(workspace_id, put)
    return Applied(version, changed, _mark_all(database, workspace_id) if numbers else 0)


def _mark_all(database: Database, workspace_id: str) -> int:
    """Note of every patient whether they are a test caller; how many are that were not, or no more."""
    marked, after = 0, None
    while True:

        def page(tx: Tx, after: str | None = after) -> tuple[list[str], int]:
            patients = mark_store.page(tx, workspace_id, after, _PAGE)
            changed = marking.follow(tx, workspace_id, patients) if patients else []
            covered = release_store.covered_types(tx, workspace_id) if changed else set()
            if covered:
                consent_store.request_release_of_people(tx, workspace_id, changed, sorted(covered), INTERACTIVE)
            return patients, len(changed)

        patients, changed = database.retrying(workspace_id, page)
        marked += changed
        if len(patients) < _PAGE:
            return marked
        after = patients[-1]
