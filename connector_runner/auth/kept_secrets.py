"""Values of the encrypted table that settings refer to: kept and removed, each time audited."""

from __future__ import annotations

from datetime import datetime

from connector_runner.audit import log as audit
from connector_runner.auth import token_store
from connector_runner.infra import secrets
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer


def keep(tx: Tx, workspace_id: str, sealer: Sealer, name: str, value: str, *, actor: str, now: datetime) -> str:
    """Put a value in, over an older one; the reference to use for it. Sources that lacked it are tried again.

    Raises Misconfigured (``secret_reference``) for a name or a value that cannot be kept.
    """
    replaced = name in secrets.names(tx, workspace_id)
    reference = secrets.store(tx, workspace_id, sealer, name, value, now=now)
    token_store.forget_failures(tx, workspace_id)
    detail = {"replaced": replaced}
    audit.append(tx, workspace_id, actor=actor, action="secret.set", object=reference, detail=detail, now=now)
    return reference


def remove(tx: Tx, workspace_id: str, name: str, *, actor: str, now: datetime) -> bool:
    """Delete a value; whether there was one."""
    gone = secrets.remove(tx, workspace_id, name)
    if gone:
        audit.append(tx, workspace_id, actor=actor, action="secret.removed", object=f"secret:{name}", now=now)
    return gone
