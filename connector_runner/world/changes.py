"""How effects run upwards inside one transaction: the world tells, others listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from connector_runner.infra.database import Tx


class EntityChange(Struct, frozen=True):
    """An entity whose events grew or whose state was folded anew.

    ``doubtful``: something was said of it just now, or came out of its fold, that is not believed enough to be relied
    on, or that makes a judge's word stand against that of a system of record, or was rejected. ``gone``: another one
    has adopted it.
    """

    entity_id: str
    entity_type: str
    created: bool
    doubtful: bool = False
    gone: bool = False


class EntityChanged(Protocol):
    """A subscriber; what it writes commits or rolls back with the change itself."""

    def __call__(self, tx: Tx, workspace_id: str, changes: Sequence[EntityChange]) -> None:
        """React to ``changes`` in the same transaction."""


class EntitiesResolved(Protocol):
    """Is told, before it is committed, who was compared with others and whose cluster changed."""

    def __call__(self, tx: Tx, workspace_id: str, compared: Sequence[str], regrouped: Sequence[str]) -> None:
        """React in the same transaction. ``regrouped`` are all members, of before and of now."""


def nobody(tx: Tx, workspace_id: str, compared: Sequence[str], regrouped: Sequence[str]) -> None:
    """An EntitiesResolved that does not care."""
