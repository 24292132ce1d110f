"""``event append``: write what an agent would write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, workspace_of
from connector_runner.infra.database import Tx
from connector_runner.infra.queue import RELEASE, RESOLVE
from connector_runner.intake import appending
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.review import material
from connector_runner.review.conversation import heard

app = typer.Typer(help="Events: facts that someone states.", no_args_is_help=True)


@app.callback()
def _events() -> None:
    """Events: facts that someone states."""


@app.command("append")
def append(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, allow_dash=True, help="JSON, or -."),
    ],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Append a JSON list of events. One that cannot be used is reported with its index and key; the others count.

    Or an object ``{"session": …, "transcript": …, "events": […]}``: the conversation that the events came of.
    """
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    conversation = heard(exact_json.loads(content))
    runner = open_runner(start=True)
    workspace_id = workspace_of(runner, workspace)

    def write(tx: Tx) -> appending.Outcome:
        now = utc_now()
        if conversation.transcript is not None:
            material.put(
                tx, runner.sealer, workspace_id, conversation.session, conversation.transcript, actor=ACTOR, now=now
            )
        return appending.append(
            tx, runner.world, runner.mappings, workspace_id, conversation.events, actor=ACTOR, now=now
        )

    outcome = runner.database.retrying(workspace_id, write)
    if outcome.events:
        for task in (RELEASE, RESOLVE):
            runner.publisher.hint(task, workspace_id=workspace_id)
    found = appending.summary(outcome)
    show(found, as_json, lambda: _tell(found))
    if outcome.errors:
        raise typer.Exit(1)


def _tell(found: dict[str, Any]) -> None:
    for event in found["events"]:
        typer.echo(f"{event['id']}  {event['event_type']}  entity {event['entity_id']}  {event['confidence']}")
    if found["events_skipped"]:
        typer.echo(f"{found['events_skipped']} known already")
    for error in found["errors"]:
        typer.echo(f"error: event {error['index']}: {error['key']}: {error['message']}", err=True)
