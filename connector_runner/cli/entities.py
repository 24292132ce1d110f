"""``entity``: what is known of whom, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import entities as query

app = typer.Typer(help="Entities: the folded state of patients, appointments and the rest.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ID|CANONICAL_ID")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000)]


@app.command("list")
def list_all(
    entity_type: Annotated[str | None, typer.Option("--type", "--entity-type")] = None,
    after: Annotated[str | None, typer.Option(help="The last id of the page before.")] = None,
    limit: Limit = 50,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Entities in the order of their ids."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = query.listing(tx, entity_type=entity_type, limit=limit, after=after)
    columns = ["id", "entity_type", "canonical_id", "record_status", "confidence", "event_count"]
    show(found, as_json, lambda: table("Entities", columns, [[row[c] for c in columns] for row in found["entities"]]))


@app.command("show")
def show_one(name: Name, workspace: Workspace = None, as_json: Json = False) -> None:
    """State and provenance."""
    found = _read("show", name, workspace, query.show)

    def tell() -> None:
        typer.echo(f"{found['entity_type']} {found['id']} ({found['canonical_id']}), {found['record_status']}")
        lines = [(atom, c["source"], c["source_system"], c["confidence"], c["since"], c["event_id"])
                 for atom, c in found["provenance"].items()]  # fmt: skip
        table("State", ["field", "value"], sorted(found["state"].items()))
        table("Provenance", ["atom", "source", "system", "confidence", "since", "event"], lines)

    show(found, as_json, tell)


@app.command("explain")
def explain(
    name: Name,
    field: Annotated[str | None, typer.Option("--field", help="Only this field or atom.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Each atom's winner and losers and why, and how each sink stands."""
    found = _read("explain", name, workspace, lambda tx, ws, n: query.explain(tx, ws, n, field=field))

    def tell() -> None:
        for atom, settled in found["atoms"].items():
            winner = settled["winner"]
            typer.echo(f"{atom}: {winner['value']}  [{winner['source']}, {winner['confidence']}, {winner['event_id']}]")
            for claim in settled["losers"]:
                typer.echo(f"    not {claim['value']}  [{claim['source']}, {claim['confidence']}]: {claim['because']}")
        columns = ["sink", "state", "reason", "withheld", "sink_ref", "synced_at"]
        table("Sinks", columns, [[row[c] for c in columns] for row in found["sinks"]])

    show(found, as_json, tell)


@app.command("timeline")
def timeline(name: Name, limit: Limit = 50, workspace: Workspace = None, as_json: Json = False) -> None:
    """The entity's events, the latest first."""
    found = _read("timeline", name, workspace, lambda tx, ws, n: query.timeline(tx, ws, n, limit=limit))
    columns = ["ingested_at", "event_type", "source", "source_system", "confidence", "id"]
    show(found, as_json, lambda: table("Events", columns, [[row[c] for c in columns] for row in found["events"]]))


@app.command("history")
def history(name: Name, limit: Limit = 50, workspace: Workspace = None, as_json: Json = False) -> None:
    """The entity's events with what each stated."""
    found = _read("history", name, workspace, lambda tx, ws, n: query.history(tx, ws, n, limit=limit))
    columns = ["ingested_at", "event_type", "source", "confidence", "fields_affected", "facts"]
    show(found, as_json, lambda: table("History", columns, [[row[c] for c in columns] for row in found["entries"]]))


def _read(action: str, name: str, workspace: str | None, read: Any) -> Any:
    """Read under the workspace, and note the access."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)

    def both(tx: Tx) -> Any:
        found = read(tx, workspace_id, name)
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action=f"entity.{action}", object=name, detail={}, now=utc_now()
        )
        return found

    with runner.database.begin(workspace_id) as tx:
        return both(tx)
