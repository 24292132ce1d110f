"""SQL of replaying what was quarantined."""

from __future__ import annotations

from datetime import datetime

from connector_runner.infra.database import Tx, one


def seen_since(tx: Tx, record_id: str, moment: datetime) -> bool:
    """Whether a source record was met with other content after ``moment``."""
    found = one(
        tx,
        "SELECT 1 FROM record_version WHERE record_id = :record AND seen_at > :moment LIMIT 1",
        record=record_id,
        moment=moment,
    )
    return found is not None
