"""Changing a secret that deliveries are verified by, without a delivery lost: for a while the older one counts as well.

What counts still is kept beside the secret, under its name with the time until which it counts.
"""

from __future__ import annotations

import re
import secrets as randomness
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from connector_runner.audit import log as audit
from connector_runner.connectors.base import DataSource
from connector_runner.infra import secrets
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import Misconfigured

OVERLAP: Final = timedelta(days=1)
_STILL: Final = re.compile(r"(?P<name>.+)\.until\.(?P<until>\d{1,12})")


def own_secret(data_source_id: str) -> str:
    """Where the secret is kept that is made for the subscriptions of a source."""
    return f"push.{data_source_id}"


def counting(names: Iterable[str], name: str, now_s: float) -> list[str]:
    """Of the names in the table those of older values of ``name`` that count still. Pure."""
    found = ((each, _STILL.fullmatch(each)) for each in names)
    return [each for each, still in found if still and still["name"] == name and int(still["until"]) > now_s]


def over(names: Iterable[str], now_s: float) -> list[str]:
    """Of the names in the table those of values that count no more. Pure."""
    found = ((each, _STILL.fullmatch(each)) for each in names)
    return [each for each, still in found if still and int(still["until"]) <= now_s]


def rotate(
    tx: Tx,
    sealer: Sealer,
    source: DataSource,
    *,
    actor: str,
    now: datetime,
    name: str | None = None,
    value: str | None = None,
    overlap: timedelta = OVERLAP,
) -> datetime:
    """Put another value in the place of one of a source's push secrets; until when the older one counts too.

    Without ``name`` that of its subscriptions, which is made anew and told to the server when they are next kept;
    else one that ``push.secrets`` refers to as ``secret:name``, whose new ``value`` the sender is to be given by
    then. Audited. Raises Misconfigured (``no_push_secret``).
    """
    workspace_id, push = source.workspace_id, source.settings.push
    own = own_secret(source.data_source_id)
    kept = name or own
    known = push is not None and (f"secret:{name}" in push.secrets if name else bool(push.subscribe))
    if not known or kept not in (names := secrets.names(tx, workspace_id)):
        raise Misconfigured(
            "the source has no such push secret in the encrypted table", code="no_push_secret", where=source.name
        )
    until = now + overlap
    before = secrets.resolve(f"secret:{kept}", tx, workspace_id, sealer)
    secrets.store(tx, workspace_id, sealer, f"{kept}.until.{int(until.timestamp())}", before, now=now)
    secrets.store(tx, workspace_id, sealer, kept, value or randomness.token_urlsafe(32), now=now)
    drop_old(tx, workspace_id, names, now)
    audit.append(
        tx, workspace_id, actor=actor, action="push.secret_rotated", object=f"data_source/{source.data_source_id}",
        detail={"own": name is None, "until": int(until.timestamp())}, now=now,
    )  # fmt: skip
    return until


def drop_old(tx: Tx, workspace_id: str, names: Iterable[str], now: datetime) -> None:
    """Delete older values that count no more."""
    for each in over(names, now.timestamp()):
        secrets.remove(tx, workspace_id, each)
