"""``outbound``: what leaves, what does not, why, and how it is taken back."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from connector_runner.audit import log as audit
from connector_runner.bootstrap import Runner
from connector_runner.cli.console import (
    ACTOR,
    Json,
    Since,
    Until,
    Workspace,
    hint_outbound,
    open_runner,
    plain,
    show,
    sinks_of,
    table,
    watching,
    workspace_of,
)
from connector_runner.infra.database import Tx
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import is_uuid
from connector_runner.outbound.operating import logbook, undo_store, undoing
from connector_runner.outbound.operating import preview as previews
from connector_runner.outbound.operating import status as lanes_of
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.world import reading

_LOOK_EVERY_S: Final = 0.5

app = typer.Typer(help="Writes to sinks.", no_args_is_help=True)

Sink = Annotated[str | None, typer.Option("--sink", help="One sink by its name.")]
Entity = Annotated[str | None, typer.Option("--entity", metavar="ID|CANONICAL_ID")]
Mapping = Annotated[
    str | None,
    typer.Option(
        "--mapping", metavar="VERSION", help="A mapping, `fhir_r4/patient`, a release of it or a whole version."
    ),
]
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
        sinks = [each for each in lanes_of.lanes_by_state(tx, workspace_id) if sink in (None, each["name"])]
        lanes = lanes_of.lanes(tx, workspace_id, sink=sink, state=state, limit=limit)

    def tell() -> None:
        states = list(sinks[0]["lanes"]) if sinks else []
        table(
            "Sinks",
            ["sink", *states, "paused", "drift"],
            [
                [
                    s["name"],
                    *s["lanes"].values(),
                    s["paused_reason"],
                    " ".join(f"{k}={n}" for k, n in s["drift"].items()),
                ]
                for s in sinks
            ],
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
    """The exact request that would be sent to a sink for an entity now, and what each gate says. Nothing is sent.

    Reads the record in the sink, at the sink's pace. The access is noted.
    """
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    found = asdict(previews.preview(runner.outbound, workspace_id, entity, sink))
    _note(runner, workspace_id, "outbound.preview", found["entity_id"], {"sink": sink})
    show(found, as_json, lambda: _tell_preview(found))


def _tell_preview(found: dict[str, Any]) -> None:
    because = ": ".join(str(part) for part in (found["reason"], found["detail"]) if part)
    typer.echo(f"{found['sink']}: {found['action']}" + (f" ({because})" if because else ""))
    if found["target"]:
        typer.echo(f"the sink holds {found['target']['ref']}, version {found['target']['etag'] or 'unknown'}")
    if found["request"]:
        request = found["request"]
        typer.echo(f"{request['method']} {request['path']}")
        for name, value in request["headers"].items():
            typer.echo(f"  {name}: {value}")
        typer.echo(exact_json.dumps(plain(request["body"])))
    withheld = {item["atom"]: item["code"] for item in found["withheld"]}
    lines = [
        [
            atom,
            claim["source"],
            claim["source_system"],
            claim["confidence"],
            *claim["gates"].values(),
            withheld.get(atom),
        ]
        for atom, claims in found["gates"].items()
        for claim in claims
    ]
    gates = next((list(claim["gates"]) for claims in found["gates"].values() for claim in claims), [])
    table("Gates", ["field", "source", "system", "confidence", *gates, "withheld"], lines)


@app.command("log")
def log(
    sink: Sink = None,
    entity: Entity = None,
    mapping: Mapping = None,
    since: Since = None,
    until: Until = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", help="landed, unknown, conflict, poison …; open: none yet.")
    ] = None,
    bodies: Annotated[bool, typer.Option("--bodies", help="Also before and after; the access is noted.")] = False,
    limit: Limit = 50,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """What was written, the latest first: in a window, by a mapping, to a sink, of an entity."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        chosen = _selection(tx, workspace_id, sink, entity, mapping, since, until)
        writes: list[dict[str, Any]] = logbook.entries(tx, workspace_id, chosen, outcome=outcome, limit=limit)
        if bodies:
            writes = logbook.with_bodies(tx, runner.sealer, workspace_id, writes)
    if bodies:
        _note(runner, workspace_id, "outbound.log", "write_log", {"writes": [write["write_id"] for write in writes]})
    columns = ["written_at", "sink", "operation", "outcome", "http_status", "code", "sink_ref", "mapping_version",
               "undone_by", "entity_id", "lane_id"]  # fmt: skip

    def tell() -> None:
        table("Writes", columns, [[write[name] for name in columns] for write in writes])
        for write in writes if bodies else ():
            typer.echo(f"{write['written_at']:%Y-%m-%d %H:%M:%S} {write['sink']} {write['sink_ref']}")
            for name in ("before", "sent", "answer"):
                typer.echo(f"  {name}: {exact_json.dumps(plain(write[name]))}")

    show({"writes": writes}, as_json, tell)


@app.command("undo")
def undo(
    mapping: Mapping = None,
    since: Since = None,
    until: Until = None,
    sink: Sink = None,
    entity: Entity = None,
    apply: Annotated[bool, typer.Option("--apply", help="Send the inverse writes.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="With --apply: seconds to wait until all is undone.")
    ] = 0,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """What taking writes back would restore, and what it leaves alone; with --apply, have it done.

    What others edited since stays theirs. The values taken back are not sent again until they or the mapping
    change, or `outbound retry` names the lane. Exit 1 where something is left for a person.
    """
    if mapping is None and since is None:
        raise typer.BadParameter("say which writes: --mapping, or --since (and --until)")
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        chosen = _selection(tx, workspace_id, sink, entity, mapping, since, until)
    if apply:
        _apply_undo(runner, workspace_id, chosen, wait_s, as_json)
        return
    with watching("records") as progress:
        found = [asdict(each) for each in undoing.survey(runner.outbound, workspace_id, chosen, progress=progress)]
    _note(runner, workspace_id, "outbound.undo_shown", mapping or "window", {"lanes": len(found)})
    counts = Counter(each["action"] for each in found)
    show({"records": found, "counts": dict(counts)}, as_json, lambda: _tell_undo(found, counts))


def _tell_undo(found: list[dict[str, Any]], counts: Counter[str]) -> None:
    for each in found:
        typer.echo(
            f"{each['sink']} {each['sink_ref'] or '-'} (entity {each['entity_id']}), {len(each['writes'])} writes:"
            f" {each['action']}" + (f", {each['reason']}" if each["reason"] else "")
        )
        for piece in each["restored"]:
            typer.echo(f"  {piece['field']} -> {exact_json.dumps(plain(piece['to']))}")
        for piece in each["skipped"]:
            typer.echo(f"  {piece['field']} stays: {piece['code']}")
    words = ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))
    typer.echo(f"{words or 'no such writes'}; nothing was sent, --apply sends it")


def _apply_undo(runner: Runner, workspace_id: str, chosen: Selection, wait_s: float, as_json: bool) -> None:
    with watching("records") as progress:
        asked = undoing.ask(runner.outbound, workspace_id, chosen, actor=ACTOR, progress=progress)
    hint_outbound(runner, workspace_id, chosen.sink)
    end = time.monotonic() + wait_s
    while True:
        with runner.database.begin(workspace_id) as tx:
            standing = undo_store.requests(tx, workspace_id, asked.undo_id)
        still = sum(1 for row in standing if row["status"] == "open")
        if not still or time.monotonic() >= end:
            break
        time.sleep(_LOOK_EVERY_S)
    found = asdict(asked) | {"records": standing, "open": still}

    def tell() -> None:
        typer.echo(f"undo {asked.undo_id}: {asked.writes} writes of {asked.lanes} records, {still} not settled yet")
        columns = ["sink", "sink_ref", "status", "pieces", "skipped", "state", "reason", "lane_id"]
        table("Records", columns, [[row[name] for name in columns] for row in standing])
        if asked.created:
            lines = [[each["sink"], each["sink_ref"], each["lane_id"]] for each in asked.created]
            table("Made by these writes: for a person to remove in the sink", ["sink", "record", "lane"], lines)

    show(found, as_json, tell)
    if asked.created or (wait_s and still):
        raise typer.Exit(1)


@app.command("retry")
def retry(
    lanes: Annotated[list[str] | None, typer.Argument(metavar="LANE…", help="Ids of lanes.")] = None,
    sink: Annotated[str | None, typer.Option("--sink", help="All that stand still at this sink.")] = None,
    undone: Annotated[
        bool, typer.Option("--undone", help="With --sink: also let values go again that an undo took back.")
    ] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Put lanes back that are quarantined, unknown or paused. One whose answer was lost is read back first.

    A lane that is named also sends again what an undo took back.
    """
    if not lanes and sink is None:
        raise typer.BadParameter("name lanes, or a sink with --sink")
    for lane in lanes or ():
        if not is_uuid(lane):
            raise typer.BadParameter("a lane's id is a UUID", param_hint="LANE")
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    _check_sink(runner, workspace_id, sink)
    done = lanes_of.retry(runner.outbound, workspace_id, lane_ids=lanes or None, sink=sink, actor=ACTOR, undone=undone)
    hint_outbound(runner, workspace_id, sink)
    found = {"retried": done.lanes, "let_go": done.let_go}
    words = f"{done.lanes} lanes put back" + (f", {done.let_go} may send again what was undone" if done.let_go else "")
    show(found, as_json, lambda: typer.echo(words))


def _selection(
    tx: Tx,
    workspace_id: str,
    sink: str | None,
    entity: str | None,
    mapping: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Selection:
    entity_id = reading.entity_id(tx, workspace_id, entity) if entity else None
    return Selection(mapping=mapping, since=since, until=until, sink=sink, entity_id=entity_id)


def _note(runner: Runner, workspace_id: str, action: str, about: str, detail: dict[str, Any]) -> None:
    with runner.database.begin(workspace_id) as tx:
        audit.record_read(tx, workspace_id, actor=ACTOR, action=action, object=about, detail=detail, now=utc_now())


def _check_sink(runner: Runner, workspace_id: str, sink: str | None) -> None:
    if sink is not None and sink not in {each.name for each in sinks_of(runner, workspace_id)}:
        raise Misconfigured("there is no such sink that is enabled", code="no_such_sink", where=sink)
