"""Register an import: its row first, then what a worker needs to read its files from another machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from connector_runner.infra.database import Database, Tx
from connector_runner.infra.http import HTTP
from connector_runner.intake.imports import storage, store
from connector_runner.intake.landing import Intake, Rejects
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id
from connector_runner.settings import Settings
from connector_runner.unification.loader import MappingSet

DEFAULT_MAPPING = "fhir_r4"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ABANDONED_AFTER = timedelta(hours=6)


class Deps(Protocol):
    """What imports work with."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def http(self) -> HTTP: ...
    @property
    def mappings(self) -> MappingSet: ...
    @property
    def intake(self) -> Intake: ...
    @property
    def quarantine(self) -> Rejects: ...


def workspace_id_of(deps: Deps, slug_or_id: str) -> str:
    """The id of a workspace. Raises Misconfigured (code ``no_workspace``) when there is none."""
    with deps.database.sweep() as tx:
        found = store.workspace_of(tx, slug_or_id)
    if found is None:
        raise Misconfigured("there is no such workspace", code="no_workspace", where="workspace")
    return found


def only_workspace(deps: Deps) -> str:
    """The id of the one workspace there is. Raises Misconfigured when there are several, or none."""
    with deps.database.sweep() as tx:
        found = store.workspaces(tx, limit=2)
    if len(found) != 1:
        message = "name a workspace: there are several" if found else "there is no workspace yet: create one"
        raise Misconfigured(message, code="no_workspace", where="workspace")
    return found[0]


def register(deps: Deps, workspace: str, source: str, path_or_url: str, mapping: str | None = None) -> tuple[str, str]:
    """Register an import for the workers; workspace id and import id.

    Local files are copied into storage that every worker reaches; a URL is noted and fetched by a worker.
    Raises Misconfigured when there is nothing at that place or the source cannot take it.
    """
    workspace_id = workspace_id_of(deps, workspace)
    if storage.is_url(path_or_url) and not path_or_url.startswith("file://"):
        storage.check_url(path_or_url)
        remote = (name_of(path_or_url), path_or_url, None)
        import_id = begin(deps, workspace_id, source, [remote], mapping)
    else:
        root = path_of(path_or_url)
        paths, _ = storage.local_files(root)
        import_id = begin(deps, workspace_id, source, described(paths, root), mapping)
        for file_n, path in enumerate(paths):
            _copy(deps.database, workspace_id, import_id, file_n, path)
    with deps.database.begin(workspace_id) as tx:
        store.release_job(tx, import_id, utc_now())
    return workspace_id, import_id


def described(paths: Sequence[Path], root: Path) -> list[tuple[str, str | None, int | None]]:
    """Name, location and size of local files; the name as seen from the folder that was given."""
    return [(path.name if path == root else str(path.relative_to(root)), None, path.stat().st_size) for path in paths]


def begin(
    deps: Deps,
    workspace_id: str,
    source: str,
    files: Sequence[tuple[str, str | None, int | None]],
    mapping: str | None,
    *,
    local: bool = False,
) -> str:
    """The rows of an import that no worker looks at yet; its id. ``local``: no worker ever will."""
    import_id = new_id()
    with deps.database.begin(workspace_id) as tx:
        store.abandon(tx, utc_now() - _ABANDONED_AFTER)
        source_id = _source(deps, tx, workspace_id, source, mapping)
        store.add_job(tx, workspace_id, import_id, source_id, {"local": local})
        for file_n, (name, location, size) in enumerate(files):
            store.add_file(tx, workspace_id, import_id, file_n, _storable(name), location, size)
    return import_id


def _source(deps: Deps, tx: Tx, workspace_id: str, name: str, mapping: str | None) -> str:
    known = store.source_named(tx, name)
    if known is None:
        wanted = mapping or DEFAULT_MAPPING
        if wanted not in deps.mappings.systems():
            raise Misconfigured(
                f"there are no mappings of that name; there are {', '.join(sorted(deps.mappings.systems()))}",
                code="no_mapping",
                where="mapping",
            )
        if not _NAME.fullmatch(name):
            raise Misconfigured(
                "a source's name has lower-case letters, digits, - and _", code="bad_name", where="source"
            )
        store.add_source(tx, workspace_id, new_id(), name, wanted)
        known = store.source_named(tx, name)
    if known is None:
        raise Misconfigured("the source was removed meanwhile", code="no_source", where="source")
    has = known["settings"].get("mapping", DEFAULT_MAPPING)
    if mapping is not None and mapping != has:
        raise Misconfigured(f"this source has mappings {has}", code="other_mapping", where="mapping")
    return str(known["data_source_id"])


def _copy(database: Database, workspace_id: str, import_id: str, file_n: int, path: Path) -> None:
    size = 0
    for part_n, piece in enumerate(storage.pieces(path)):
        size += len(piece)
        with database.begin(workspace_id) as tx:
            store.add_part(tx, workspace_id, import_id, file_n, part_n, piece)
    with database.begin(workspace_id) as tx:
        store.set_stored(tx, import_id, file_n, size)


def path_of(path_or_url: str) -> Path:
    """The local path that a path or a ``file://`` URL names."""
    if storage.is_url(path_or_url):
        return Path(unquote(urlsplit(path_or_url).path))
    return Path(path_or_url)


def name_of(url: str) -> str:
    """A file's name as its URL has it."""
    return unquote(urlsplit(url).path.rpartition("/")[2]) or "file"


def _storable(name: str) -> str:
    """A file's name as text that Postgres takes: names are bytes, and need not be UTF-8."""
    return name.encode("utf-8", "replace").decode().replace("\x00", "?")
