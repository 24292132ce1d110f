"""What a person's answer to a possible match means; a Handler of review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.resolution import service, store
from connector_runner.review.items import Answer, Asked, Done, Item, Refused


class MatchHandler:
    """Approved: the two are the same. Rejected: they are not, for good."""

    def lock(self, tx: Tx, workspace_id: str, item: Item) -> None:
        """No batch is compared until the answer is carried out."""
        store.lock_kind(tx, workspace_id, item.entity_type)

    def changed(self, tx: Tx, workspace_id: str, item: Item, *, now: datetime) -> Sequence[Mapping[str, Any]]:
        """Nothing: a question that is no longer to be asked is withdrawn when the two are compared."""
        return ()

    def gone(self, tx: Tx, workspace_id: str, item: Item, asked: Asked) -> Sequence[Mapping[str, Any]]:
        """Nothing, as above."""
        return ()

    def answered(self, tx: Tx, workspace_id: str, item: Item, answer: Answer, *, now: datetime) -> Done | Refused:
        """Keep the word about the pair; who is one follows when they are compared, at once. Nothing to correct."""
        if answer.action == "corrected":
            return Refused("not_correctable", "two records are the same or they are not", where=item.id)
        if item.other_id is None:
            return Refused("no_pair", "the item names one record only", where=item.id)
        same = answer.action == "approved"
        said = answer.notes or f"review item {item.id}"
        try:
            service.decide(
                tx, workspace_id, item.entity_id, item.other_id, same=same, actor=answer.actor, reason=said, now=now
            )
        except BadRecord as refusal:
            return Refused(refusal.code, refusal.message, where=item.id)
        return Done(detail={"one": item.entity_id, "other": item.other_id, "same": same})
