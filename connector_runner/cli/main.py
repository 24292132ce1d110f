"""``connector-runner``: every command, and what becomes of their errors."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import typer

from connector_runner.cli import (
    alerts,
    audit,
    creation,
    entities,
    events,
    exports,
    imports,
    keys,
    links,
    outbound,
    policy,
    processes,
    quarantine,
    resolution,
    review,
    services,
    sources,
    status,
    steps,
    transcripts,
    translations,
    up,
    workspaces,
)
from connector_runner.infra.logging import configure
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import RunnerError

app = typer.Typer(
    name="connector-runner",
    help="Keeps a clinic's external systems and its world model in step, both ways.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("up")(up.up)
app.command("status")(status.status)
app.command("import")(imports.import_files)
app.command("clusters")(links.clusters)
app.command("migrate")(processes.migrate)
app.command("worker")(processes.worker)
app.command("beat")(processes.beat)
app.command("web")(processes.web)
app.command("flower")(processes.flower)
outbound.app.command("translate")(translations.translate)
outbound.app.command("same")(creation.same)
outbound.app.command("gaps")(creation.gaps)
outbound.app.command("steps")(steps.steps)
sources.app.command("export")(exports.export)
sources.app.command("exports")(exports.exports)
app.add_typer(services.app, name="services")
app.add_typer(workspaces.app, name="workspace")
app.add_typer(workspaces.keys, name="api-key")
app.add_typer(keys.app, name="key")
app.add_typer(keys.values, name="secret")
app.add_typer(sources.app, name="source")
app.add_typer(alerts.app, name="alerts")
app.add_typer(links.app, name="link")
app.add_typer(resolution.app, name="resolution")
app.add_typer(events.app, name="event")
app.add_typer(transcripts.app, name="transcript")
app.add_typer(entities.app, name="entity")
app.add_typer(outbound.app, name="outbound")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(review.app, name="review")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run a command: exit code 0 ok, 1 failed, 2 bad usage. An error is one line, never a traceback."""
    configure("WARNING")
    try:
        app()
    except RunnerError as error:
        _fail(str(error), error.code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
        sys.exit(1)
    except Exception as error:
        # The text of a foreign exception may quote a record; its type and our own lines may not.
        where = traceback.extract_tb(error.__traceback__)[-1]
        _fail(f"unexpected {type(error).__name__} at {Path(where.filename).name}:{where.lineno}", "unexpected")


def _fail(message: str, code: str) -> None:
    if "--json" in sys.argv:
        typer.echo(exact_json.dumps({"error": {"code": code, "message": message}}))
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)
