"""Refusals of policy are put on record: once for each reason that comes to keep a lane's entity from its sink."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Tx
from connector_runner.policy.asking import CODES

ACTOR: Final = "connector_runner"
REFUSED: Final = "policy.refused"


def note(
    tx: Tx,
    workspace_id: str,
    *,
    sink: str,
    entity_id: str,
    reason: str | None,
    before: str | None,
    rests_on: str | None,
    now: datetime,
) -> None:
    """Audit that ``reason`` keeps an entity from a sink, where that is policy's and was not so ``before``."""
    if reason not in CODES or reason == before:
        return
    detail = {"sink": sink, "action": "write", "reason": reason, "rests_on": rests_on}
    audit.append(tx, workspace_id, actor=ACTOR, action=REFUSED, object=entity_id, detail=detail, now=now)
