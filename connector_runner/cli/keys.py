"""``key`` and ``secret``: what a workspace signs with, and what its settings refer to."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from connector_runner.auth import client_keys, kept_secrets, store
from connector_runner.auth.assertions import ALGORITHMS
from connector_runner.bootstrap import Runner
from connector_runner.cli.console import ACTOR, Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.infra import secrets
from connector_runner.infra.database import Tx
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured

app = typer.Typer(help="Keys that sign for tokens (SMART Backend Services).", no_args_is_help=True)
values = typer.Typer(help="The encrypted table that settings refer to as secret:NAME.", no_args_is_help=True)

_MOST_BYTES = 65_536

Algorithm = Annotated[str, typer.Option("--algorithm", help=" or ".join(ALGORITHMS))]
Kid = Annotated[str, typer.Argument(metavar="KID", help="The key's name.")]
_COLUMNS = ["kid", "algorithm", "state", "created_at", "signs_from", "signs_until", "published_until"]


def _cache_life(runner: Runner) -> timedelta:
    return timedelta(seconds=runner.settings.jwks_cache_s)


def _told(tx: Tx, workspace_id: str, row: dict[str, Any], now: datetime, as_json: bool) -> None:
    found = {**client_keys.shown(row, now), "jwks_path": f"/.well-known/jwks/{_slug(tx, workspace_id)}.json"}

    def tell() -> None:
        table(found["kid"], ["key", "value"], [(name, found[name]) for name in (*_COLUMNS[1:], "public_jwk")])
        typer.echo(f"public halves: {found['jwks_path']} of the web process")

    show(found, as_json, tell)


def _slug(tx: Tx, workspace_id: str) -> str:
    return store.slug_of(tx, workspace_id)


@app.command("create")
def create(algorithm: Algorithm = "ES384", workspace: Workspace = None, as_json: Json = False) -> None:
    """Make a key. Its private half is sealed and never shown; the first of its algorithm signs at once."""
    _add(algorithm, None, None, workspace, as_json)


@app.command("import")
def import_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="PEM or JWK; - reads standard input.")],
    kid: Annotated[str | None, typer.Option("--kid", help="Its name, where the file does not say.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Keep a private key that was made elsewhere. It is sealed and never shown again: the file can go."""
    _add("ES384", content_of(file), kid, workspace, as_json)


def _add(algorithm: str, private: str | None, kid: str | None, workspace: str | None, as_json: bool) -> None:
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        row = client_keys.add(
            tx,
            workspace_id,
            runner.sealer,
            actor=ACTOR,
            now=now,
            cache_life=_cache_life(runner),
            algorithm=algorithm,
            private=private,
            kid=kid,
        )
        _told(tx, workspace_id, row, now, as_json)


@app.command("rotate")
def rotate(algorithm: Algorithm = "ES384", workspace: Workspace = None, as_json: Json = False) -> None:
    """Make the next key, and let those that sign now end when it has taken over. Nothing else is to be done."""
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        row = client_keys.rotate(
            tx,
            workspace_id,
            runner.sealer,
            actor=ACTOR,
            now=now,
            cache_life=_cache_life(runner),
            algorithm=algorithm,
        )
        _told(tx, workspace_id, row, now, as_json)


@app.command("retire")
def retire(
    kid: Kid,
    force: Annotated[bool, typer.Option("--force", help="Though no other key can sign.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Sign no more with a key; it stays published until servers have done with it, and is then dropped."""
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        row = client_keys.retire(
            tx, workspace_id, kid, actor=ACTOR, now=now, cache_life=_cache_life(runner), force=force
        )
        _told(tx, workspace_id, row, now, as_json)


@app.command("list")
def list_keys(workspace: Workspace = None, as_json: Json = False) -> None:
    """The keys and their states; private halves are never among it."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = client_keys.listing(tx, workspace_id, utc_now())
    show({"keys": found}, as_json, lambda: table("Keys", _COLUMNS, [[row[name] for name in _COLUMNS] for row in found]))


@values.command("set")
def set_secret(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    file: Annotated[Path, typer.Option("--file", help="Its value; - reads standard input.")] = Path("-"),
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Keep a value, over an older one. It is sealed and never shown again; settings refer to it as secret:NAME."""
    runner, now = open_runner(), utc_now()
    workspace_id = workspace_of(runner, workspace)
    value = content_of(file).rstrip("\r\n")
    with runner.database.begin(workspace_id) as tx:
        reference = kept_secrets.keep(tx, workspace_id, runner.sealer, name, value, actor=ACTOR, now=now)
    show({"reference": reference}, as_json, lambda: typer.echo(reference))


@values.command("list")
def list_secrets(workspace: Workspace = None, as_json: Json = False) -> None:
    """What there is, by name."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        found = secrets.names(tx, workspace_id)
    show({"secrets": found}, as_json, lambda: table("Secrets", ["name"], [[each] for each in found]))


@values.command("remove")
def remove_secret(
    name: Annotated[str, typer.Argument(metavar="NAME")], workspace: Workspace = None, as_json: Json = False
) -> None:
    """Delete a value."""
    runner = open_runner()
    workspace_id = workspace_of(runner, workspace)
    with runner.database.begin(workspace_id) as tx:
        gone = kept_secrets.remove(tx, workspace_id, name, actor=ACTOR, now=utc_now())
    if not gone:
        raise Misconfigured("the workspace has no secret of this name", code="secret_missing", where="NAME")
    show({"removed": name}, as_json, lambda: typer.echo(f"removed: {name}"))


def content_of(file: Path) -> str:
    """The text of a file, or of standard input."""
    try:
        raw = sys.stdin.buffer.read(_MOST_BYTES + 1) if str(file) == "-" else file.read_bytes()[: _MOST_BYTES + 1]
        text = raw.decode()
    except OSError as exc:
        raise Misconfigured("cannot be read: " + (exc.strerror or "error"), code="file", where=str(file)) from None
    except UnicodeDecodeError:
        raise Misconfigured("is not UTF-8 text", code="file", where=str(file)) from None
    if not text.strip() or len(raw) > _MOST_BYTES:
        raise Misconfigured("is empty, or longer than 65536 bytes", code="file", where=str(file))
    return text
