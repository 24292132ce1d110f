"""``quarantine``: what could not be used, and why."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import is_uuid

app = typer.Typer(help="What could not be used, kept with its context.", no_args_is_help=True)


@app.command("list")
def list_all(
    stage: Annotated[str | None, typer.Option(help="unify, import, drain …")] = None,
    code: Annotated[str | None, typer.Option(help="One cause.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Open entries, and how many each cause has."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entries = [asdict(e) for e in runner.quarantine.list(tx, workspace_id, stage=stage, code=code, limit=limit)]
        causes = [asdict(cause) for cause in runner.quarantine.causes(tx, workspace_id)]

    def tell() -> None:
        table("Causes", ["stage", "code", "entries"], [(c["stage"], c["code"], c["entries"]) for c in causes])
        columns = ["quarantine_id", "stage", "code", "place", "message", "times"]
        table("Open", columns, [[entry[c] for c in columns] for entry in entries])

    show({"entries": entries, "causes": causes}, as_json, tell)


@app.command("show")
def show_one(
    quarantine_id: Annotated[str, typer.Argument(metavar="ID")],
    body: Annotated[bool, typer.Option("--body", help="Also what came; the access is noted.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """One entry with its context."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entry = runner.quarantine.get(tx, workspace_id, _id(quarantine_id))
        if entry is None:
            raise BadRecord("there is no such entry in this workspace", code="unknown_entry", where=quarantine_id)
        found = asdict(entry)
        if body:
            found |= _body(runner.quarantine.body(tx, workspace_id, quarantine_id))
            audit.record_read(
                tx, workspace_id, actor=ACTOR, action="quarantine.show", object=quarantine_id, now=utc_now()
            )
    show(found, as_json, lambda: table("Quarantine", ["key", "value"], list(found.items())))


@app.command("discard")
def discard(
    quarantine_ids: Annotated[list[str], typer.Argument(metavar="ID…")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Close entries for good; what was kept of them goes."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    ids = [_id(each) for each in quarantine_ids]
    with runner.database.begin(workspace_id) as tx:
        closed = runner.quarantine.discard(tx, workspace_id, ids)
        audit.append(
            tx, workspace_id, actor=ACTOR, action="quarantine.discarded", object=ids[0],
            detail={"ids": ids, "closed": closed}, now=utc_now(),
        )  # fmt: skip
    show({"discarded": closed}, as_json, lambda: typer.echo(f"{closed} discarded"))
    if not closed:
        raise typer.Exit(1)


def _id(text: str) -> str:
    if not is_uuid(text):
        raise typer.BadParameter("an entry's id is a UUID", param_hint="ID")
    return text


def _body(content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {"body": None}
    try:
        return {"body": content.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(content).decode("ascii")}
