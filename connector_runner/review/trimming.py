"""Taking out of a question what is not said any more, or was answered elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector_runner.infra.database import Tx
from connector_runner.review import item_store
from connector_runner.review.items import SUPERSEDED, Asked
from connector_runner.review.standing import remaining
from connector_runner.world.reading import EntityView


def trim(
    tx: Tx, workspace_id: str, item_id: str, asked: Asked, view: EntityView, *, now: datetime
) -> list[dict[str, Any]]:
    """Let an open item ask only about what a person may still decide; what changed, event by event.

    One that asks about nothing any more has expired, as superseded.
    """
    left, changed = remaining(view, asked)
    if not left:
        item_store.end(tx, workspace_id, [item_id], SUPERSEDED, now)
    elif changed:
        item_store.replace_asked(tx, workspace_id, item_id, left, now)
    return changed
