"""``review``: a person's word about an event."""

from __future__ import annotations

from typing import Annotated

import typer

from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, workspace_of
from connector_runner.infra.queue import RELEASE
from connector_runner.kernel.clock import utc_now
from connector_runner.review.verdicts import Verdict, decide

app = typer.Typer(help="Verdicts about events.", no_args_is_help=True)

Event = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id.")]
Fields = Annotated[list[str] | None, typer.Option("--field", help="Only this field; may be repeated.")]
Actor = Annotated[str, typer.Option("--actor", help="Who decides.")]


@app.command("approve")
def approve(
    event: Event,
    field: Fields = None,
    reason: Annotated[str | None, typer.Option("--reason")] = None,
    actor: Actor = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """The event is true: it is worth 0.95 from now on, and may leave."""
    _decide(Verdict(event, True, actor, fields=tuple(field or ()), reason=reason), workspace, as_json)


@app.command("reject")
def reject(
    event: Event,
    reason: Annotated[str, typer.Option("--reason")],
    field: Fields = None,
    actor: Actor = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """The event is not true: it counts for nothing from now on."""
    _decide(Verdict(event, False, actor, fields=tuple(field or ()), reason=reason), workspace, as_json)


def _decide(verdict: Verdict, workspace: str | None, as_json: bool) -> None:
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    verdict_id = runner.database.retrying(
        workspace_id, lambda tx: decide(tx, runner.world, workspace_id, verdict, now=utc_now())
    )
    runner.publisher.hint(RELEASE, workspace_id=workspace_id)
    word = "approved" if verdict.approve else "rejected"
    outcome = {"event_id": verdict.event_id, "verdict": word, "verdict_id": verdict_id}
    show(outcome, as_json, lambda: typer.echo(f"{word}: {verdict.event_id}"))
