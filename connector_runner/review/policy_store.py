"""SQL of what is reviewed by whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector_runner.audit import log as audit
from connector_runner.infra.database import Row, Tx, execute, one, rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import new_id
from connector_runner.review import pending_store
from connector_runner.review.policy import ReviewPolicy, parsed
from connector_runner.world.confidence import REVIEWED


def load(tx: Tx, workspace_id: str) -> ReviewPolicy:
    """The policy of a workspace; as the product ships where nobody set one."""
    row = one(tx, "SELECT body FROM review_policy WHERE workspace_id = :ws", ws=workspace_id)
    return ReviewPolicy() if row is None else ReviewPolicy.model_validate(row["body"])


def save(tx: Tx, workspace_id: str, document: Any, *, actor: str, now: datetime) -> ReviewPolicy:
    """Set the policy of a workspace, audited. Raises BadRecord for what is none.

    What nobody looked at by the policy before is looked at now, where somebody shall.
    """
    policy = parsed(document)
    before = load(tx, workspace_id)
    execute(
        tx,
        "INSERT INTO review_policy (workspace_id, body, changed_by, changed_at) VALUES (:ws, CAST(:body AS jsonb),"
        " :actor, :now) ON CONFLICT (workspace_id) DO UPDATE SET body = excluded.body,"
        " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
        ws=workspace_id,
        body=exact_json.dumps(policy.model_dump(mode="json")),
        actor=actor,
        now=now,
    )
    was, is_now = before.model_dump(mode="json"), policy.model_dump(mode="json")
    changed = {key: {"before": was[key], "after": is_now[key]} for key in is_now if was[key] != is_now[key]}
    audit.append(
        tx, workspace_id, actor=actor, action="review.policy_changed", object=workspace_id, detail=changed, now=now
    )
    if (policy.sources, policy.skip_types) != (before.sources, before.skip_types):
        pending_store.request_all(tx, workspace_id, but=policy.skip_types)
    return policy


def signed_off_types(tx: Tx, workspace_id: str) -> frozenset[str]:
    """Entity types that some sink takes only from a person, or only believed more than a judge makes it."""
    found = rows(
        tx,
        "SELECT DISTINCT t.key FROM data_source d, jsonb_each(d.settings->'sink'->'entity_types') t"
        " WHERE d.workspace_id = :ws AND d.sink_enabled AND d.enabled"
        " AND jsonb_typeof(d.settings->'sink'->'entity_types') = 'object'"
        " AND (coalesce((t.value->>'human_review')::boolean, false)"
        "  OR coalesce(d.settings->'sink'->'human_review', '[]') ? t.key"
        "  OR coalesce((t.value->>'threshold')::float, (d.settings->'sink'->>'threshold')::float, 0) > :passed)",
        ws=workspace_id,
        passed=REVIEWED,
    )
    return frozenset(row["key"] for row in found)


def suspended(tx: Tx, workspace_id: str) -> dict[str, Row]:
    """Categories that went back to people, with the word that counts."""
    return {category: row for category, row in switches(tx, workspace_id).items() if row["suspended"]}


def switches(tx: Tx, workspace_id: str) -> dict[str, Row]:
    """Category -> the latest word about whether the judge may pass it, of those about which there is one."""
    found = rows(
        tx,
        "SELECT DISTINCT ON (category) * FROM review_switch WHERE workspace_id = :ws"
        " ORDER BY category, at DESC, id DESC",
        ws=workspace_id,
    )
    return {row["category"]: row for row in found}


def switch(
    tx: Tx,
    workspace_id: str,
    category: str,
    *,
    suspended: bool,
    actor: str,
    reason: str,
    found: tuple[str, int, float, float] | None = None,
    now: datetime,
) -> None:
    """Take a category from the judge, or give it back. ``found``: version, labels, precision and its bound."""
    version, labels, precision, bound = found or (None, None, None, None)
    execute(
        tx,
        "INSERT INTO review_switch (workspace_id, id, category, suspended, actor, reason, version, labels,"
        " precision_found, bound, at) VALUES (:ws, :id, :category, :suspended, :actor, :reason, :version, :labels,"
        " :precision, :bound, :now)",
        ws=workspace_id,
        id=new_id(),
        category=category,
        suspended=suspended,
        actor=actor,
        reason=reason,
        version=version,
        labels=labels,
        precision=precision,
        bound=bound,
        now=now,
    )
