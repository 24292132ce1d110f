"""``status``: how it all is."""

from __future__ import annotations

from typing import Any

import typer

from connector_runner.bootstrap import Runner
from connector_runner.cli.alerts import COLUMNS
from connector_runner.cli.console import Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.observability import status as query
from connector_runner.observability import store


def status(workspace: Workspace = None, as_json: Json = False) -> None:
    """Sources, sinks, events, entities and queues; of all workspaces unless one is named."""
    found = gather(open_runner(), workspace)
    show(found, as_json, lambda: tell(found))


def gather(runner: Runner, workspace: str | None) -> dict[str, Any]:
    """The document that ``status --json`` prints."""
    if workspace is not None:
        ids = [workspace_of(runner, workspace)]
    else:
        with runner.database.sweep() as tx:
            ids = [row["workspace_id"] for row in store.workspaces(tx)]
    found = query.together([query.of_workspace(runner.database, runner.quarantine, each) for each in ids])
    return query.with_installation(found, query.of_installation(runner.database, runner.publisher))


def tell(found: dict[str, Any]) -> None:
    """For people."""
    typer.echo(f"{found['status']}: {found['events']['total']} events, {found['quarantine']['open']} in quarantine")
    for reason in found["reasons"]:
        subject = reason.get("source") or reason.get("sink")
        typer.echo("  " + ": ".join(str(part) for part in (subject, reason["code"], reason["detail"]) if part))
    if found["alerts"]:
        table("Alerts", COLUMNS, [[alert[name] for name in COLUMNS] for alert in found["alerts"]])
    table(
        "Sources",
        ["name", "type", "health", "reason", "last poll", "errors", "events"],
        [
            (s["name"], s["source_type"], s["health_status"], s["health_detail"], s["last_poll_at"],
             s["consecutive_errors"], s["event_count"])
            for s in found["sources"]
        ],
    )  # fmt: skip
    table(
        "Sinks",
        ["name", "synced", "pending", "failed", "lanes", "paused"],
        [
            (
                s["name"],
                s["synced"],
                s["pending"],
                s["failed"],
                {k: n for k, n in s["lanes"].items() if n},
                s["paused_reason"],
            )
            for s in found["sinks"]
        ],
    )
    table("Entities", ["type", "number"], sorted(found["entities"].items()))
    queues = found["queues"]
    table("Queues", ["queue", "hints"], sorted(queues.items()) if queues is not None else [("Redis is down", "")])
