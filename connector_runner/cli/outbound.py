"""``outbound``: what leaves, what does not, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.infra.queue import DRAIN, RELEASE, sink_queue
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.observability import store
from connector_runner.outbound import status as outbound
from connector_runner.world import reading

app = typer.Typer(help="Writes to sinks.", no_args_is_help=True)

Sink = Annotated[str | None, typer.Option("--sink", help="One sink by its name.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000)]


@app.command("status")
def status(
    sink: Sink = None,
    state: Annotated[str | None, typer.Option(help="Lanes in this state only.")] = None,
    limit: Limit = 50,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Each sink's lanes by state, and the lanes one by one: where each is and why."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        sinks = [each for each in outbound.lanes_by_state(tx, workspace_id) if sink in (None, each["name"])]
        lanes = outbound.lanes(tx, workspace_id, sink=sink, state=state, limit=limit)

    def tell() -> None:
        states = list(sinks[0]["lanes"]) if sinks else []
        table(
            "Sinks", ["sink", *states, "paused"], [[s["name"], *s["lanes"].values(), s["paused_reason"]] for s in sinks]
        )
        columns = list(lanes[0]) if lanes else ["lane"]
        table("Lanes", columns, [list(lane.values()) for lane in lanes])

    show({"sinks": sinks, "lanes": lanes}, as_json, tell)


@app.command("preview")
def preview(
    entity: Annotated[str, typer.Argument(metavar="ID|CANONICAL_ID")],
    sink: Annotated[str, typer.Option("--sink", help="The sink's name.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """What would be sent to a sink for an entity now, and what each gate says. Nothing is sent."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    found = asdict(outbound.preview(runner.outbound, workspace_id, entity, sink))
    with runner.database.begin(workspace_id) as tx:
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="outbound.preview", object=found["entity_id"], now=utc_now()
        )
    show(found, as_json, lambda: table("Preview", ["key", "value"], list(found.items())))


@app.command("log")
def log(
    sink: Sink = None,
    entity: Annotated[str | None, typer.Option("--entity", metavar="ID|CANONICAL_ID")] = None,
    limit: Limit = 50,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """What was written, the latest first. Bodies stay sealed."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entity_id = reading.entity_id(tx, workspace_id, entity) if entity else None
        writes = outbound.write_log(tx, workspace_id, sink=sink, entity_id=entity_id, limit=limit)
    columns = list(writes[0]) if writes else ["write"]
    show({"writes": writes}, as_json, lambda: table("Writes", columns, [list(write.values()) for write in writes]))


@app.command("retry")
def retry(
    lanes: Annotated[list[str] | None, typer.Argument(metavar="LANE…", help="Ids of lanes.")] = None,
    sink: Annotated[str | None, typer.Option("--sink", help="All that stand still at this sink.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Put lanes back that are quarantined, unknown or paused. One whose answer was lost is read back first."""
    if not lanes and sink is None:
        raise typer.BadParameter("name lanes, or a sink with --sink")
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.sweep() as tx:
        sinks = [each for each in store.sinks(tx) if each.workspace_id == workspace_id]
    if sink is not None and sink not in {each.name for each in sinks}:
        raise Misconfigured("there is no such sink that is enabled", code="no_such_sink", where=sink)
    count = outbound.retry(runner.outbound, workspace_id, lane_ids=lanes or None, sink=sink, actor=ACTOR)
    runner.publisher.hint(RELEASE, workspace_id=workspace_id)
    for each in sinks:
        if sink in (None, each.name):
            queue = sink_queue(each.workspace_slug, each.name)
            runner.publisher.hint(DRAIN, queue=queue, workspace_id=workspace_id, sink_id=each.sink_id)
    show({"retried": count}, as_json, lambda: typer.echo(f"{count} lanes put back"))
