"""``connector-runner import``: files into a source, in this process, whether or not workers run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.bootstrap import build, ready
from connector_runner.cli.console import on_behalf_of_user
from connector_runner.infra import migrations
from connector_runner.intake.imports import registering, running
from connector_runner.intake.imports.chunks import Progress
from connector_runner.intake.imports.registering import Deps
from connector_runner.intake.imports.report import Report
from connector_runner.settings import Settings

_LINES = (
    ("resources", "resources read"),
    ("events_created", "events of new records"),
    ("events_updated", "events of changed records"),
    ("events_skipped", "records that said nothing new"),
    ("entities_created", "entities created"),
    ("entities_updated", "entities updated"),
    ("quarantined", "in quarantine"),
)


def import_files(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Bundles, NDJSON, single resources, .gz of each, folders, or URLs."),
    ],
    source: Annotated[str, typer.Option("--source", help="Data source; made as a file drop if it is new.")],
    workspace: Annotated[str | None, typer.Option("--workspace", help="Needed where there are several.")] = None,
    mapping: Annotated[
        str | None, typer.Option("--mapping", metavar="SYSTEM", help="Mappings of a new source (fhir_r4).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Import files. Records that cannot be used go to quarantine, all others in; to repeat it changes nothing."""
    for path in paths:
        if "://" not in path and not Path(path).exists():
            raise typer.BadParameter(f"there is no such file or folder: {path}", param_hint="PATH")
    outcome = run(_deps(), workspace, source, paths, mapping)
    if as_json:
        typer.echo(json.dumps(outcome))
    else:
        tell(outcome)
    if outcome["failed_files"]:
        raise typer.Exit(1)


def _deps() -> Deps:
    """What imports work with; the embedded services are started when none run."""
    on_behalf_of_user()
    settings = Settings()
    runner = build(settings, start=True)
    if settings.database_url is None:
        migrations.upgrade(runner.addresses.database_url)
    return ready(runner)


def run(deps: Deps, workspace: str | None, source: str, paths: list[str], mapping: str | None = None) -> dict[str, Any]:
    """Import with a progress bar on stderr when that is a terminal; the outcome."""
    named = workspace or registering.only_workspace(deps)
    with _watching() as watch:
        return running.run_local(deps, named, source, paths, mapping=mapping, watch=watch)


def tell(outcome: dict[str, Any]) -> None:
    """Counts on stdout, errors on stderr."""
    for key, words in _LINES:
        typer.echo(f"{outcome[key]:>10}  {words}")
    for kind, count in sorted(outcome["unmapped"].items()):
        typer.echo(f"{count:>10}  {kind} kept as they came: there are no mappings for them")
    for reason, count in sorted(outcome["ignored"].items()):
        typer.echo(f"{count:>10}  passed over: {reason.replace('_', ' ')}")
    typer.echo(f"{outcome['seconds']:>10}  seconds")
    for error in outcome["errors"]:
        typer.echo(error, err=True)
    more = outcome["errors_total"] - len(outcome["errors"])
    if more:
        typer.echo(f"and {more} more: see quarantine list", err=True)


@contextmanager
def _watching() -> Iterator[Callable[[str, int], Progress] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        shown = bars.add_task("resources", total=None)
        done = 0

        def watch(name: str, size: int) -> Progress:
            before = done

            def progress(report: Report, byte: int) -> None:
                nonlocal done
                done = before + report.numbers["resources"]
                bars.update(shown, description=name, completed=done)

            return progress

        yield watch
