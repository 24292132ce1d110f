"""``source test`` and ``source capabilities``: what a server can do, measured now or when it was last looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.auth import token_store
from connector_runner.bootstrap import Runner
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.probing.findings import Finding
from connector_runner.connectors.probing.narrowing import disagreements
from connector_runner.intake import polling, probing
from connector_runner.kernel.clock import utc_now

Name = Annotated[str, typer.Argument(metavar="NAME")]
_COLUMNS = ["record type", "capability", "declared", "measured", "evidence"]


def add_to(app: typer.Typer) -> None:
    """Add both commands to ``source``."""
    app.command("test")(try_out)
    app.command("capabilities")(capabilities)


def try_out(name: Name, workspace: Workspace = None, as_json: Json = False) -> None:
    """Ask the system whether it can be read with these settings, and what it can do; that is kept, no record is."""
    runner = open_runner()
    source = _source(runner, name, workspace)
    with runner.database.begin(source.workspace_id) as tx:
        token_store.forget_failures(tx, source.workspace_id, source.data_source_id)
        audit.append(
            tx, source.workspace_id, actor=ACTOR, action="source.test",
            object=f"data_source/{source.data_source_id}", now=utc_now(),
        )  # fmt: skip
    outcome: dict[str, Any] = {"name": source.name, **polling.test_connection(runner, source)}
    answering = [kind for kind, found in outcome["resources"].items() if found["ok"]]
    found = probing.probe(runner, source, now=utc_now(), only=answering) if answering else probing.Probe()
    outcome |= _document(source, found.findings)
    outcome["drift"] = [
        {"resource_type": one.resource_type, "capability": one.capability, "before": one.before, "now": one.now}
        for one in found.drifts
    ]
    show(outcome, as_json, lambda: _tell_test(outcome))
    if not outcome["ok"]:
        raise typer.Exit(1)


def capabilities(
    name: Name,
    resource: Annotated[str | None, typer.Option("--resource", help="One record type only.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """What the system was measured to do when it was last looked at, and what has changed since before."""
    runner = open_runner()
    source = _source(runner, name, workspace)
    known = [one for one in probing.matrix(runner.database, source) if resource in (None, one.resource_type)]
    outcome = {"name": source.name, **_document(source, known)}
    show(outcome, as_json, lambda: _tell_matrix(outcome))


def _source(runner: Runner, name: str, workspace: str | None) -> DataSource:
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        return directory.load(tx, workspace_id, name)


def _document(source: DataSource, findings: Sequence[Finding]) -> dict[str, Any]:
    sink = source.settings.sink
    differing = disagreements(sink, findings) if sink is not None else []
    return {
        "strategies": probing.strategies(findings),
        "capabilities": [probing.as_document(one) for one in findings],
        "disagreements": [
            {"capability": one.capability, "stated": one.stated, "declared": one.declared} for one in differing
        ],
    }


def _tell_test(outcome: dict[str, Any]) -> None:
    lines = [
        (
            kind,
            "ok" if found["ok"] else found["code"],
            found.get("records"),
            outcome["strategies"].get(kind),
            found.get("detail"),
        )
        for kind, found in outcome["resources"].items()
    ]
    table(outcome["name"], ["record type", "answer", "records", "read by", "detail"], lines)
    _tell_matrix(outcome)
    for one in outcome["drift"]:
        typer.echo(f"changed: {one['resource_type']} {one['capability']} was {one['before']}, is {one['now']}")


def _tell_matrix(outcome: dict[str, Any]) -> None:
    rows = outcome["capabilities"]
    changes = any(row.get("previous") for row in rows)
    columns = [*_COLUMNS, "before"] if changes else _COLUMNS
    table("Capabilities", columns, [_line(row, changes=changes) for row in rows])
    for one in outcome["disagreements"]:
        typer.echo(
            f"the settings state {one['capability']}: {one['stated']}, the server declares {one['declared']};"
            " the settings win"
        )


def _line(row: dict[str, Any], *, changes: bool) -> list[Any]:
    shown = [
        row["resource_type"] or "(server)",
        row["capability"],
        row["declared"],
        row["measured"],
        ", ".join(row["evidence"]),
    ]
    return [*shown, row.get("previous")] if changes else shown
