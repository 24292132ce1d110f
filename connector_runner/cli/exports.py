"""``source export``: everything, or what changed, by the server's own bulk export, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.bootstrap import Runner
from connector_runner.cli.console import ACTOR, Json, Since, Workspace, open_runner, plain, show, table, workspace_of
from connector_runner.connectors import directory
from connector_runner.infra.queue import EXPORT
from connector_runner.intake.bulk import requesting, running, store
from connector_runner.kernel.clock import utc_now

_SHOWN = 20
_LINES = (
    ("files", "files"),
    ("lines", "lines"),
    ("events_created", "events of new records"),
    ("events_updated", "events of changed records"),
    ("events_skipped", "records that said nothing new"),
    ("quarantined", "in quarantine"),
    ("seconds", "seconds"),
)
Name = Annotated[str, typer.Argument(metavar="NAME")]


def export(
    name: Name,
    group: Annotated[str | None, typer.Option("--group", metavar="ID", help="The members of a Group.")] = None,
    patient: Annotated[bool, typer.Option("--patient", help="All patients.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Everything.")] = False,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="T,…", help="Only these; else those of the settings.")
    ] = None,
    since: Since = None,
    full: Annotated[bool, typer.Option("--full", help="Not only what changed since the last export.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Leave it to the workers.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Export in bulk and land it; a run that was cut off is gone on with, by workers or by the same command."""
    if (group is not None) + patient + system > 1:
        raise typer.BadParameter("one of --group, --patient and --system", param_hint="--group")
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    scope = "patient" if patient else "system" if system else None
    chosen = [part for text in types or () for part in text.split(",") if part]
    export_id, adopted = _asked(runner, workspace_id, name, scope, group, chosen, since, full)
    if background:
        runner.publisher.hint(EXPORT, workspace_id=workspace_id, export_id=export_id)
        outcome = running.standing(runner, workspace_id, export_id)
    else:
        with _watching() as told:
            outcome = running.run_to_end(runner, workspace_id, export_id, told=told)
    outcome = {"name": name, "adopted": adopted, **outcome}
    show(outcome, as_json, lambda: _tell(outcome))
    if outcome["state"] == "failed":
        raise typer.Exit(1)


def _asked(
    runner: Runner,
    workspace_id: str,
    name: str,
    scope: str | None,
    group: str | None,
    types: list[str],
    since: datetime | None,
    full: bool,
) -> tuple[str, bool]:
    with runner.database.begin(workspace_id) as tx:
        source = directory.load(tx, workspace_id, name)
        now = utc_now()
        asked = requesting.ask(tx, source, scope=scope, group=group, types=types, since=since, full=full, now=now)
        detail = {"export_id": asked[0], "adopted": asked[1], "scope": scope or "settings", "full": full}
        about = f"data_source/{source.data_source_id}"
        audit.append(tx, workspace_id, actor=ACTOR, action="source.export", object=about, detail=detail, now=now)
        return asked


def exports(name: Name, workspace: Workspace = None, as_json: Json = False) -> None:
    """The latest bulk exports of a source: how far they are, what went wrong."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        source = directory.load(tx, workspace_id, name)
        found = store.latest(tx, source.data_source_id, _SHOWN)
    columns = ["created_at", "scope", "step", "state", "progress", "since", "next_since", "complete", "error_code"]
    show({"exports": found}, as_json, lambda: table(name, columns, [[row[c] for c in columns] for row in found]))


def _tell(outcome: dict[str, Any]) -> None:
    typer.echo(f"{outcome['state']:>10}  {outcome['error'] or ''}".rstrip())
    for key, words in _LINES:
        if key in outcome:
            typer.echo(f"{outcome[key]:>10}  {words}")
    for problem in plain(outcome["problems"]):
        typer.echo(", ".join(f"{key} {value}" for key, value in problem.items()), err=True)
    for error in outcome.get("errors", ()):
        typer.echo(error, err=True)


@contextmanager
def _watching() -> Iterator[running.Told | None]:
    """A bar on stderr where that is a terminal: per cent while the server works, then files."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        shown = bars.add_task("asking", total=None)

        def told(standing: dict[str, Any]) -> None:
            if standing["state"] in ("starting", "polling"):
                bars.update(shown, description="the server exports", completed=standing["progress"] or 0, total=100)
            else:
                done = standing["fetched"] + standing["failed"]
                bars.update(shown, description="files", completed=done, total=standing["files"])

        yield told
