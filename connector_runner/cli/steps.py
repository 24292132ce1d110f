"""``outbound steps``: what one cause made, and where each step of it stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.operating.steps import steps as steps_of

COLUMNS = ("sink", "entity_type", "standing", "state", "reason", "reason_detail", "attempts", "sink_ref", "landed_at",
           "waits_for", "entity_id", "lane_id")  # fmt: skip


def steps(
    cause: Annotated[
        str, typer.Argument(metavar="CORRELATION_ID", help="What the events have in common, or the id of an event.")
    ],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """The writes that one cause makes (a patient, an appointment, a note), step by step, in each sink.

    A step waits for those that it refers to. `outbound retry LANE` tries the one that failed; the others follow.
    Exit 1 where a step failed.
    """
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = asdict(steps_of(tx, workspace_id, cause))
        entities = sorted({step["entity_id"] for step in found["steps"]})
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="outbound.steps", object="cause", detail={"entities": entities},
            now=utc_now(),
        )  # fmt: skip
    show(found, as_json, lambda: tell([found]))
    if found["standing"] == "failed":
        raise typer.Exit(1)


def tell(writes: list[dict[str, Any]]) -> None:
    """A table for each cause."""
    for write in writes:
        lines = [[_shown(step[name]) for name in COLUMNS] for step in write["steps"]]
        table(f"{write['cause']}: {write['standing']}", list(COLUMNS), lines)


def _shown(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, (list, tuple)) else value
