"""``transcript add``: hand in what was said in a conversation."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, workspace_of
from connector_runner.infra.queue import REVIEW
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.review import material

app = typer.Typer(help="Transcripts: what was said, to judge claims by.", no_args_is_help=True)


@app.callback()
def _transcripts() -> None:
    """Transcripts: what was said, to judge claims by."""


@app.command("add")
def add(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, allow_dash=True, help="Text, JSON turns, or -."),
    ],
    session: Annotated[str, typer.Option(help="Name of the conversation: the correlation id of its events.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Keep a transcript: lines ``Speaker: words``, or a JSON list of turns with ``speaker`` and ``text``.

    The same again changes nothing; another one of the same conversation counts from now on.
    """
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    body = _body(content)
    runner = open_runner(start=True)
    workspace_id = workspace_of(runner, workspace)
    kept = runner.database.retrying(
        workspace_id,
        lambda tx: material.put(tx, runner.sealer, workspace_id, session, body, actor=ACTOR, now=utc_now()),
    )
    if kept.new:
        runner.publisher.hint(REVIEW, workspace_id=workspace_id)
    told = f"{kept.turns} turns, {kept.characters} characters{'' if kept.new else ', known already'}"
    show(asdict(kept), as_json, lambda: typer.echo(told))


def _body(content: bytes) -> Any:
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return exact_json.loads(content)
        except BadRecord:
            # Lines of a text may begin so too, as "[00:12] Caller: …" does.
            if content.lstrip()[:2] in (b'{"', b"[{"):
                raise
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRecord("expected UTF-8", code="not_text", where="transcript") from None
