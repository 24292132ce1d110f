"""``outbound same`` and ``outbound gaps``: what keeps a record from being created, and a person's word on it."""

from __future__ import annotations

from typing import Annotated

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, hint_outbound, open_runner, show, table, workspace_of
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import is_uuid
from connector_runner.outbound.planning import gap_store
from connector_runner.outbound.planning.duplicate_search import decide
from connector_runner.world import reading


def same(
    lane: Annotated[str, typer.Argument(metavar="LANE", help="Stands as possible_duplicate or other_person.")],
    record: Annotated[str | None, typer.Argument(metavar="TYPE/ID", help="The sink's record that it is.")] = None,
    none: Annotated[bool, typer.Option("--none", help="It is none of those: create it.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Say which record of the sink a patient is whom we know from conversations, or that there is none."""
    if (record is None) != none:
        raise typer.BadParameter("name the sink's record, or say --none")
    if not is_uuid(lane):
        raise typer.BadParameter("a lane's id is a UUID", param_hint="LANE")
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    decide(runner.outbound, workspace_id, lane, record, actor=ACTOR)
    hint_outbound(runner, workspace_id, None)
    words = "goes on with " + record if record else "is created"
    show({"lane": lane, "record": record}, as_json, lambda: typer.echo(f"lane {lane} {words}"))


def gaps(
    entity: Annotated[str | None, typer.Option("--entity", metavar="ID|CANONICAL_ID")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """List what is missing before records can be created, the longest known first."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        of = reading.entity_id(tx, workspace_id, entity) if entity else None
        found = gap_store.gaps(tx, workspace_id, entity_id=of, limit=limit)
        note = {"count": len(found)}
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="outbound.gaps", object=of or "entity", detail=note, now=utc_now()
        )
    columns = ["canonical_id", "entity_type", "field", "sink", "noticed_at"]
    show({"gaps": found}, as_json, lambda: table("Missing", columns, [[gap[c] for c in columns] for gap in found]))
