"""``audit list``, ``audit export`` and ``audit actions``: who did what, and who looked at what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from connector_runner.audit import actions, exporting, log, reading
from connector_runner.audit.reading import Asked, Logged
from connector_runner.cli.console import (
    ACTOR,
    Json,
    Since,
    Until,
    Workspace,
    open_runner,
    show,
    table,
    watching,
    workspace_of,
)
from connector_runner.kernel.clock import utc_now
from connector_runner.world import reading as world

Entity = Annotated[
    str | None, typer.Option("--entity", metavar="ID|CANONICAL_ID", help="What was done to it, and who looked at it.")
]
Actor = Annotated[str | None, typer.Option("--actor", help="By this name, or on the authority of os:NAME.")]
Action = Annotated[str | None, typer.Option("--action", help="This action; a family ends in a dot: verdict.")]
After = Annotated[str | None, typer.Option("--after", metavar="PLACE", help="What the page before gave as next.")]
Form = Annotated[str, typer.Option("--format", help="ndjson or fhir (AuditEvent and Provenance, R4).")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``audit``."""
    app.command("list")(list_all)
    app.command("export")(export)
    app.command("actions")(known)


def list_all(
    entity: Entity = None,
    actor: Actor = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    after: After = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Who did what and who looked at what, the latest first. To look is itself put on record."""
    place = _place(after)
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entity_id = world.entity_id(tx, workspace_id, entity) if entity else None
        asked = Asked(entity=entity_id, actor=actor, action=action, since=since, until=until)
        found = reading.latest(tx, workspace_id, asked, limit=limit, before=place)
        note = {"count": len(found)}
        log.record_read(
            tx, workspace_id, actor=ACTOR, action="audit.list", object=entity_id or "audit", detail=note, now=utc_now()
        )
    following = f"{found[-1].at.isoformat()}~{found[-1].key}" if len(found) == limit else None
    document = {"entries": [exporting.document(workspace_id, one) for one in found], "next": following}
    show(document, as_json, lambda: _tell(found, following))


def _place(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    at, separator, key = after.partition("~")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not separator:
        raise typer.BadParameter("not a place that a page before gave", param_hint="--after")
    return moment, key


def _tell(found: list[Logged], following: str | None) -> None:
    columns = ["at", "actor", "authority", "through", "action", "object"]
    table("Audit log", columns, [_line(one) for one in found])
    if following is not None:
        typer.echo(f"more: --after {following}")


def _line(one: Logged) -> list[Any]:
    by = one.detail.get("by") or {}
    return [one.at, one.actor, by.get("who"), by.get("through"), one.action, one.object]


def export(
    since: Since = None,
    until: Until = None,
    form: Form = "ndjson",
    entity: Entity = None,
    actor: Actor = None,
    action: Action = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Written anew; else standard output.")
    ] = None,
    workspace: Workspace = None,
) -> None:
    """Write the log out, one JSON document a line, the oldest first; that it was is put on record."""
    if form not in exporting.FORMATS:
        raise typer.BadParameter(f"one of {', '.join(exporting.FORMATS)}", param_hint="--format")
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entity_id = world.entity_id(tx, workspace_id, entity) if entity else None
        asked = Asked(entity=entity_id, actor=actor, action=action, since=since, until=until or now)
        total = reading.count(tx, workspace_id, asked)
        detail = {
            "format": form,
            "since": since.isoformat() if since is not None else None,
            "until": asked.until.isoformat() if asked.until is not None else None,
            "action": action,
            "count": total,
        }
        about = entity_id or "audit"
        log.append(tx, workspace_id, actor=ACTOR, action="audit.export", object=about, detail=detail, now=now)
    with _writing(out) as stream, watching("entries") as tell:
        progress = (lambda done: tell(done, total)) if tell is not None else (lambda done: None)
        for one in reading.all_of(runner.database, workspace_id, asked, progress=progress):
            stream.write(exporting.line(workspace_id, one, form) + "\n")


@contextmanager
def _writing(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with out.open("w", encoding="utf-8") as stream:
        yield stream


def known(
    markdown: Annotated[bool, typer.Option("--markdown", help="The table of docs/audit.md.")] = False,
    as_json: Json = False,
) -> None:
    """Every action that the log knows."""
    every = list(actions.ACTIONS.values())
    columns = ["action", "kind", "kept", "meaning"]
    rows = [[one.name, one.kind, "noted, sealed" if one.noted else "chained", one.meaning] for one in every]

    def tell() -> None:
        if markdown:
            typer.echo(actions.markdown(), nl=False)
        else:
            table("Actions", columns, rows)

    show({"actions": [dict(zip(columns, row, strict=True)) for row in rows]}, as_json, tell)
