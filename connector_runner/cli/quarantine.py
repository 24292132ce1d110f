"""``quarantine``: what could not be used, and why."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.bootstrap import Runner
from connector_runner.cli.console import (
    ACTOR,
    Json,
    Workspace,
    hint_outbound,
    open_runner,
    show,
    table,
    watching,
    workspace_of,
)
from connector_runner.connectors import directory
from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import is_uuid
from connector_runner.outbound.operating import replay as replaying
from connector_runner.resilience.quarantine import Entry

_PAGE = 500

app = typer.Typer(help="What could not be used, kept with its context.", no_args_is_help=True)


Stage = Annotated[str | None, typer.Option("--stage", help="unify, poll, import, bulk, tombstones, release …")]
Code = Annotated[str | None, typer.Option("--code", help="One cause.")]
Source = Annotated[str | None, typer.Option("--source", help="One data source by its name.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids of entries.")]
Every = Annotated[bool, typer.Option("--all", help="Every open entry.")]


@app.command("list")
def list_all(
    stage: Stage = None,
    code: Code = None,
    source: Source = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Open entries, and how many each cause has."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = runner.quarantine.list(
            tx, workspace_id, stage=stage, code=code, data_source_id=_source_id(tx, workspace_id, source), limit=limit
        )
        entries = [asdict(entry) for entry in found]
        causes = [asdict(cause) for cause in runner.quarantine.causes(tx, workspace_id)]

    def tell() -> None:
        table("Causes", ["stage", "code", "entries"], [(c["stage"], c["code"], c["entries"]) for c in causes])
        columns = ["quarantine_id", "stage", "code", "place", "message", "times"]
        table("Open", columns, [[entry[c] for c in columns] for entry in entries])

    show({"entries": entries, "causes": causes}, as_json, tell)


@app.command("show")
def show_one(
    quarantine_id: Annotated[str, typer.Argument(metavar="ID")],
    body: Annotated[bool, typer.Option("--body", help="Also what came; the access is noted.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """One entry with its context."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entry = runner.quarantine.get(tx, workspace_id, _id(quarantine_id))
        if entry is None:
            raise BadRecord("there is no such entry in this workspace", code="unknown_entry", where=quarantine_id)
        found = asdict(entry)
        if body:
            found |= _body(runner.quarantine.body(tx, workspace_id, quarantine_id))
            audit.record_read(
                tx, workspace_id, actor=ACTOR, action="quarantine.show", object=quarantine_id, now=utc_now()
            )
    show(found, as_json, lambda: table("Quarantine", ["key", "value"], list(found.items())))


@app.command("replay")
def replay(
    quarantine_ids: Ids = None,
    stage: Stage = None,
    code: Code = None,
    source: Source = None,
    every: Every = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would become of each.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Try again: those that are named, or all of a cause. To be run when the mapping or the record is mended.

    Records land through today's mappings; lanes are put back and go under the same key. Exit 1 when one failed or
    was refused.
    """
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    entries = _chosen(runner, workspace_id, quarantine_ids, stage, code, source, every)
    with watching("entries") as progress:
        results = replaying.replay(
            runner, workspace_id, entries, actor=ACTOR, named=bool(quarantine_ids), dry_run=dry_run, progress=progress
        )
    if not dry_run and any(result.outcome in ("replayed", "put_back", "asked") for result in results):
        hint_outbound(runner, workspace_id)
    found = [asdict(result) for result in results]
    counts = dict(Counter(result.outcome for result in results))

    def tell() -> None:
        columns = ["quarantine_id", "stage", "code", "outcome", "reason", "message"]
        table("Would be" if dry_run else "Replayed", columns, [[each[c] for c in columns] for each in found])

    show({"entries": found, "counts": counts, "dry_run": dry_run}, as_json, tell)
    if counts.keys() & {"failed", "refused", "gone"}:
        raise typer.Exit(1)


@app.command("discard")
def discard(
    quarantine_ids: Ids = None,
    stage: Stage = None,
    code: Code = None,
    source: Source = None,
    every: Every = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Close entries for good: those that are named, or all of a cause. What was kept of them goes."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    ids = [e.quarantine_id for e in _chosen(runner, workspace_id, quarantine_ids, stage, code, source, every)]
    with runner.database.begin(workspace_id) as tx:
        closed = runner.quarantine.discard(tx, workspace_id, ids)
        if ids:
            audit.append(
                tx, workspace_id, actor=ACTOR, action="quarantine.discarded", object=ids[0],
                detail={"ids": ids[:100], "closed": closed}, now=utc_now(),
            )  # fmt: skip
    show({"discarded": closed}, as_json, lambda: typer.echo(f"{closed} discarded"))
    if not closed:
        raise typer.Exit(1)


def _chosen(
    runner: Runner,
    workspace_id: str,
    ids: list[str] | None,
    stage: str | None,
    code: str | None,
    source: str | None,
    every: bool,
) -> list[Entry]:
    """The open entries that are named, or those of a cause, the oldest first."""
    by_cause = stage is not None or code is not None or source is not None
    if bool(ids) + by_cause + every != 1:
        raise typer.BadParameter("name entries, or a cause (--stage, --code, --source), or --all")
    with runner.database.begin(workspace_id) as tx:
        if ids:
            return [_open_entry(runner, tx, workspace_id, _id(each)) for each in dict.fromkeys(ids)]
        source_id = _source_id(tx, workspace_id, source)
        found: list[Entry] = []
        while True:
            after = found[-1].quarantine_id if found else None
            page = runner.quarantine.list(
                tx, workspace_id, stage=stage, code=code, data_source_id=source_id, after=after, limit=_PAGE
            )
            found.extend(page)
            if len(page) < _PAGE:
                return found


def _open_entry(runner: Runner, tx: Tx, workspace_id: str, quarantine_id: str) -> Entry:
    entry = runner.quarantine.get(tx, workspace_id, quarantine_id)
    if entry is None or entry.status != "open":
        raise BadRecord("there is no such open entry in this workspace", code="unknown_entry", where=quarantine_id)
    return entry


def _source_id(tx: Tx, workspace_id: str, source: str | None) -> str | None:
    return None if source is None else directory.load(tx, workspace_id, source).data_source_id


def _id(text: str) -> str:
    if not is_uuid(text):
        raise typer.BadParameter("an entry's id is a UUID", param_hint="ID")
    return text


def _body(content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {"body": None}
    try:
        return {"body": content.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(content).decode("ascii")}
