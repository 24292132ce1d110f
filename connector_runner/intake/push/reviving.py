"""Put a delivery that was given up back to be worked off, as it came."""

from __future__ import annotations

from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.push import push_store
from connector_runner.intake.push.receiving import bound


def revive(tx: Tx, sealer: Sealer, workspace_id: str, push_id: str, content: bytes) -> bool:
    """Whether it is still known, and waits again; ``content`` is what quarantine kept of it."""
    found = push_store.key_of(tx, workspace_id, push_id)
    if found is None:
        return False
    sealed = sealer.seal(tx, workspace_id, content, bound(*found))
    return push_store.revive(tx, workspace_id, push_id, sealed)
