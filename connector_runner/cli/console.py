"""What commands share: the Runner, the workspace, and how results reach the terminal."""

from __future__ import annotations

import getpass
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connector_runner.audit.acting import Authority, acting
from connector_runner.bootstrap import Runner, build, ready
from connector_runner.infra import migrations
from connector_runner.infra.logging import configure, get_logger
from connector_runner.infra.queue import DRAIN, RELEASE, sink_queue
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError
from connector_runner.kernel.ids import new_id
from connector_runner.observability import sealing_reads, store
from connector_runner.settings import Settings


def _current_context() -> typer.Context | None:
    """Of the command that runs. Newer versions of typer have a copy of click of their own, older ones use click."""
    home = "typer._click.globals" if importlib.util.find_spec("typer._click") is not None else "click"
    found: typer.Context | None = importlib.import_module(home).get_current_context(silent=True)
    return found


Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Workspace = Annotated[str | None, typer.Option("--workspace", "-w", help="Needed where there are several.")]


def moment(text: str) -> datetime:
    """An instant in ISO 8601 (UTC where it names no zone), or how long ago: ``30m``, ``2h``, ``1d``.

    Raises BadParameter.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return utc_now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"neither an instant like 2026-03-04T05:06:07Z nor an age like 2h: {text!r}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


Since = Annotated[
    datetime | None, typer.Option("--since", parser=moment, metavar="TIME", help="From then on; or an age, 2h.")
]
Until = Annotated[datetime | None, typer.Option("--until", parser=moment, metavar="TIME", help="Before then.")]

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

ACTOR = "command line"
SCHEMA_WAIT_S = 10.0
WIDE = 200

log = get_logger(__name__)


def open_runner(*, start: bool = False) -> Runner:
    """The Runner of this installation, checked.

    ``start`` starts the embedded services when none run, and brings an embedded database up to date.
    """
    on_behalf_of_user()
    settings = Settings()
    configure(settings.log_level if settings.log_level != "INFO" else "WARNING")
    runner = build(settings, start=start)
    if start and settings.database_url is None:
        migrations.upgrade(runner.addresses.database_url)
    checked = ready(runner, wait_s=SCHEMA_WAIT_S)
    context = _current_context()
    if context is not None:
        context.find_root().call_on_close(lambda: _seal(checked))
    return checked


def _seal(runner: Runner) -> None:
    """What a command noted is sealed as it ends, for where no worker runs."""
    try:
        sealing_reads.seal(runner.database, now=utc_now())
    except RunnerError as error:
        log.warning("audit.not_sealed", code=error.code)


def on_behalf_of_user() -> None:
    """What this command has done is put down to whom the machine knows as running it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = str(os.getuid())
    context = _current_context()
    if context is not None:
        authority = Authority(f"os:{user}", context.command_path.partition(" ")[2], new_id())
        context.find_root().with_resource(acting(authority))


def workspace_of(runner: Runner, name: str | None) -> str:
    """The id of the workspace with this slug or id, or of the only one there is.

    Raises Misconfigured (``no_workspace``) when that names none.
    """
    with runner.database.sweep() as tx:
        known = store.workspaces(tx)
    if name is None:
        if len(known) == 1:
            return str(known[0]["workspace_id"])
        words = "there are several workspaces; name one" if known else "there is no workspace; create one first"
        raise Misconfigured(words, code="no_workspace", where="--workspace")
    for row in known:
        if name in (row["slug"], row["workspace_id"]):
            return str(row["workspace_id"])
    raise Misconfigured(f"there is no workspace {name!r}", code="no_workspace", where="--workspace")


def sinks_of(runner: Runner, workspace_id: str) -> list[store.SinkRef]:
    """The enabled sinks of a workspace."""
    with runner.database.sweep() as tx:
        return [each for each in store.sinks(tx) if each.workspace_id == workspace_id]


def hint_outbound(runner: Runner, workspace_id: str, sink: str | None = None) -> None:
    """Tell workers that there may be something to release and to drain, in all sinks or in one."""
    runner.publisher.hint(RELEASE, workspace_id=workspace_id)
    for each in sinks_of(runner, workspace_id):
        if sink in (None, each.name):
            queue = sink_queue(each.workspace_slug, each.name)
            runner.publisher.hint(DRAIN, queue=queue, workspace_id=workspace_id, sink_id=each.sink_id)


def show(value: Any, as_json: bool, tell: Callable[[], None]) -> None:
    """``value`` as one JSON document, or what ``tell`` prints for people."""
    if as_json:
        typer.echo(exact_json.dumps(plain(value)))
    else:
        tell()


def plain(value: Any) -> Any:
    """``value`` with only what JSON has: times in ISO 8601 with a zone, bytes as hex."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def table(title: str, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    grid = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for line in lines:
        # As texts, lest what stands in brackets be taken for a style.
        grid.add_row(*(Text(_cell(value)) for value in line))
    # Lines that a program reads are not to be folded at the 80 columns of no terminal.
    Console(width=None if sys.stdout.isatty() else WIDE).print(grid)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dict | list):
        return exact_json.dumps(plain(value))
    if isinstance(value, Decimal):
        return str(value)
    return str(value)


@contextmanager
def watching(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr where that is a terminal; what it yields is told how many of how many are done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        shown = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(shown, completed=done, total=of)
