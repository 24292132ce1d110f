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
    tx: Tx,
    workspace_id: str,
    item_id: str,
    asked: Asked,
    view: EntityView,
    *,
    passed: Asked | None = None,
    now: datetime,
) -> list[dict[str, Any]]:
    """Let an open item ask only about what a person may still decide; what changed, event by event.

    ``passed`` are atoms that need no person by now. An item that asks about nothing any more has expired, superseded.
    """
    still = {e: [a for a in atoms if a not in (passed or {}).get(e, ())] for e, atoms in asked.items()}
    wanted = {e: atoms for e, atoms in still.items() if atoms or not asked[e]}
    left, changed = remaining(view, wanted)
    if not left:
        item_store.end(tx, workspace_id, [item_id], SUPERSEDED, now)
    elif changed or wanted != asked:
        item_store.replace_asked(tx, workspace_id, item_id, left, now)
    return changed
