"""Categories that go back to people by themselves, and come back to the judge only by a person."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.resilience import alerts
from connector_runner.review import label_store, policy_store
from connector_runner.review.calibration import too_wrong
from connector_runner.review.categories import CATEGORIES

OURS: Final = "connector_runner"
ALERT: Final = "review"
SUSPENDED: Final = "review_category_suspended"


def check(tx: Tx, workspace_id: str, judged: Iterable[tuple[str, str]], *, now: datetime) -> list[str]:
    """Suspend those (category, version) in which the judge proves too often wrong, told once; which were.

    What was answered before a person gave a category back does not count against it any more.
    """
    policy = policy_store.load(tx, workspace_id)
    switches = policy_store.switches(tx, workspace_id)
    gone = []
    for category, version in sorted(set(judged)):
        last = switches.get(category)
        if last is not None and last["suspended"]:
            continue
        known = label_store.labels(
            tx, workspace_id, category=category, version=version, since=last["at"] if last else None
        )
        bound = policy.bound(category)
        wrong = too_wrong(known, bound=bound, least=policy.least_labels)
        if wrong is None:
            continue
        found = (version, wrong[0], wrong[1], bound)
        policy_store.switch(
            tx, workspace_id, category, suspended=True, actor=OURS, reason="precision", found=found, now=now
        )
        detail: dict[str, Any] = {"version": version, "labels": wrong[0], "precision": round(wrong[1], 4)}
        detail["bound"] = bound
        audit.append(
            tx, workspace_id, actor=OURS, action="review.category_suspended", object=category, detail=detail, now=now
        )
        told = f"{wrong[1]:.3f} of {wrong[0]} answers bear the judge out, {bound:.3f} must"
        alerts.raise_once(tx, workspace_id, None, ALERT, SUSPENDED, now=now, subject=category, detail=told)
        gone.append(category)
    return gone


def restore(tx: Tx, workspace_id: str, category: str, *, actor: str, reason: str, now: datetime) -> None:
    """Give a category back to the judge, audited. Raises BadRecord for one that it has, or that there is not."""
    if category not in CATEGORIES:
        raise BadRecord(f"categories are {', '.join(CATEGORIES)}", code="unknown_category", where="category")
    if not reason.strip():
        raise BadRecord("say why", code="reason_missing", where="reason")
    if category not in policy_store.suspended(tx, workspace_id):
        raise BadRecord("the judge has this category", code="not_suspended", where=category)
    policy_store.switch(tx, workspace_id, category, suspended=False, actor=actor, reason=reason, now=now)
    audit.append(tx, workspace_id, actor=actor, action="review.category_restored", object=category, now=now)
    alerts.end(tx, workspace_id, None, ALERT, now=now, subject=category)
