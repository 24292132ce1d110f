"""``link`` and ``clusters``: which entities are the same, why, and a person's word about it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.bootstrap import Runner
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, watching, workspace_of
from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import utc_now
from connector_runner.resolution import evidence_store, link_store, service, store
from connector_runner.world import reading

app = typer.Typer(help="Links between entities that are the same person.", no_args_is_help=True)

COLUMNS = ["at", "action", "one", "other", "method", "rule", "bits", "actor", "reason"]

One = Annotated[str, typer.Argument(metavar="ONE", help="An entity: its id or canonical id.")]
Other = Annotated[str, typer.Argument(metavar="OTHER", help="The other.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]
Actor = Annotated[str, typer.Option("--actor", help="Who decides.")]


@app.command("list")
def list_links(
    entity: Annotated[str | None, typer.Argument(metavar="[ENTITY]", help="Only links of this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """What became of links, the latest first: by which rule, on what evidence, or whose word."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        entity_id = reading.entity_id(tx, workspace_id, entity) if entity else None
        found = [_link(row) for row in link_store.link_events(tx, workspace_id, entity_id, limit)]
        note = {"count": len(found)}
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="link.list", object=entity_id or "entity", detail=note, now=utc_now()
        )
    show({"links": found}, as_json, lambda: table("Links", COLUMNS, [[row[c] for c in COLUMNS] for row in found]))


@app.command("revert")
def revert(
    one: One, other: Other, reason: Reason, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False
) -> None:
    """They are not the same: take the link back for good."""
    _decide(one, other, False, reason, actor, workspace, as_json)


@app.command("make")
def make(
    one: One, other: Other, reason: Reason, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False
) -> None:
    """They are the same, whatever the rules say."""
    _decide(one, other, True, reason, actor, workspace, as_json)


def clusters(
    entity_type: Annotated[str, typer.Option("--entity-type", help="Such as patient or practitioner.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a source record: canonical_id,entity_id.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Which source records are one entity, once all that waits was compared."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    kind = "patient" if entity_type == "person" else entity_type
    _work_off(runner, workspace_id)
    with runner.database.begin(workspace_id) as tx:
        note = {"entity_type": kind, "count": store.records(tx, workspace_id, kind)}
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="clusters.export", object="entity", detail=note, now=utc_now()
        )
    found = _pages(runner, workspace_id, kind)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["canonical_id", "entity_id"])
        for page in found:
            writer.writerows(page)
        return
    grouped: dict[str, list[str]] = {}
    for canonical, cluster in chain.from_iterable(found):
        grouped.setdefault(cluster, []).append(canonical)
    listed = [{"entity_id": cluster, "members": names} for cluster, names in grouped.items() if len(names) > 1]
    records = sum(map(len, grouped.values()))
    summary = {"entity_type": kind, "records": records, "entities": len(grouped), "clusters": listed}
    show(summary, as_json, lambda: table("Clusters", ["entity_id", "members"], _lines(listed)))


def _pages(runner: Runner, workspace_id: str, kind: str) -> Iterator[list[tuple[str, str]]]:
    """Page by page, each in a transaction of its own: nothing is held while whoever reads takes a page."""
    after = ""
    while True:
        with runner.database.begin(workspace_id) as tx:
            page = evidence_store.clusters_after(tx, workspace_id, kind, after)
        if not page:
            return
        yield page
        after = page[-1][0]


def _lines(listed: list[dict[str, Any]]) -> list[list[object]]:
    return [[cluster["entity_id"], ", ".join(cluster["members"])] for cluster in listed]


def _work_off(runner: Runner, workspace_id: str) -> None:
    with watching("comparing") as tell:
        done = 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            if tell is not None:
                tell(done, done + waiting)

        with runner.database.begin(workspace_id) as tx:
            waiting = store.waiting(tx, workspace_id)
        service.work_off(runner.database, workspace_id, now=utc_now(), progress=progress, tell=runner.resolved)


def _decide(one: str, other: str, same: bool, reason: str, actor: str, workspace: str | None, as_json: bool) -> None:
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    now = utc_now()

    def decide(tx: Tx) -> list[str]:
        ids = [reading.entity_id(tx, workspace_id, name) for name in (one, other)]
        service.decide(tx, workspace_id, ids[0], ids[1], same=same, actor=actor, reason=reason, now=now)
        return ids

    ids = runner.database.retrying(workspace_id, decide)
    done = service.resolve(runner.database, workspace_id, now=now, tell=runner.resolved)
    outcome = {"one": ids[0], "other": ids[1], "same": same, "made": done.made, "parted": done.parted}
    word = "the same" if same else "not the same"
    show(
        outcome, as_json, lambda: typer.echo(f"{one} and {other} are {word}; it stays so until a person says otherwise")
    )


def _link(row: dict[str, Any]) -> dict[str, Any]:
    names = {"one": row["one_canonical_id"] or row["one"], "other": row["other_canonical_id"] or row["other"]}
    kept = ("id", "at", "action", "method", "rule", "bits", "features", "version", "actor", "reason")
    return {name: row[name] for name in kept} | names
