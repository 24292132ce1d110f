"""``alerts``: what an operator was told of."""

from __future__ import annotations

from typing import Annotated

import typer

from connector_runner.cli.console import Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.resilience import alerts

app = typer.Typer(help="What went wrong with a source: told once, until it is well again.", no_args_is_help=True)

COLUMNS = ["source", "kind", "subject", "code", "detail", "raised_at"]


@app.command("list")
def list_all(
    ended: Annotated[bool, typer.Option("--ended", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the latest first.")] = 100,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """The open alerts, the latest first."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = [dict(row) for row in alerts.listing(tx, workspace_id, ended=ended, limit=limit)]
    columns = [*COLUMNS, "ended_at"] if ended else COLUMNS
    show({"alerts": found}, as_json, lambda: table("Alerts", columns, [[row[c] for c in columns] for row in found]))
