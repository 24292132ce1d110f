"""Make workspaces: the unit of isolation, with a data key of its own."""

from __future__ import annotations

import re
from datetime import datetime

from connector_runner.audit import log as audit
from connector_runner.auth import store
from connector_runner.infra.database import Database
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def create(
    database: Database, sealer: Sealer, slug: str, *, name: str = "", actor: str, now: datetime
) -> tuple[str, bool]:
    """The workspace with this slug, and whether it was made now; making it again changes nothing.

    Raises Misconfigured for a slug that cannot be used.
    """
    if not SLUG.fullmatch(slug):
        raise Misconfigured(
            "a slug is 1 to 63 lower-case letters, digits, dashes and underscores", code="slug", where="SLUG"
        )
    workspace_id = new_id()
    with database.begin(workspace_id) as tx:
        if store.insert_workspace(tx, workspace_id, slug, name):
            sealer.ensure(tx, workspace_id)
            audit.append(tx, workspace_id, actor=actor, action="workspace.created", object=workspace_id, now=now)
            return workspace_id, True
    with database.sweep() as tx:
        known = store.workspace_named(tx, slug)
    if known is None:
        raise LookupError("a workspace that is there cannot be seen")
    return str(known["workspace_id"]), False
