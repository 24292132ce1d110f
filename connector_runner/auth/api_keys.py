"""API keys: shown once, kept as a digest, bound to a role with a ceiling on what they may claim.

They are only made: nothing takes one yet.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from connector_runner.audit import log as audit
from connector_runner.auth import store
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id

CEILING_OF_ROLE = {"viewer": 0.0, "agent": 0.5, "member": 0.5, "reviewer": 0.95, "integration": 1.0, "admin": 1.0}
"""The highest confidence that events written with a key of the role may have."""

_PREFIX = "cr_live_"


def create(
    tx: Tx, workspace_id: str, role: str, *, actor: str, now: datetime, days: int | None = None
) -> dict[str, Any]:
    """Make a key. ``api_key`` of the answer is the only time that the key itself is seen.

    Raises Misconfigured for a role that there is not.
    """
    if role not in CEILING_OF_ROLE:
        raise Misconfigured(f"there is no such role; there are: {', '.join(CEILING_OF_ROLE)}", where="--role")
    prefix = _PREFIX + secrets.token_hex(4)
    token = f"{prefix}_{secrets.token_urlsafe(32)}"
    key_id = new_id()
    expires_at = now + timedelta(days=days) if days is not None else None
    store.insert_key(
        tx,
        workspace_id,
        {
            "key_id": key_id,
            "prefix": prefix,
            "digest": sha256(token.encode()).digest(),
            "role": role,
            "ceiling": CEILING_OF_ROLE[role],
            "expires_at": expires_at,
        },
    )
    audit.append(tx, workspace_id, actor=actor, action="api_key.created", object=key_id, detail={"role": role}, now=now)
    return {
        "key_id": key_id,
        "api_key": token,
        "workspace_id": workspace_id,
        "role": role,
        "confidence_ceiling": CEILING_OF_ROLE[role],
        "expires_at": expires_at,
    }
