"""``review stats|dashboard|performance|trends|calibration|policy|restore``: how review goes, and by what it goes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.review import figures, label_store, pending_store, policy_store, queue, switching
from connector_runner.review.calibration import measured

COLUMNS = ["version", "category", "labels", "passed", "precision", "precision_interval", "recall", "recall_interval",
           "brier"]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add these commands to ``review``."""
    app.command("stats")(stats)
    app.command("dashboard")(dashboard)
    app.command("performance")(performance)
    app.command("trends")(trends)
    app.command("calibration")(calibration)
    app.command("policy")(policy)
    app.command("restore")(restore)


def document_in(file: str) -> Any:
    """The JSON document in a file, or on stdin for ``-``. Raises BadParameter, BadRecord."""
    if file == "-":
        return exact_json.loads(sys.stdin.buffer.read())
    path = Path(file)
    if not path.is_file():
        raise typer.BadParameter("there is no such file", param_hint="FILE")
    return exact_json.loads(path.read_bytes())


def stats(workspace: Workspace = None, as_json: Json = False) -> None:
    """How many items there are in each state, how long answers take, and what waits."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = queue.stats(tx, workspace_id, now=utc_now())
        waiting, oldest_s = pending_store.waiting(tx, workspace_id, utc_now())
    found |= {"judge_waiting": waiting, "judge_oldest_s": round(oldest_s, 1)}
    show(found, as_json, lambda: table("Review", ["figure", "value"], list(found.items())))


Days = Annotated[int, typer.Option("--days", min=1, max=366, help="Of so many days, up to now.")]


def dashboard(workspace: Workspace = None, as_json: Json = False) -> None:
    """What waits, by priority and by reason, and what was answered last."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = figures.dashboard(tx, workspace_id, now=utc_now())
    show(found, as_json, lambda: table("Review", ["figure", "value"], list(found.items())))


def performance(days: Days = 30, workspace: Workspace = None, as_json: Json = False) -> None:
    """What people answered, and how long it took: all of them, and each."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = figures.performance(tx, workspace_id, days=days, now=utc_now())
    columns = ["reviewer", "decided", "approved", "rejected", "corrected", "avg_review_minutes", "avg_claimed_minutes"]
    rows = [[row[name] for name in columns] for row in found["by_reviewer"]]
    show(found, as_json, lambda: table(f"{found['decided']} answers in {days} days", columns, rows))


def trends(days: Days = 30, workspace: Workspace = None, as_json: Json = False) -> None:
    """What was asked, answered and expired, day by day (UTC)."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = figures.trends(tx, workspace_id, days=days, now=utc_now())
    columns = ["day", "created", "decided", "approved", "rejected", "corrected", "expired", "avg_review_minutes"]
    rows = [[row[name] for name in columns] for row in found["days"]]
    show(found, as_json, lambda: table("Day by day", columns, rows))


def calibration(
    category: Annotated[str | None, typer.Option("--category")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """How right the judge is by what people answered, version by version and category by category."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        bounds = policy_store.load(tx, workspace_id)
        suspended = policy_store.suspended(tx, workspace_id)
        found = [
            asdict(each) | {"bound": bounds.bound(each.category), "suspended": each.category in suspended}
            for each in measured(label_store.labels(tx, workspace_id, category=category))
        ]
    result = {"judge": found, "suspended": sorted(suspended)}
    show(result, as_json, lambda: table("The judge", COLUMNS, [[_figure(row[c]) for c in COLUMNS] for row in found]))


def _figure(value: Any) -> Any:
    if isinstance(value, tuple):
        return " to ".join(f"{each:.3f}" for each in value)
    return f"{value:.3f}" if isinstance(value, float) else value


def policy(
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="JSON object to set it to, or -.")] = None,
    actor: Annotated[str, typer.Option("--actor")] = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Who reviews what: show it, or set it from FILE."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    document = document_in(file) if file is not None else None
    if file is not None and not isinstance(document, dict):
        raise BadRecord("expected an object", code="not_an_object", where="FILE")
    with runner.database.begin(workspace_id) as tx:
        found = (
            policy_store.load(tx, workspace_id)
            if document is None
            else policy_store.save(tx, workspace_id, document, actor=actor, now=utc_now())
        )
    shown = found.model_dump(mode="json")
    show(shown, as_json, lambda: table("Review policy", ["key", "value"], list(shown.items())))


def restore(
    category: Annotated[str, typer.Argument(metavar="CATEGORY")],
    reason: Annotated[str, typer.Option("--reason", help="Why the judge may have it again.")],
    actor: Annotated[str, typer.Option("--actor")] = ACTOR,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Give a category back to the judge that it lost."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        switching.restore(tx, workspace_id, category, actor=actor, reason=reason, now=utc_now())
    show({"category": category, "suspended": False}, as_json, lambda: typer.echo(f"restored: {category}"))
