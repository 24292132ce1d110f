"""``alerts``: what an operator was told of."""

from __future__ import annotations

from typing import Annotated

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import is_uuid
from connector_runner.resilience import alerts

app = typer.Typer(help="What went wrong, with a source or the judge: told once.", no_args_is_help=True)

COLUMNS = ["source", "kind", "subject", "code", "detail", "raised_at"]
_MORE = ["acknowledged_by", "alert_id"]


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
    columns = [*COLUMNS, "ended_at", *_MORE] if ended else [*COLUMNS, *_MORE]
    show({"alerts": found}, as_json, lambda: table("Alerts", columns, [[row[c] for c in columns] for row in found]))


@app.command("acknowledge")
def acknowledge(
    alert_id: Annotated[str, typer.Argument(metavar="ALERT", help="Its id, as `alerts list` shows it.")],
    reason: Annotated[str | None, typer.Option("--reason", help="What is done about it.")] = None,
    actor: Annotated[str, typer.Option("--actor", help="Who has seen it.")] = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Say that you have seen an alert. It stays open until what it is about is well again."""
    if not is_uuid(alert_id):
        raise typer.BadParameter("an alert's id is a UUID", param_hint="ALERT")
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        if not alerts.acknowledge(tx, workspace_id, alert_id, actor=actor, now=now):
            raise Misconfigured("no such alert, or somebody has seen it before", code="no_such_alert", where=alert_id)
        audit.append(
            tx, workspace_id, actor=actor, action="alert.acknowledged", object=alert_id, reason=reason, now=now
        )
    show({"acknowledged": alert_id}, as_json, lambda: typer.echo(f"acknowledged: {alert_id}"))
