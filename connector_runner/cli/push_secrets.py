"""``source rotate-secret``: another secret for what a source pushes to us."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, workspace_of
from connector_runner.cli.keys import content_of
from connector_runner.connectors import directory
from connector_runner.intake.push import subscribing
from connector_runner.kernel.clock import utc_now


def rotate_secret(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    secret: Annotated[
        str | None,
        typer.Option("--secret", help="One of push.secrets (secret:NAME); else the subscriptions'."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="The value of --secret; - reads standard input.")] = None,
    overlap_h: Annotated[float, typer.Option("--overlap", min=0.01, max=720, help="Hours that the older counts.")] = 24,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Change what deliveries are verified by: both count for a while, so that none is refused meanwhile.

    The secret of subscriptions is made anew and told to the server by the workers; you tell senders of another.
    """
    if (secret is None) != (file is None):
        raise typer.BadParameter("--secret and --file go together", param_hint="--file")
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    value = content_of(file).rstrip("\r\n") if file is not None else None
    with runner.database.begin(workspace_id) as tx:
        source = directory.load(tx, workspace_id, name)
        until = subscribing.rotate_secret(
            tx, runner.sealer, source, actor=ACTOR, now=now, name=secret, value=value,
            overlap=timedelta(hours=overlap_h),
        )  # fmt: skip
    told = f"the older one counts until {until:%Y-%m-%d %H:%M} UTC"
    show({"name": source.name, "older_until": until}, as_json, lambda: typer.echo(told))
