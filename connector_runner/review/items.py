"""Questions to people: one open item for an entity, or for two entities that may be the same.

What asks and what follows from the answer is apart: ``ask`` puts a question, ``queue`` lets people answer it, and a
Handler of the item's kind does in the same transaction what the answer means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from connector_runner.infra.database import Tx
from connector_runner.review import item_store
from connector_runner.review.categories import OTHER, gravest
from connector_runner.review.reasons import graver

Kind = Literal["events", "match"]
Action = Literal["approved", "rejected", "corrected"]
Asked = Mapping[str, Sequence[str]]
"""Event -> the atoms of it that are asked about; an empty list for all of them."""

EVENTS: Final = "events"
MATCH: Final = "match"

PENDING: Final = "pending"
IN_PROGRESS: Final = "in_progress"
COMPLETED: Final = "completed"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
OPEN: Final = (PENDING, IN_PROGRESS)
STATUSES: Final = (PENDING, IN_PROGRESS, COMPLETED, REJECTED, EXPIRED)

STALE: Final = "stale"
"""Nobody answered in time."""
SUPERSEDED: Final = "superseded"
"""What was asked about is not said any more, or was answered elsewhere."""
WITHDRAWN: Final = "withdrawn"
"""The entity is there no more."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question with what became of it. The smaller ``priority``, the sooner it is served.

    ``version`` counts what joined it or left it: who decides has seen that version. ``analysis`` is the judge's, in
    codes, paths and positions. ``made_events`` are those that the decision appended.
    """

    id: str
    kind: Kind
    entity_id: str
    other_id: str | None
    entity_type: str
    session_id: str | None
    event_ids: tuple[str, ...]
    asked: Asked
    reason: str
    category: str
    priority: int
    analysis: Mapping[str, Any] | None
    status: str
    version: int
    assigned_to: str | None
    claimed_at: datetime | None
    completed_action: str | None
    completed_by: str | None
    completed_at: datetime | None
    notes: str | None
    ended_because: str | None
    made_events: tuple[str, ...]
    created_at: datetime
    changed_at: datetime
    written: tuple[Mapping[str, Any], ...] = ()
    """Of an item that was just rejected: records of sinks that were sent what it is about, and hold it still."""

    @property
    def is_open(self) -> bool:
        """Whether it still waits for an answer."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an answer was not taken. ``changed`` tells, by event, what is not as it was asked about."""

    code: str
    message: str
    changed: tuple[Mapping[str, Any], ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person said about an item. ``data`` are the facts as they should be, for a correction."""

    action: Action
    actor: str
    notes: str | None = None
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What followed from an answer: events that were appended, and ids and digests for the log.

    ``left`` is what the answer says nothing about, and ``category`` what that is about: it is asked anew. ``written``
    are records that were sent what the answer rejects.
    """

    events: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    left: Asked = field(default_factory=dict)
    category: str = OTHER
    written: tuple[Mapping[str, Any], ...] = ()


class Handler(Protocol):
    """Does what an answer to one kind of item means, in the answer's own transaction."""

    def lock(self, tx: Tx, workspace_id: str, item: Item) -> None:
        """Take the locks under which the answer is carried out, before the item's own."""

    def changed(self, tx: Tx, workspace_id: str, item: Item, *, now: datetime) -> Sequence[Mapping[str, Any]]:
        """What is not any more as it was asked about, which is taken out of the item; nothing where it stands."""

    def gone(self, tx: Tx, workspace_id: str, item: Item, asked: Asked) -> Sequence[Mapping[str, Any]]:
        """What of ``asked``, as a person saw it once, is not so any more. Changes nothing."""

    def answered(self, tx: Tx, workspace_id: str, item: Item, answer: Answer, *, now: datetime) -> Done | Refused:
        """Carry an answer out. Refused for one that this kind does not know."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is to be asked. ``reason`` is a code, ``session_id`` the conversation's.

    Of two entities that may be the same ``entity_id`` is the smaller.
    """

    kind: Kind
    entity_id: str
    entity_type: str
    reason: str
    priority: int
    other_id: str | None = None
    asked: Asked = field(default_factory=dict)
    category: str = OTHER
    analysis: Mapping[str, Any] | None = None
    session_id: str | None = None


def ask(
    tx: Tx,
    workspace_id: str,
    *,
    kind: Kind,
    entity_id: str,
    entity_type: str,
    event_ids: Sequence[str] = (),
    other_id: str | None = None,
    reason: str,
    priority: int,
    analysis: Mapping[str, Any] | None = None,
    category: str = OTHER,
    asked: Asked | None = None,
    session_id: str | None = None,
    now: datetime,
) -> str:
    """Put one question as ``ask_all`` does; its item's id. ``event_ids`` are all that it is about."""
    if other_id is not None and other_id < entity_id:
        entity_id, other_id = other_id, entity_id
    wanted = {event: (asked or {}).get(event, ()) for event in event_ids}
    question = Question(
        kind, entity_id, entity_type, reason, priority, other_id, wanted, category, analysis, session_id
    )
    return ask_all(tx, workspace_id, [question], now=now)[0]


def ask_all(tx: Tx, workspace_id: str, questions: Sequence[Question], *, now: datetime) -> list[str]:
    """Put questions, no two about one entity or pair; the ids of their items.

    One that is open already for the same entity or pair is joined: its item has the graver reason and category of
    both and the more urgent priority, and takes the events, atoms and analysis in addition to its own.
    """
    wanted: dict[item_store.About, dict[str, Any]] = {(q.kind, q.entity_id, q.other_id): _row(q) for q in questions}
    known = item_store.open_about(tx, workspace_id, list(wanted))
    new = item_store.insert(tx, workspace_id, [row for about, row in wanted.items() if about not in known], now)
    for about, row in known.items():
        more = _joined(row, wanted[about])
        if any(more[name] != row[name] for name in more):
            item_store.join(tx, workspace_id, row["id"], more, now)
    return [str(known[about]["id"]) if about in known else next(new) for about in wanted]


def _row(question: Question) -> dict[str, Any]:
    asked = {event: list(atoms) for event, atoms in question.asked.items()}
    return {name: getattr(question, name) for name in Question.__slots__} | {"asked": asked}


def _joined(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What an open item asks, and why, once a further question has joined it."""
    return {
        "asked": {**known["asked"], **{e: _both(known["asked"].get(e), a) for e, a in wanted["asked"].items()}},
        "analysis": _with(known["analysis"], wanted["analysis"]),
        "priority": min(known["priority"], wanted["priority"]),
        "reason": graver(known["reason"], wanted["reason"]),
        "category": gravest((known["category"], wanted["category"])),
        "session_id": known["session_id"] or wanted["session_id"],
    }


def _both(known: Sequence[str] | None, more: Sequence[str]) -> list[str]:
    """The atoms of both; an empty list is all of them."""
    if known is None:
        return list(more)
    return sorted({*known, *more}) if known and more else []


def _with(known: Mapping[str, Any] | None, more: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Both analyses: what ``more`` says of an atom replaces what was said of it before."""
    if known is None or more is None:
        return more if known is None else known
    said = {(f["event_id"], f["path"]): f for f in (*known.get("fields", ()), *more.get("fields", ()))}
    return {**known, **more, "fields": list(said.values())} if said else {**known, **more}


def withdraw(
    tx: Tx,
    workspace_id: str,
    *,
    kind: Kind,
    entity_id: str,
    other_id: str | None = None,
    because: str = SUPERSEDED,
    now: datetime,
) -> bool:
    """Close an open question that is no longer to be asked, shown as expired; whether there was one."""
    if other_id is not None and other_id < entity_id:
        entity_id, other_id = other_id, entity_id
    found = item_store.open_of(tx, workspace_id, kind, entity_id, other_id)
    if found is None:
        return False
    return item_store.end(tx, workspace_id, [found["id"]], because, now) == 1
