"""``workspace`` and ``api-key``."""

from __future__ import annotations

from typing import Annotated

import typer

from connector_runner.auth import api_keys, workspaces
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import store

app = typer.Typer(help="Workspaces: what one clinic sees, and no other.", no_args_is_help=True)
keys = typer.Typer(help="Keys for those who call the API.", no_args_is_help=True)


@app.command("create")
def create(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Lower-case letters, digits, dashes, underscores.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: Json = False,
) -> None:
    """Make a workspace; to repeat it changes nothing."""
    runner = open_runner(start=True)
    workspace_id, made = workspaces.create(runner.database, runner.sealer, slug, name=name, actor=ACTOR, now=utc_now())
    outcome = {"workspace_id": workspace_id, "slug": slug, "created": made}
    show(outcome, as_json, lambda: typer.echo(f"{'created' if made else 'known already:'} {slug} {workspace_id}"))


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """All workspaces."""
    with open_runner().database.sweep() as tx:
        known = store.workspaces(tx)
    show(
        {"workspaces": known},
        as_json,
        lambda: table(
            "Workspaces", ["slug", "id", "status"], [(w["slug"], w["workspace_id"], w["status"]) for w in known]
        ),
    )


@keys.command("create")
def create_key(
    role: Annotated[str, typer.Option("--role", help=", ".join(api_keys.CEILING_OF_ROLE))],
    workspace: Workspace = None,
    days: Annotated[int | None, typer.Option(min=1, max=90, help="How long it holds.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key for the API, shown this once. Nothing takes such keys yet: no route asks for one."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        key = api_keys.create(tx, workspace_id, role, actor=ACTOR, now=utc_now(), days=days)
    show(key, as_json, lambda: typer.echo(key["api_key"]))
