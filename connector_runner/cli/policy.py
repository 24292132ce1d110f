"""``policy``: what may be read, said and written, and why not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.audit import log as audit
from connector_runner.cli.console import (
    ACTOR,
    Json,
    Workspace,
    hint_outbound,
    open_runner,
    show,
    table,
    workspace_of,
)
from connector_runner.connectors.directory import read_document
from connector_runner.connectors.settings import parse
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.observability import policies as checking
from connector_runner.outbound.operating import policies as applying
from connector_runner.policy import store
from connector_runner.policy.asking import ACTIONS, CHANNELS
from connector_runner.policy.purposes import PURPOSES
from connector_runner.policy.settings import PolicySettings

app = typer.Typer(help="Policy: what may be read, said and written.", no_args_is_help=True)


def one_of(words: tuple[str, ...], name: str, value: str | None) -> Any:
    """``value`` where it is one of ``words``. Raises BadParameter."""
    if value is not None and value not in words:
        raise typer.BadParameter(f"one of {', '.join(words)}", param_hint=name)
    return value


@app.command("check")
def check(
    entity: Annotated[str, typer.Argument(metavar="ID|CANONICAL_ID")],
    action: Annotated[str, typer.Option("--action", help=", ".join(ACTIONS))],
    purpose: Annotated[str | None, typer.Option("--purpose", help=", ".join(PURPOSES))] = None,
    sink: Annotated[str | None, typer.Option("--sink", help="Where it would be written.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help=", ".join(CHANNELS))] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Whether it may be done, or every reason against it and what that rests on."""
    asked = checking.Question(
        one_of(ACTIONS, "--action", action),
        one_of(PURPOSES, "--purpose", purpose),
        sink,
        one_of(CHANNELS, "--channel", channel),
    )
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    mappings = runner.mappings
    with runner.database.begin(workspace_id) as tx:
        found = checking.check(tx, mappings, workspace_id, entity, asked, utc_now())
        detail = {"action": asked.action, "purpose": found["purpose"], "allowed": found["allowed"]}
        audit.record_read(
            tx, workspace_id, actor=ACTOR, action="policy.check", object=found["entity_id"], detail=detail,
            now=utc_now(),
        )  # fmt: skip

    def tell() -> None:
        typer.echo("allowed" if found["allowed"] else "refused")
        lines = [[each["code"], ", ".join(each["rests_on"])] for each in found["refused"]]
        lines += [[f"{each['code']} ({field})", ", ".join(each["rests_on"])] for field, each in found["fields"].items()]
        table("Reasons", ["code", "rests on"], lines)

    show(found, as_json, tell)


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Let a policy hold in place of the one before."""
    documents = read_document(file)
    if len(documents) != 1:
        raise Misconfigured("expected one policy", code="file", where=str(file))
    policy = parse(PolicySettings, documents[0], file=str(file))
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    applied = applying.apply(runner.database, workspace_id, policy, actor=ACTOR, now=utc_now())
    if applied.changed:
        hint_outbound(runner, workspace_id)
    found = {"version": applied.version, "changed": applied.changed, "marked": applied.marked}
    show(found, as_json, lambda: typer.echo(f"policy {applied.version}, {'new' if applied.changed else 'unchanged'}"))


@app.command("show")
def show_policy(workspace: Workspace = None, as_json: Json = False) -> None:
    """The policy that holds, as it was laid down."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        version, body = store.body(tx, workspace_id)
        audit.record_read(tx, workspace_id, actor=ACTOR, action="policy.show", object=workspace_id, now=utc_now())
    found = {"version": version, "policy": body}
    show(found, as_json, lambda: table("Policy", ["part", "content"], sorted(body.items())))
