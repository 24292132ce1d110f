"""Register an import: its row first, then what a worker needs to read its files from another machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from connector_runner.audit import log as audit
from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
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
FILE_DROP = "file_drop"
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
        if path_or_url.startswith(("http://", "https://")):
            deps.http.check(path_or_url)
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
    actor: str = "import",
) -> str:
    """The rows of an import that no worker looks at yet, audited; its id. ``local``: no worker ever will."""
    import_id = new_id()

    def add(tx: Tx) -> None:
        store.abandon(tx, utc_now() - _ABANDONED_AFTER)
        source_id = _source(deps, tx, workspace_id, source, mapping).data_source_id
        store.add_job(tx, workspace_id, import_id, source_id, {"local": local})
        for file_n, (name, location, size) in enumerate(files):
            store.add_file(tx, workspace_id, import_id, file_n, _storable(name), location, size)
        # How many files, and not their names: one can be a patient's.
        detail = {"data_source_id": source_id, "files": len(files)}
        about = f"import/{import_id}"
        audit.append(tx, workspace_id, actor=actor, action="import.begun", object=about, detail=detail, now=utc_now())

    deps.database.retrying(workspace_id, add)
    return import_id


def _source(deps: Deps, tx: Tx, workspace_id: str, name: str, mapping: str | None) -> DataSource:
    """The data source of that name; a file drop is made of it when there is none."""
    try:
        source = directory.load(tx, workspace_id, name)
    except Misconfigured as error:
        if error.code != "no_such_source":
            raise
        wanted = mapping or DEFAULT_MAPPING
        if wanted not in deps.mappings.systems():
            known = ", ".join(sorted(deps.mappings.systems()))
            message = f"there are no mappings of that name; there are {known}"
            raise Misconfigured(message, code="no_mapping", where="mapping") from None
        document = {"name": name, "source_type": FILE_DROP, "settings": {"mapping": wanted}}
        return directory.apply(tx, workspace_id, document, actor="import", now=utc_now(), file="source")[0].source
    if mapping not in (None, source.settings.mapping):
        message = f"this source has mappings {source.settings.mapping}"
        raise Misconfigured(message, code="other_mapping", where="mapping")
    return source


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
