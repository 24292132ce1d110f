"""``entity``: what is known of whom, and why."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.cli.policy import one_of
from connector_runner.cli.steps import tell as tell_steps
from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import agent_view
from connector_runner.observability import entities as query
from connector_runner.observability import explain as explaining
from connector_runner.policy.purposes import PURPOSES, Purpose
from connector_runner.world import reading

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
        listed = [row["id"] for row in found["entities"]]
        detail = {"entity_type": entity_type, "count": len(listed), "ids": listed[:100]}
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="entity.list", object="entity", detail=detail, now=utc_now()
        )
    columns = ["id", "entity_type", "canonical_id", "record_status", "confidence", "event_count"]
    show(found, as_json, lambda: table("Entities", columns, [[row[c] for c in columns] for row in found["entities"]]))


@app.command("show")
def show_one(
    name: Name,
    view: Annotated[str, typer.Option("--view", help="full, or agent: what an agent may rely on.")] = "full",
    purpose: Annotated[
        str, typer.Option("--purpose", help=f"Of an agent's view: {', '.join(PURPOSES)}.")
    ] = "treatment",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """State and provenance."""
    if one_of(("full", "agent"), "--view", view) == "agent":
        _show_agent(name, one_of(PURPOSES, "--purpose", purpose), workspace, as_json)
        return
    found = _read("show", name, workspace, query.show)

    def tell() -> None:
        typer.echo(f"{found['entity_type']} {found['id']} ({found['canonical_id']}), {found['record_status']}")
        lines = [(atom, c["source"], c["source_system"], c["confidence"], c["since"], c["event_id"])
                 for atom, c in found["provenance"].items()]  # fmt: skip
        table("State", ["field", "value"], sorted(found["state"].items()))
        table("Provenance", ["atom", "source", "system", "confidence", "since", "event"], lines)

    show(found, as_json, tell)


def _show_agent(name: str, purpose: Purpose, workspace: str | None, as_json: bool) -> None:
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    mappings, now = runner.mappings, utc_now()
    with runner.database.begin(workspace_id) as tx:
        found = agent_view.show(tx, mappings, workspace_id, name, purpose, now)
        detail = {"view": "agent", "purpose": purpose, "allowed": found["allowed"]}
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="entity.show", object=found["id"], detail=detail, now=now
        )

    def tell() -> None:
        typer.echo(f"{found['entity_type']} {found['id']} ({found['canonical_id']}), {found['record_status']}")
        for each in found["refused"]:
            typer.echo(f"not to be read for {purpose}: {each['code']} ({', '.join(each['rests_on'])})")
        table("Verified", ["field", "value"], sorted(found["state"].items()))
        table(
            "Unverified", ["field", "value", "why"], [[e["field"], e["value"], e["why"]] for e in found["unverified"]]
        )
        table("Withheld", ["field", "why"], [[each["field"], each["code"]] for each in found["withheld"]])

    show(found, as_json, tell)


@app.command("explain")
def explain(
    name: Name,
    field: Annotated[str | None, typer.Option("--field", help="Only this field or atom.")] = None,
    sink: Annotated[str | None, typer.Option("--sink", help="Only this sink.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Why each value holds, where it was said, what each sink was sent, and whether a replay is safe."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    outbound = runner.outbound  # with the mappings, which a process reads once
    with runner.database.begin(workspace_id) as tx:
        started = time.perf_counter()
        found = explaining.explain(tx, outbound, workspace_id, name, field=field, sink=sink)
        found["took_ms"] = round((time.perf_counter() - started) * 1000, 1)
        audit.record_read(tx, workspace_id, actor=ACTOR, action="entity.explain", object=found["id"], now=utc_now())
    show(found, as_json, lambda: _tell_why(found))


def _tell_why(found: dict[str, Any]) -> None:
    typer.echo(f"{found['entity_type']} {found['id']} ({found['canonical_id']}), {found['status']}")
    events: dict[str, list[Any]] = {}
    lines = []
    for atom, settled in found["atoms"].items():
        for number, claim in enumerate([settled["winner"], *settled["losers"]]):
            because = claim.get("because") or settled.get("conflict") or "holds"
            by = "/".join(part for part in (claim["source"], claim["source_system"]) if part)
            since = claim["since"].strftime("%Y-%m-%d %H:%M") if claim["since"] else "-"
            record = claim["source_record"] or {}
            field = atom if not number else ""
            lines.append([field, claim["value"], because, by, claim["confidence"], since, record.get("path")])
            events.setdefault(claim["event_id"], [
                claim["event_id"], record.get("record"), record.get("actor"), claim["mapping_version"],
                ", ".join(f"{each['verdict']} by {each['actor']}" for each in claim["verdicts"]),
            ])  # fmt: skip
    table("Values", ["field", "value", "why", "by", "confidence", "since", "path"], lines)
    table("Events", ["event", "record", "actor", "mapping", "verdicts"], events.values())
    decided = [
        [each["sink"], atom, decision["decision"], _closed(decision["gates"]), decision["last_sent"]]
        for each in found["sinks"]
        for atom, decision in each["atoms"].items()
    ]
    table("Decisions", ["sink", "field", "decision", "gates of the best claim", "last sent"], decided)
    columns = ["sink", "state", "reason", "sink_ref", "sink_etag", "synced_at", "mapping_version"]
    outcomes = [[*(each[c] for c in columns), (each["last_outcome"] or {}).get("outcome")] for each in found["sinks"]]
    table("Sinks", [*columns, "last outcome"], outcomes)
    tell_steps(found["steps"])
    for each in [*found["sinks"], found]:
        safety = each["safe_to_replay"]
        place = each.get("sink", "all")
        typer.echo(f"{place}: safe to replay: {'yes' if safety['safe'] else 'no'}, because {safety['because']}")


def _closed(gates: list[dict[str, Any]]) -> str:
    closed = [f"{gate}: {word}" for gate, word in (gates[0]["gates"].items() if gates else ()) if word != "open"]
    return ", ".join(closed) or ("open" if gates else "-")


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
        entity_id = reading.entity_id(tx, workspace_id, name)
        audit.record_read(tx, workspace_id, actor=ACTOR, action=f"entity.{action}", object=entity_id, now=utc_now())
        return found

    with runner.database.begin(workspace_id) as tx:
        return both(tx)
