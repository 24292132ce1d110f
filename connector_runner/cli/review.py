"""``review``: what people are asked, what they answer, and how right the judge is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from connector_runner.audit import log as audit
from connector_runner.bootstrap import Runner
from connector_runner.cli import review_settings
from connector_runner.cli.console import (
    ACTOR,
    Json,
    Since,
    Until,
    Workspace,
    open_runner,
    show,
    table,
    workspace_of,
)
from connector_runner.cli.review_settings import document_in
from connector_runner.infra.database import Tx
from connector_runner.infra.queue import RELEASE, RESOLVE
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import is_uuid
from connector_runner.review import ageing, item_store, queue, showing
from connector_runner.review.items import STATUSES, Answer, Item, Refused
from connector_runner.review.verdicts import Verdict

app = typer.Typer(help="What was said in doubt: questions to people, their answers, the judge.", no_args_is_help=True)
review_settings.register(app)

COLUMNS = ["id", "priority", "reason", "category", "kind", "entity_type", "status", "assigned_to", "created_at"]

ItemId = Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")]
ItemOrEvent = Annotated[str, typer.Argument(metavar="ITEM|EVENT", help="The id of an item, or of an event.")]
ItemIds = Annotated[list[str], typer.Argument(metavar="ITEM…", help="1 to 100 ids.")]
Fields = Annotated[list[str] | None, typer.Option("--field", help="Of an event only this field; may be repeated.")]
Actor = Annotated[str, typer.Option("--actor", help="Who it is.")]
Notes = Annotated[str | None, typer.Option("--notes", "--reason", help="Kept with the decision.")]
Reason = Annotated[str, typer.Option("--reason", "--notes", help="Why; kept with the decision.")]
Seen = Annotated[int | None, typer.Option("--version", help="The item's version that you saw.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000)]
Offset = Annotated[int, typer.Option("--offset", min=0)]

T = TypeVar("T")


def _opened(workspace: str | None) -> tuple[Runner, str]:
    runner = open_runner()
    return runner, workspace_of(runner, workspace)


@app.command("list")
def list_items(
    status: Annotated[list[str] | None, typer.Option("--status", help=f"{', '.join(STATUSES)}.")] = None,
    entity_type: Annotated[str | None, typer.Option("--type")] = None,
    reason: Annotated[str | None, typer.Option("--for", help="One reason: contradicted, sign_off …")] = None,
    category: Annotated[str | None, typer.Option("--category")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="So urgent at least: 0 is the most.")] = None,
    assigned_to: Annotated[str | None, typer.Option("--assigned-to")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    offset: Offset = 0,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Items that wait, the most urgent first; or those of other states."""
    if unknown := sorted({*(status or ())} - {*STATUSES}):
        raise typer.BadParameter(f"there is no status {unknown[0]!r}", param_hint="--status")
    _page(
        workspace, as_json, limit, offset, status=status or ["pending", "in_progress"], entity_type=entity_type,
        reason=reason, category=category, priority=priority, assigned_to=assigned_to, created_after=since,
        created_before=until,
    )  # fmt: skip


@app.command("my-queue")
def my_queue(
    actor: Actor = ACTOR, limit: Limit = 20, offset: Offset = 0, workspace: Workspace = None, as_json: Json = False
) -> None:
    """What you work on."""
    _page(workspace, as_json, limit, offset, status=["in_progress"], assigned_to=actor)


@app.command("history")
def history(
    action: Annotated[str | None, typer.Option("--action", help="approved, rejected or corrected.")] = None,
    reviewed_by: Annotated[str | None, typer.Option("--by")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    offset: Offset = 0,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Items that are over, the latest first: decided, and expired."""
    _page(
        workspace, as_json, limit, offset, order="completed_at", status=["completed", "rejected", "expired"],
        action=action, reviewed_by=reviewed_by, completed_after=since, completed_before=until,
    )  # fmt: skip


def _page(
    workspace: str | None, as_json: bool, limit: int, offset: int, *, order: str = "priority", **wanted: Any
) -> None:
    runner, workspace_id = _opened(workspace)
    with runner.database.begin(workspace_id) as tx:
        found, total = queue.listing(tx, workspace_id, order=order, limit=limit, offset=offset, **wanted)
    page = [showing.summary(workspace_id, item) for item in found]
    more = offset + len(page) < total
    result = {"items": page, "total": total, "has_more": more, "continuation_token": offset + limit if more else None}
    show(result, as_json, lambda: table(f"{total} items", COLUMNS, [[row[c] for c in COLUMNS] for row in page]))


@app.command("show")
def show_one(item: ItemId, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False) -> None:
    """One item with its events, its entity and what was said; the access is noted."""
    runner, workspace_id = _opened(workspace)
    found = _read(runner, workspace_id, item, actor, lambda tx: showing.context(tx, runner.sealer, workspace_id, item))
    show(found, as_json, lambda: table("Item", ["key", "value"], list(found.items())))


@app.command("diff")
def diff(item: ItemId, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False) -> None:
    """What was said, and what a correction made of it; the access is noted."""
    runner, workspace_id = _opened(workspace)
    found = _read(runner, workspace_id, item, actor, lambda tx: showing.diff(tx, workspace_id, item))
    show(found, as_json, lambda: table("Diff", ["key", "value"], list(found.items())))


@app.command("correction-schema")
def correction_schema(item: ItemId, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False) -> None:
    """What a correction may say, and how it stands now; the access is noted."""
    runner, workspace_id = _opened(workspace)
    found = _read(
        runner, workspace_id, item, actor,
        lambda tx: showing.correction_schema(tx, runner.mappings, workspace_id, item),
    )  # fmt: skip
    show(found, as_json, lambda: table("Schema", ["field", "schema"], list(found["fields"].items())))


def _read(runner: Runner, workspace_id: str, item: str, actor: str, look: Callable[[Tx], T]) -> T:
    with runner.database.begin(workspace_id) as tx:
        found = look(tx)
        audit.record_read(tx, workspace_id, actor=actor, action="review.show", object=item, now=utc_now())
    return found


@app.command("claim")
def claim(item: ItemId, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False) -> None:
    """Take an item: nobody else decides it until you give it back."""
    runner, workspace_id = _opened(workspace)
    _tell(
        workspace_id, as_json,
        runner.database.retrying(
            workspace_id, lambda tx: queue.claim(tx, workspace_id, item, actor=actor, now=utc_now())
        ),
    )  # fmt: skip


@app.command("unclaim")
def unclaim(item: ItemId, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False) -> None:
    """Give an item back."""
    runner, workspace_id = _opened(workspace)
    _tell(
        workspace_id, as_json,
        runner.database.retrying(
            workspace_id, lambda tx: queue.unclaim(tx, workspace_id, item, actor=actor, now=utc_now())
        ),
    )  # fmt: skip


@app.command("reopen")
def reopen(item: ItemId, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False) -> None:
    """Ask an expired item again. Another open one of the same entity takes its questions, and is what is shown."""
    runner, workspace_id = _opened(workspace)
    _tell(
        workspace_id, as_json,
        runner.database.retrying(
            workspace_id,
            lambda tx: ageing.reopen(tx, runner.answer_handlers, workspace_id, item, actor=actor, now=utc_now()),
        ),
    )  # fmt: skip


@app.command("approve")
def approve(
    item: ItemOrEvent,
    field: Fields = None,
    notes: Notes = None,
    version: Seen = None,
    actor: Actor = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """It is true: what was asked about is worth 0.95 from now on, and may leave. Of a match: they are the same."""
    _decide(item, Answer("approved", actor, notes), field, version, workspace, as_json)


@app.command("reject")
def reject(
    item: ItemOrEvent,
    reason: Reason,
    field: Fields = None,
    version: Seen = None,
    actor: Actor = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """It is not true: it counts for nothing from now on. Of a match: they are not the same."""
    _decide(item, Answer("rejected", actor, reason), field, version, workspace, as_json)


@app.command("correct")
def correct(
    item: ItemId,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON object of fields as they should be, or -.")],
    notes: Notes = None,
    version: Seen = None,
    actor: Actor = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """It is otherwise: what FILE says holds from now on, at 1.0 (``correction-schema`` says what may stand there)."""
    _decide(item, Answer("corrected", actor, notes, document_in(file)), None, version, workspace, as_json)


def _decide(
    item_or_event: str, answer: Answer, fields: list[str] | None, version: int | None, workspace: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    runner, workspace_id = _opened(workspace)
    with runner.database.begin(workspace_id) as tx:
        is_item = is_uuid(item_or_event) and item_store.by_id(tx, workspace_id, item_or_event) is not None
    if not is_item and answer.action != "corrected":
        _decide_event(runner, workspace_id, item_or_event, answer, fields, as_json)
        return
    if fields:
        raise typer.BadParameter("an item is answered as a whole; name an event", param_hint="--field")
    found = runner.database.retrying(
        workspace_id,
        lambda tx: queue.decide(
            tx, runner.answer_handlers, workspace_id, item_or_event, answer, now=utc_now(), seen_version=version
        ),
    )
    _hint(runner, workspace_id)
    _tell(workspace_id, as_json, found)


def _decide_event(
    runner: Runner, workspace_id: str, event: str, answer: Answer, fields: list[str] | None, as_json: bool
) -> None:
    approve = answer.action == "approved"
    verdict = Verdict(event, approve, answer.actor, fields=tuple(fields or ()), reason=answer.notes)
    verdict_id = runner.database.retrying(
        workspace_id, lambda tx: runner.answers.decide(tx, workspace_id, verdict, now=utc_now())
    )
    _hint(runner, workspace_id)
    outcome = {"event_id": event, "verdict": answer.action, "verdict_id": verdict_id}
    show(outcome, as_json, lambda: typer.echo(f"{answer.action}: {event}"))


@app.command("batch-approve")
def batch_approve(
    items: ItemIds, notes: Notes = None, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False
) -> None:
    """Approve up to a hundred items, each by itself. Exit 1 when one failed."""
    _batch(items, Answer("approved", actor, notes), workspace, as_json)


@app.command("batch-reject")
def batch_reject(
    items: ItemIds, reason: Reason, actor: Actor = ACTOR, workspace: Workspace = None, as_json: Json = False
) -> None:
    """Reject up to a hundred items, each by itself. Exit 1 when one failed."""
    _batch(items, Answer("rejected", actor, reason), workspace, as_json)


def _batch(items: list[str], answer: Answer, workspace: str | None, as_json: bool) -> None:
    runner, workspace_id = _opened(workspace)
    result = queue.batch(runner.database, runner.answer_handlers, workspace_id, items, answer)
    _hint(runner, workspace_id)

    def tell() -> None:
        typer.echo(f"{len(result['succeeded'])} {answer.action}")
        _tell_written(result["written"])
        for failed in result["failed"]:
            typer.echo(f"{failed['item_id']}: {failed['code']}: {failed['message']}", err=True)

    show(result, as_json, tell)
    if result["failed"]:
        raise typer.Exit(1)


def _tell_written(written: Sequence[Mapping[str, Any]]) -> None:
    """What was rejected is in a chart already, and stays there until somebody takes it back."""
    for each in written:
        undo = f"connector-runner outbound undo --entity {each['entity_id']} --since {each['since']}"
        typer.echo(f"{each['record']} was sent {each['field']}: `{undo}` shows how to take it back", err=True)


def _hint(runner: Runner, workspace_id: str) -> None:
    for task in (RELEASE, RESOLVE):
        runner.publisher.hint(task, workspace_id=workspace_id)


def _tell(workspace_id: str, as_json: bool, found: Item | Refused) -> None:
    """The item as it is now; or why not, with what changed, and exit 1."""
    if isinstance(found, Item):
        row = showing.summary(workspace_id, found)

        def done() -> None:
            typer.echo(f"{found.completed_action or found.status}: {found.id}")
            _tell_written(found.written)

        show(row, as_json, done)
        return
    refused = {
        "error": found.code, "message": found.message, "where": found.where, "changed": list(found.changed),
    }  # fmt: skip

    def tell() -> None:
        typer.echo(f"{found.where}: {found.message} ({found.code})", err=True)
        for change in found.changed:
            typer.echo(f"  {change.get('event_id')}: {change.get('because')} {change.get('by') or ''}", err=True)

    show(refused, as_json, tell)
    raise typer.Exit(1)
