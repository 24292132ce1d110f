"""The human queue: who works on which question, and the answers, each taken once.

A question is answered by whoever claimed it, or, unclaimed, by anybody. What joined it since it was claimed must be
seen first, and what was superseded meanwhile is not decided any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, Row, Tx
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import BadRecord, RunnerError
from connector_runner.kernel.ids import is_uuid
from connector_runner.review import item_store, listing_store, policy_store
from connector_runner.review.items import (
    EXPIRED,
    OPEN,
    STALE,
    SUPERSEDED,
    Answer,
    Asked,
    Done,
    Handler,
    Item,
    Refused,
    ask,
)
from connector_runner.review.verdicts import LONGEST_NOTES

MOST_AT_ONCE: Final = 100
CHANGED: Final = "changed"

Handlers = Mapping[str, Handler]


def show(tx: Tx, workspace_id: str, item_id: str, *, lock: bool = False) -> Item:
    """One item. Raises BadRecord (``unknown_item``) when there is none."""
    return _item(_row(tx, workspace_id, item_id, lock=lock))


def claim(tx: Tx, workspace_id: str, item_id: str, *, actor: str, now: datetime) -> Item | Refused:
    """Take an open item to work on it; who has it already sees it anew. Refused where another one has it."""
    row = _row(tx, workspace_id, item_id, lock=True)
    refused = _not_theirs(row, actor)
    if refused is not None:
        return refused
    item_store.claim(tx, workspace_id, item_id, actor, now)
    audit.append(tx, workspace_id, actor=actor, action="review.claimed", object=item_id, now=now)
    return show(tx, workspace_id, item_id)


def unclaim(tx: Tx, workspace_id: str, item_id: str, *, actor: str, now: datetime) -> Item | Refused:
    """Give an item back to everybody. Only who has it may."""
    row = _row(tx, workspace_id, item_id, lock=True)
    if row["status"] != "in_progress":
        return Refused("not_claimed", "nobody works on this item", where=item_id)
    if row["assigned_to"] != actor:
        return Refused("claimed_by_other", "another person works on this item", where=item_id)
    item_store.unclaim(tx, workspace_id, item_id, now)
    audit.append(tx, workspace_id, actor=actor, action="review.unclaimed", object=item_id, now=now)
    return show(tx, workspace_id, item_id)


def decide(
    tx: Tx,
    handlers: Handlers,
    workspace_id: str,
    item_id: str,
    answer: Answer,
    *,
    now: datetime,
    seen_version: int | None = None,
) -> Item | Refused:
    """Take an answer, with all that follows from it in the same transaction; the item as it is then.

    ``seen_version`` is the version of the item that the person saw; a claim tells it by itself. Refused when the item
    is decided, is another's, has changed since it was seen, or asks about what was superseded (``changed`` says what);
    then nothing is decided, and the item asks about what is left. Raises BadRecord when there is no such item.
    """
    wrong = _wrong(answer, item_id)
    if wrong is not None:
        return wrong
    first = _item(_row(tx, workspace_id, item_id))
    handler = handlers.get(first.kind)
    if handler is None:
        return Refused("no_handler", "nothing answers this kind of item", where=item_id)
    handler.lock(tx, workspace_id, first)
    row = _row(tx, workspace_id, item_id, lock=True)
    item = _item(row)
    refused = (
        _ended(tx, workspace_id, handler, item)
        or _not_theirs(row, answer.actor)
        or _unseen(tx, workspace_id, handler, row, item, answer.actor, seen_version)
        or _superseded(handler.changed(tx, workspace_id, item, now=now), item_id)
    )
    if refused is not None and refused.code in (CHANGED, SUPERSEDED):
        # Told of what changed, who works on it has seen it.
        if item.assigned_to == answer.actor:
            item_store.claim(tx, workspace_id, item_id, answer.actor, now)
        events = [str(each.get("event_id")) for each in refused.changed]
        audit.append(
            tx, workspace_id, actor=answer.actor, action="review.refused", object=item_id,
            detail={"code": refused.code, "events": events}, now=now,
        )  # fmt: skip
    if refused is not None:
        return refused
    done = handler.answered(tx, workspace_id, item, answer, now=now)
    if isinstance(done, Refused):
        return done
    item_store.complete(tx, workspace_id, item_id, answer.action, answer.actor, answer.notes, done.events, now)
    left = _ask_the_rest(tx, workspace_id, item, done, now) if done.left else None
    _audited(tx, workspace_id, item, answer, done, left, now)
    return replace(show(tx, workspace_id, item_id), written=done.written)


def _wrong(answer: Answer, item_id: str) -> Refused | None:
    """What an answer lacks."""
    if answer.action == "rejected" and not (answer.notes or "").strip():
        return Refused("reason_missing", "a rejection needs a reason", where=item_id)
    if answer.notes is not None and len(answer.notes) > LONGEST_NOTES:
        return Refused("too_long", f"notes are of {LONGEST_NOTES} characters at the most", where=item_id)
    if answer.action == "corrected" and not answer.data:
        return Refused("data_missing", "a correction says how it is", where="corrected_data")
    return None


def _not_theirs(row: Row, actor: str) -> Refused | None:
    if row["status"] == EXPIRED:
        return Refused("expired", f"the item is expired ({row['ended_because']})", where=row["id"])
    if row["status"] not in OPEN:
        return Refused("already_decided", f"the item is {row['status']}", where=row["id"])
    if row["status"] == "in_progress" and row["assigned_to"] != actor:
        return Refused("claimed_by_other", "another person works on this item", where=row["id"])
    return None


def _superseded(changed: Sequence[Mapping[str, Any]], item_id: str) -> Refused | None:
    message = "what the item asks about is not said any more, or was answered"
    return Refused(SUPERSEDED, message, tuple(changed), item_id) if changed else None


def _ended(tx: Tx, workspace_id: str, handler: Handler, item: Item) -> Refused | None:
    """Refused, with what changed, where nothing was left to ask before the person answered."""
    if item.status != EXPIRED or item.ended_because == STALE:
        return None
    return _superseded(handler.gone(tx, workspace_id, item, item.asked), item.id)


def _unseen(
    tx: Tx, workspace_id: str, handler: Handler, row: Row, item: Item, actor: str, seen_version: int | None
) -> Refused | None:
    """Refused where the item asks about other than the person has seen, who is told of it."""
    seen: Asked | None = row["seen"] if item.assigned_to == actor else None
    as_claimed = seen is None or seen == row["asked"]
    current = as_claimed if seen_version is None else seen_version == item.version
    if current:
        return None
    gone = handler.gone(tx, workspace_id, item, seen) if seen is not None else ()
    joined = [{"event_id": event, "because": "joined"} for event in _joined(seen or item.asked, item.asked)]
    if gone:
        return _superseded((*gone, *joined), item.id)
    return Refused(CHANGED, "the item asks about more, or other, than you saw", tuple(joined), item.id)


def _joined(seen: Asked, asked: Asked) -> list[str]:
    """The events about which more is asked than was seen."""
    return [
        event
        for event, atoms in sorted(asked.items())
        if event not in seen or (seen[event] and not ({*atoms} and {*atoms} <= {*seen[event]}))
    ]


def _ask_the_rest(tx: Tx, workspace_id: str, item: Item, done: Done, now: datetime) -> str:
    """Ask anew what an answer left open; the further item's id."""
    analysis = item.analysis
    if analysis is not None and "fields" in analysis:
        words = [w for w in analysis["fields"] if w["path"] in done.left.get(w["event_id"], ())]
        analysis = {**analysis, "fields": words}
    return ask(
        tx,
        workspace_id,
        kind=item.kind,
        entity_id=item.entity_id,
        other_id=item.other_id,
        entity_type=item.entity_type,
        event_ids=sorted(done.left),
        asked=done.left,
        reason=item.reason,
        category=done.category,
        priority=item.priority,
        analysis=analysis,
        session_id=item.session_id,
        now=now,
    )


def _audited(
    tx: Tx, workspace_id: str, item: Item, answer: Answer, done: Done, left: str | None, now: datetime
) -> None:
    detail: dict[str, Any] = {
        "kind": item.kind,
        "entity_id": item.entity_id,
        "events": list(item.event_ids),
        "made": list(done.events),
        "waited_s": round((now - item.created_at).total_seconds()),
        **({"left": left} if left else {}),
        **({"written": list(done.written)} if done.written else {}),
        **done.detail,
    }
    if answer.notes:
        # The reason itself may tell of the patient; it is kept with the item.
        detail["reason"] = exact_json.digest(answer.notes).hex()[:32]
    audit.append(
        tx, workspace_id, actor=answer.actor, action=f"review.{answer.action}", object=item.id, detail=detail, now=now
    )


def batch(
    database: Database,
    handlers: Handlers,
    workspace_id: str,
    item_ids: Sequence[str],
    answer: Answer,
    *,
    clock: Clock = utc_now,
) -> dict[str, list[Any]]:
    """Give one answer to up to a hundred items, each in a transaction of its own.

    ``succeeded`` are ids, ``written`` the records that were sent what was rejected; ``failed`` tell of each its
    ``item_id``, ``code`` and ``message``, and what ``changed``.
    Raises BadRecord (``batch_size``) for none, or for more.
    """
    wanted = list(dict.fromkeys(item_ids))
    if not 1 <= len(wanted) <= MOST_AT_ONCE:
        raise BadRecord(f"a batch is of 1 to {MOST_AT_ONCE} items", code="batch_size", where="item_ids")
    result: dict[str, list[Any]] = {"succeeded": [], "failed": [], "written": []}
    for item_id in wanted:
        try:
            found = _one(database, handlers, workspace_id, item_id, answer, clock)
        except RunnerError as error:
            found = Refused(error.code, error.message, where=error.where)
        if isinstance(found, Refused):
            failed = {"item_id": item_id, "code": found.code, "message": found.message}
            result["failed"].append(failed | ({"changed": list(found.changed)} if found.changed else {}))
        else:
            result["succeeded"].append(item_id)
            result["written"].extend(found.written)
    return result


def _one(
    database: Database, handlers: Handlers, workspace_id: str, item_id: str, answer: Answer, clock: Clock
) -> Item | Refused:
    return database.retrying(workspace_id, lambda tx: decide(tx, handlers, workspace_id, item_id, answer, now=clock()))


def listing(
    tx: Tx,
    workspace_id: str,
    *,
    order: str = "priority",
    limit: int = 20,
    offset: int = 0,
    **wanted: Any,
) -> tuple[list[Item], int]:
    """A page of the items that meet every filter, and how many there are.

    Filters are ``status`` (a list), ``kind``, ``entity_type``, ``priority`` (at the most), ``reason``, ``category``,
    ``assigned_to``, ``action``, ``reviewed_by``, and ``created_`` or ``completed_`` ``after`` and ``before``.
    """
    filters = {name: value for name, value in wanted.items() if value is not None}
    found, total = listing_store.listed(tx, workspace_id, filters, order=order, limit=limit, offset=offset)
    return [_item(row) for row in found], total


def history(tx: Tx, workspace_id: str, *, limit: int = 20, offset: int = 0, **wanted: Any) -> tuple[list[Item], int]:
    """Items that are over, the latest first: decided, and expired."""
    over = ["completed", "rejected", "expired"]
    return listing(tx, workspace_id, order="completed_at", limit=limit, offset=offset, status=over, **wanted)


def stats(tx: Tx, workspace_id: str, *, now: datetime) -> dict[str, Any]:
    """How many items there are in each state, how long answers take, and what waits by priority and reason."""
    found = dict(listing_store.counts(tx, workspace_id, now))
    minutes = found.pop("avg_review_minutes")
    made, done = found.pop("created_24h"), found.pop("completed_24h")
    waiting = listing_store.open_counts(tx, workspace_id)
    return found | {
        "avg_review_minutes": None if minutes is None else round(float(minutes), 2),
        "avg_review_time_hours": None if minutes is None else round(float(minutes) / 60, 2),
        "queue_depth": found["pending"] + found["in_progress"],
        "completion_rate_24h": round(done / made, 4) if made else None,
        "pending_by_priority": _by("priority", waiting),
        "pending_by_reason": _by("reason", waiting),
        "pending_by_category": _by("category", waiting),
        "suspended_categories": sorted(policy_store.suspended(tx, workspace_id)),
    }


def _by(column: str, counts: Sequence[Row]) -> dict[str, int]:
    total: Counter[Any] = Counter()
    for row in counts:
        total[row[column]] += row["n"]
    return {str(value): total[value] for value in sorted(total)}


def _row(tx: Tx, workspace_id: str, item_id: str, *, lock: bool = False) -> Row:
    row = item_store.by_id(tx, workspace_id, item_id, lock=lock) if is_uuid(item_id) else None
    if row is None:
        raise BadRecord("there is no such item in this workspace", code="unknown_item", where=item_id[:64])
    return row


def _item(row: Row) -> Item:
    values = {name: value for name, value in row.items() if name not in ("workspace_id", "seen")}
    values |= {name: tuple(values[name]) for name in ("event_ids", "made_events")}
    return Item(**values)
