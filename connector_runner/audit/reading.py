"""Reading the log back: entries and notes as one list, by entity, actor, action and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.audit import reading_store
from connector_runner.infra.database import Database, Tx

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Logged:
    """One entry or note. ``n`` is its number in the chain, or that of the seal that covers it, None before that.

    ``key`` sorts those of one instant; ``hash`` is an entry's alone.
    """

    key: str
    n: int | None
    noted: bool
    at: datetime
    actor: str
    action: str
    object: str
    detail: Mapping[str, Any]
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which of the log; None leaves it open. ``entity`` also finds what names it among others."""

    entity: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def latest(
    tx: Tx, workspace_id: str, asked: Asked, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[Logged]:
    """The latest first, from before a place in the list. Seals are left out where no action was asked for."""
    found = reading_store.page(tx, workspace_id, asked, limit=limit, place=before, rising=False)
    return [_logged(row) for row in found]


def all_of(
    database: Database,
    workspace_id: str,
    asked: Asked,
    *,
    progress: Callable[[int], None] = lambda done: None,
    page: int = PAGE,
) -> Iterator[Logged]:
    """All of it, the oldest first, seals too, in bounded memory; each page in a transaction of its own."""
    place, done = None, 0
    while True:
        with database.begin(workspace_id) as tx:
            found = reading_store.page(tx, workspace_id, asked, limit=page, place=place, rising=True)
        for row in found:
            yield _logged(row)
        done += len(found)
        progress(done)
        if len(found) < page:
            return
        place = (found[-1]["at"], found[-1]["key"])


def count(tx: Tx, workspace_id: str, asked: Asked) -> int:
    """How many there are."""
    return reading_store.count(tx, workspace_id, asked)


def _logged(row: Mapping[str, Any]) -> Logged:
    digest = row["hash"]
    return Logged(
        key=row["key"],
        n=row["n"],
        noted=row["noted"],
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        object=row["object"],
        detail=row["detail"],
        hash=bytes(digest) if digest is not None else None,
    )
