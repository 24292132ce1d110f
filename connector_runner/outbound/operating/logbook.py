"""What was written: the write log as a person asks for it, with bodies where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector_runner.infra.database import Row, Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound.lanes import intents
from connector_runner.outbound.operating import status_store, undo_store
from connector_runner.outbound.operating.undo_store import Selection


def entries(tx: Tx, workspace_id: str, chosen: Selection, *, outcome: str | None = None, limit: int = 100) -> list[Row]:
    """Outcomes, and intents that have none yet (outcome ``open``), the latest first. Bodies stay sealed."""
    return status_store.log_entries(tx, workspace_id, chosen, outcome=outcome, limit=limit)


def with_bodies(tx: Tx, sealer: Sealer, workspace_id: str, writes: Sequence[Row]) -> list[dict[str, Any]]:
    """The same with ``before`` (the resource as it was), ``sent`` and ``answer``. They are PHI: note the read.

    Raises BadRecord (``sealed_broken``) when an entry was altered.
    """
    shown = []
    for write in writes:
        parts = undo_store.sealed_entries(tx, write["lane_id"], write["intent_id"])
        plain = _opened(tx, sealer, workspace_id, parts.get("intent"))
        intent = exact_json.loads(plain) if plain else {}
        answer = (
            _opened(tx, sealer, workspace_id, parts.get(write["write_id"])) if write["phase"] == "outcome" else None
        )
        shown.append({**write, "before": intent.get("before"), "sent": intent.get("body"), "answer": _readable(answer)})
    return shown


def _opened(tx: Tx, sealer: Sealer, workspace_id: str, entry: Row | None) -> bytes | None:
    return None if entry is None else intents.open_sealed(tx, sealer, workspace_id, entry["write_id"], entry["sealed"])


def _readable(answer: bytes | None) -> Any:
    if answer is None:
        return None
    try:
        return exact_json.loads(answer)
    except BadRecord:
        return answer.decode("utf-8", "replace")
