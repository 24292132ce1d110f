"""``audit``: the log that shows when it was altered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.audit import anchors, log, store, verifying
from connector_runner.audit.chain import Anchor
from connector_runner.cli import audit_reading
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, watching, workspace_of
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now

app = typer.Typer(help="The hash-chained log.", no_args_is_help=True)
audit_reading.add_to(app)

Kept = Annotated[
    list[Path] | None,
    typer.Option("--anchor", metavar="FILE", exists=True, dir_okay=False, help="Anchors kept elsewhere; repeatable."),
]


@app.callback()
def _audit() -> None:
    """The hash-chained log."""


@app.command("verify")
def verify(anchor: Kept = None, workspace: Workspace = None, as_json: Json = False) -> None:
    """Walk the chain; exit 1 and the first broken number when it was altered."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    kept = [one for file in anchor or () for one in anchors.read(file, workspace_id)]
    with runner.database.begin(workspace_id) as tx, watching("entries") as tell:
        found = verifying.verify(
            tx,
            workspace_id,
            anchors=kept,
            genuine=lambda some: log.genuine(runner.sealer, some),
            progress=tell or (lambda done, of: None),
        )
        waiting, oldest = store.unsealed(tx, workspace_id)
    broken = found.broken
    document = {
        "ok": broken is None,
        "entries": found.entries,
        "anchors": found.anchors,
        "first_broken": broken.n if broken is not None else None,
        "code": broken.code if broken is not None else None,
        "unsealed": {"count": waiting, "oldest_s": round(oldest, 1)},
    }
    words = f"{found.entries} entries, unbroken; held against {found.anchors} anchors"
    if broken is not None:
        words = f"broken at entry {broken.n}: {broken.code.replace('_', ' ')}"
    show(document, as_json, lambda: typer.echo(words))
    if broken is not None:
        raise typer.Exit(1)


@app.command("anchor")
def anchor(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Add the anchors that this file lacks to it.")
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Keep what the chain stands at. Put the file where nobody who has the database can change it."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        made = log.anchor(tx, workspace_id, runner.sealer, actor=ACTOR, now=utc_now())
        every = store.anchors(tx, workspace_id)
    added = anchors.write(out, every) if out is not None else 0
    document = {"anchor": anchors.document(made) if made is not None else None, "added": added}
    show(document, as_json, lambda: _tell(made, out, added))


def _tell(made: Anchor | None, out: Path | None, added: int) -> None:
    line: Any = anchors.document(made) if made is not None else None
    typer.echo(exact_json.dumps(line) if line is not None else "the log is empty")
    if out is not None:
        typer.echo(f"{added} added to {out}", err=True)
