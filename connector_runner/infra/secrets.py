"""Secret references: where a value is, written down in place of the value.

``env:NAME`` an environment variable, ``file:/path`` a file's text, ``secret:name`` a row of the encrypted
table. A value is never logged, returned by an API or put in a message; a text that is no reference is not
quoted either, since it may be the secret itself.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connector_runner.infra.database import Tx, execute, one, rows
from connector_runner.kernel.errors import Misconfigured

if TYPE_CHECKING:  # sealing reads its own key through this module
    from connector_runner.infra.sealing import Sealer

MAX_SECRET_BYTES: Final = 65_536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def resolve(reference: str, tx: Tx | None = None, workspace_id: str | None = None, sealer: Sealer | None = None) -> str:
    """The value that ``reference`` points to, without a trailing line break.

    ``secret:`` needs a transaction under the workspace and the sealer. Raises Misconfigured (code
    ``secret_reference`` or ``secret_missing``) naming the reference.
    """
    kind, separator, rest = reference.partition(":")
    if not separator or kind not in ("env", "file", "secret") or not rest:
        raise Misconfigured(
            "not a secret reference; write env:NAME, file:/path or secret:name", code="secret_reference"
        )
    if kind == "env":
        return _from_environment(rest)
    if kind == "file":
        return _from_file(rest)
    if tx is None or workspace_id is None or sealer is None:
        raise Misconfigured("this setting cannot use the encrypted table", code="secret_reference", where=_shown(rest))
    return _from_table(tx, workspace_id, sealer, rest)


def store(tx: Tx, workspace_id: str, sealer: Sealer, name: str, value: str, *, now: datetime) -> str:
    """Put ``value`` into the encrypted table, over an older one; the reference to use for it."""
    if not _NAME.fullmatch(name):
        raise Misconfigured("a secret's name is letters, digits, dot, dash, underscore", code="secret_reference")
    if not value or len(value.encode()) > MAX_SECRET_BYTES:
        raise Misconfigured("a secret is 1 to 65536 bytes", code="secret_reference", where=f"secret:{name}")
    sealed = sealer.seal(tx, workspace_id, value.encode(), f"secret|{name}")
    execute(
        tx,
        "INSERT INTO secret (workspace_id, name, sealed, created_at) VALUES (:ws, :name, :sealed, :now)"
        " ON CONFLICT (workspace_id, name) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at",
        ws=workspace_id,
        name=name,
        sealed=sealed,
        now=now,
    )
    return f"secret:{name}"


def names(tx: Tx, workspace_id: str) -> list[str]:
    """What is in the encrypted table, by name."""
    found = rows(tx, "SELECT name FROM secret WHERE workspace_id = :ws ORDER BY name", ws=workspace_id)
    return [row["name"] for row in found]


def remove(tx: Tx, workspace_id: str, name: str) -> bool:
    """Delete a secret; whether there was one."""
    return execute(tx, "DELETE FROM secret WHERE workspace_id = :ws AND name = :name", ws=workspace_id, name=name) > 0


def _shown(name: str) -> str:
    return f"secret:{name}" if _NAME.fullmatch(name) else "secret:"


def _missing(reference: str, why: str) -> Misconfigured:
    return Misconfigured(why, code="secret_missing", where=reference)


def _from_environment(name: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise Misconfigured("not the name of an environment variable", code="secret_reference", where="env:")
    value = os.environ.get(name, "").rstrip("\r\n")
    if not value:
        raise _missing(f"env:{name}", "the environment variable is not set")
    return value


def _from_file(name: str) -> str:
    reference = f"file:{name}"
    path = Path(name).expanduser()
    if not path.is_absolute():
        raise Misconfigured("the path of a secret is absolute", code="secret_reference", where=reference)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SECRET_BYTES + 1)
        value = raw.decode().rstrip("\r\n")
    except OSError as exc:
        raise _missing(reference, f"the file cannot be read ({exc.strerror or type(exc).__name__})") from None
    except UnicodeDecodeError:
        raise _missing(reference, "the file is not UTF-8 text") from None
    if not value or len(raw) > MAX_SECRET_BYTES:
        raise _missing(reference, "the file is empty or longer than 65536 bytes")
    return value


def _from_table(tx: Tx, workspace_id: str, sealer: Sealer, name: str) -> str:
    row = one(tx, "SELECT sealed FROM secret WHERE workspace_id = :ws AND name = :name", ws=workspace_id, name=name)
    if row is None:
        raise _missing(_shown(name), "the workspace has no secret of this name")
    return sealer.open(tx, workspace_id, bytes(row["sealed"]), f"secret|{name}").decode()
