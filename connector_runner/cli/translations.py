"""``outbound translate``: texts that no rule and no model found a code for, and a person's answers."""

from __future__ import annotations

from typing import Annotated

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.infra.queue import RELEASE
from connector_runner.kernel.clock import utc_now


def translate(
    request: Annotated[str | None, typer.Argument(metavar="ID", help="One text of the list.")] = None,
    code: Annotated[str | None, typer.Argument(metavar="CODE", help="The code that it means.")] = None,
    none: Annotated[bool, typer.Option("--none", help="No code of the vocabulary means it.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """List the texts that wait for a code; or set one's code, and look again at all that waits for it.

    The list shows what was said: the access is noted.
    """
    if (request is None) != (code is None and not none) or (code is not None and none):
        raise typer.BadParameter("name nothing, or an ID with a CODE or with --none")
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    now = utc_now()
    if request is None:
        found = runner.deciding.waiting(workspace_id, limit)
        with runner.database.begin(workspace_id) as tx:
            audit.record_read(tx, workspace_id, actor=ACTOR, action="translation.list", object="translation", now=now)
        columns = ["id", "vocabulary", "text", "candidates", "state", "reason", "entities"]
        rows = [[", ".join(item[c]) if c == "candidates" else item[c] for c in columns] for item in found]
        show({"translations": found}, as_json, lambda: table("Without a code", columns, rows))
        return
    entities = runner.deciding.set_code(workspace_id, request, code, actor=ACTOR, now=now)
    runner.publisher.hint(RELEASE, workspace_id=workspace_id)
    show(
        {"id": request, "code": code, "entities": entities}, as_json, lambda: typer.echo(f"{entities} looked at again")
    )
