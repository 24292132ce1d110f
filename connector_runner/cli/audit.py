"""``audit``: the log that shows when it was altered."""

from __future__ import annotations

import typer

from connector_runner.audit import log
from connector_runner.cli.console import Json, Workspace, open_runner, show, workspace_of

app = typer.Typer(help="The hash-chained log.", no_args_is_help=True)


@app.callback()
def _audit() -> None:
    """The hash-chained log."""


@app.command("verify")
def verify(workspace: Workspace = None, as_json: Json = False) -> None:
    """Walk the chain; exit 1 and the first broken number when it was altered."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        broken = log.verify(tx, workspace_id)
        head = log.head(tx, workspace_id)
    entries = head[0] if head is not None else 0
    found = {"ok": broken is None, "entries": entries, "first_broken": broken}
    words = f"{entries} entries, unbroken" if broken is None else f"broken at entry {broken}"
    show(found, as_json, lambda: typer.echo(words))
    if broken is not None:
        raise typer.Exit(1)
