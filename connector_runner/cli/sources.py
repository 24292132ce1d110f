"""``source``: the systems that data comes from and goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.auth.showing import tokens_of
from connector_runner.bootstrap import Runner
from connector_runner.cli import capabilities, push_secrets
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.connectors import directory
from connector_runner.connectors.outgoing import CheckURL
from connector_runner.infra.queue import POLL, REFRESH_CONFIG
from connector_runner.intake.push import subscribing
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.planning.fitting import require_fit
from connector_runner.outbound.releasing import release

app = typer.Typer(help="Data sources: systems that are read, and written to.", no_args_is_help=True)
capabilities.add_to(app)
app.command("rotate-secret")(push_secrets.rotate_secret)

Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="YAML or JSON.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Create or change the data sources that a file describes; running workers follow within a minute."""
    documents = directory.read_document(file)
    runner = open_runner(start=True)
    done = apply_documents(runner, workspace_of(runner, workspace), documents, file=str(file))
    show({"sources": done}, as_json, lambda: typer.echo("\n".join(f"{d['outcome']}: {d['name']}" for d in done)))


def apply_documents(
    runner: Runner, workspace_id: str, documents: object, *, file: str = "", check: CheckURL | None = None
) -> list[dict[str, Any]]:
    """Apply, and tell beat; name and outcome of each.

    An address that may not be called is refused here already: by ``check`` where the Runner's own way out is not asked.
    """
    directory.require_callable_settings(documents, check or runner.http.check, file=file)
    with runner.database.begin(workspace_id) as tx:
        applied = directory.apply(tx, workspace_id, documents, actor=ACTOR, now=utc_now(), file=file)
        for n, one in enumerate(applied):
            at = f"[{n}].settings" if len(applied) > 1 else "settings"
            require_fit(one.source.settings, runner.mappings, file=file, at=at)
        release.applied(tx, workspace_id, applied)
    runner.publisher.hint(REFRESH_CONFIG)
    return [{"name": a.source.name, "data_source_id": a.source.data_source_id, "outcome": a.outcome} for a in applied]


@app.command("list")
def list_all(workspace: Workspace = None, as_json: Json = False) -> None:
    """The data sources and how they are."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = [{k: v for k, v in row.items() if k != "settings"} for row in directory.listing(tx, workspace_id)]
    columns = ["name", "source_type", "enabled", "health_status", "last_poll_at", "sink_enabled"]
    show({"sources": found}, as_json, lambda: table("Sources", columns, [[row[c] for c in columns] for row in found]))


@app.command("show")
def show_one(name: Name, workspace: Workspace = None, as_json: Json = False) -> None:
    """Settings (secrets are references), health, tokens, subscriptions, and each polled record type."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = directory.show(tx, workspace_id, name)
        found["tokens"] = tokens_of(tx, workspace_id, str(found["data_source_id"]))
        found["subscriptions"] = subscribing.shown(tx, workspace_id, str(found["data_source_id"]))
    show(found, as_json, lambda: _tell(found))


_LISTS = ("resources", "tokens", "subscriptions")


def _tell(found: dict[str, Any]) -> None:
    resources = found["resources"]
    table(found["name"], ["key", "value"], [(k, v) for k, v in found.items() if k not in _LISTS])
    for token in found["tokens"]:
        table(f"Tokens to {token['direction']}", ["key", "value"], [(k, v) for k, v in token.items() if v])
    if found["subscriptions"]:
        rows = found["subscriptions"]
        table("Subscriptions", list(rows[0]), [list(row.values()) for row in rows])
    if resources:
        table("Polled", list(resources[0]), [list(row.values()) for row in resources])


@app.command("sync")
def sync(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Read everything, and find what was deleted.")] = False,
    resource: Annotated[str | None, typer.Option("--resource", help="One record type only.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Make a source due now, all its record types or one; the workers do the rest."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        source = directory.load(tx, workspace_id, name)
        due = directory.request_sync(
            tx, workspace_id, source.data_source_id, now=utc_now(), resource_type=resource, full=full
        )
        audit.append(
            tx, workspace_id, actor=ACTOR, action="source.sync", object=f"data_source/{source.data_source_id}",
            detail={"full": full, "due": due, "resource_type": resource}, now=utc_now(),
        )  # fmt: skip
        types = [row["resource_type"] for row in directory.show(tx, workspace_id, name)["resources"]]
    for kind in [resource] if resource else types:
        runner.publisher.hint(POLL, workspace_id=workspace_id, data_source_id=source.data_source_id, resource_type=kind)
    show({"name": source.name, "due": due}, as_json, lambda: typer.echo(f"{due} record types of {source.name} are due"))
