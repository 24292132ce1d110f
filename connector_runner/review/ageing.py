"""What time does to questions: claims lapse, items expire and may be reopened, appointments come nearer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, Tx
from connector_runner.review import ageing_store, item_store, nearness_store, policy_store, queue
from connector_runner.review.categories import priority_of
from connector_runner.review.items import EXPIRED, STALE, SUPERSEDED, Item, Refused, ask
from connector_runner.world import reading

EXPIRE_AT_ONCE: Final = 500
_STEP: Final = 200
_OURS: Final = "connector_runner"


def expire(tx: Tx, workspace_id: str, *, now: datetime) -> int:
    """Let go what nobody answered or touched for as long as the policy says; audited, and shown as expired."""
    hours = policy_store.load(tx, workspace_id).expires_after_h
    found = ageing_store.stale(tx, workspace_id, now - timedelta(hours=hours), EXPIRE_AT_ONCE)
    if not found:
        return 0
    ids = [row["id"] for row in found]
    item_store.end(tx, workspace_id, ids, STALE, now)
    for item_id in ids:
        audit.append(
            tx, workspace_id, actor=_OURS, action="review.expired", object=item_id,
            detail={"because": STALE, "after_h": hours}, now=now,
        )  # fmt: skip
    return len(ids)


def lapse(tx: Tx, workspace_id: str, *, now: datetime) -> int:
    """Give back to everybody what somebody claimed, and did not answer for as long as the policy says; audited."""
    hours = policy_store.load(tx, workspace_id).claim_lapses_after_h
    found = ageing_store.lapse(tx, workspace_id, now - timedelta(hours=hours))
    for row in found:
        audit.append(
            tx, workspace_id, actor=_OURS, action="review.lapsed", object=row["id"],
            detail={"claimed_by": row["assigned_to"], "after_h": hours}, now=now,
        )  # fmt: skip
    return len(found)


def reopen(
    tx: Tx, handlers: queue.Handlers, workspace_id: str, item_id: str, *, actor: str, now: datetime
) -> Item | Refused:
    """Ask an expired question again, of what may still be decided; the item as it is then.

    Where another item of the same entity, or pair, is open by now it takes the questions, and is what is returned; so
    does one about who adopted the record that it was about.
    Refused for one that is not expired, or about nothing that is open any more. Raises BadRecord (``unknown_item``).
    """
    item = queue.show(tx, workspace_id, item_id)
    handler = handlers.get(item.kind)
    if handler is None:
        return Refused("no_handler", "nothing answers this kind of item", where=item_id)
    handler.lock(tx, workspace_id, item)
    item = queue.show(tx, workspace_id, item_id, lock=True)
    if item.status != EXPIRED:
        return Refused("not_expired", f"the item is {item.status}", where=item_id)
    about = item.entity_id if item.other_id else reading.entity_id(tx, workspace_id, item.entity_id)
    elsewhere = about != item.entity_id or item_store.open_of(tx, workspace_id, item.kind, about, item.other_id)
    if not elsewhere:
        ageing_store.reopen(tx, workspace_id, item_id, now)
    now_open = _joined(tx, workspace_id, item, about, now) if elsewhere else item_id
    changed = handler.changed(tx, workspace_id, queue.show(tx, workspace_id, now_open), now=now)
    found = queue.show(tx, workspace_id, now_open)
    if not found.is_open:
        message = "what the item asks about is not said any more, or was answered"
        return Refused(SUPERSEDED, message, tuple(changed), item_id)
    audit.append(
        tx, workspace_id, actor=actor, action="review.reopened", object=item_id, detail={"item": now_open}, now=now
    )
    return found


def _joined(tx: Tx, workspace_id: str, item: Item, about: str, now: datetime) -> str:
    """The item of an entity, open or new, which asks what an expired one did as well."""
    return ask(
        tx,
        workspace_id,
        kind=item.kind,
        entity_id=about,
        other_id=item.other_id,
        entity_type=item.entity_type,
        event_ids=item.event_ids,
        asked=item.asked,
        reason=item.reason,
        category=item.category,
        priority=item.priority,
        analysis=item.analysis,
        session_id=item.session_id,
        now=now,
    )


def come_nearer(database: Database, workspace_id: str, *, now: datetime) -> int:
    """Give open items the priority that the next appointment of those whom they are about makes; how many changed."""
    after: str | None = None
    changed = 0
    while True:
        moved, after = database.retrying(workspace_id, lambda tx, after=after: _nearer(tx, workspace_id, after, now))  # type: ignore[misc]
        changed += moved
        if after is None:
            return changed


def _nearer(tx: Tx, workspace_id: str, after: str | None, now: datetime) -> tuple[int, str | None]:
    """One step of it: how many changed, and the last item that was looked at, None when it was the last of all."""
    found = ageing_store.waiting(tx, workspace_id, after, _STEP)
    entities = sorted({row["entity_id"] for row in found})
    near = nearness_store.next_appointments(tx, workspace_id, entities, now)
    wanted = {row["id"]: priority_of(row["category"], near.get(row["entity_id"]), now) for row in found}
    moved = {row["id"]: wanted[row["id"]] for row in found if wanted[row["id"]] != row["priority"]}
    changed = ageing_store.save_priorities(tx, workspace_id, moved, found) if moved else 0
    return changed, found[-1]["id"] if len(found) == _STEP else None
