"""Run imports: workers a slice at a time from what is registered, the command line the whole in its process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from connector_runner.connectors import directory
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.intake.imports import registering, storage, store
from connector_runner.intake.imports.chunks import FileRun, Progress
from connector_runner.intake.imports.content import Content
from connector_runner.intake.imports.registering import Deps
from connector_runner.intake.imports.report import Report, summed
from connector_runner.intake.landing import Origin
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord, Conflict, Misconfigured, TryAgain

SLICE_S = 10.0
WRITER = "fhir_import"
_LOOK_AGAIN_S = 2.0
_WHILE_OPEN_S = 10.0
_BACK_OFF_S = 30.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What a slice came to: how many files it finished, and whether there is something left for the next one."""

    files_done: int
    more: bool


def run(deps: Deps, workspace_id: str, import_id: str, *, owner: str, slice_s: float = SLICE_S) -> ImportOutcome:
    """Work for a slice on whichever files of an import nobody else works on.

    Raises TryAgain errors when the import has to wait; it is due again by then.
    """
    deadline = time.monotonic() + slice_s
    done = 0
    while time.monotonic() < deadline:
        lease = _claim(deps, workspace_id, import_id, owner)
        if lease is None:
            break
        try:
            done += _work(deps, lease, deadline)
        except TryAgain as error:
            _postpone(deps, lease, _BACK_OFF_S if error.retry_after_s is None else error.retry_after_s)
            raise
    return _settle(deps, workspace_id, import_id, done)


def overdue(tx: Tx, now: datetime, limit: int = 100) -> list[tuple[str, str]]:
    """Workspace and import ids that a worker should look at now; ``tx`` is a sweep."""
    return store.overdue(tx, now, limit)


def run_local(
    deps: Deps,
    workspace: str,
    source: str,
    paths: Sequence[str],
    *,
    mapping: str | None = None,
    owner: str = "command line",
    watch: Callable[[str, int], Progress] | None = None,
) -> dict[str, Any]:
    """Import files in this process, read where they are; what came of it.

    ``watch`` is asked for each file, by name and size in bytes, who is to be told of its progress.
    The answer has the counts of ``report.NUMBERS``; ``ignored`` and ``unmapped`` by kind, ``errors_total`` and the
    first ``errors``; ``files``, ``failed_files`` and ``seconds``.
    """
    began = time.monotonic()
    workspace_id = registering.workspace_id_of(deps, workspace)
    files, others = _listed(paths)
    specs = [spec for spec, _ in files]
    import_id = registering.begin(deps, workspace_id, source, specs, mapping, local=True, actor=owner)
    for file_n, ((name, _, size), path) in enumerate(files):
        lease = _claim(deps, workspace_id, import_id, owner, file_n)
        if lease is None:
            raise Conflict("another process has taken this import over", code="lease_lost")
        opener = None if path is None else storage.opener_of_path(path)
        _work(deps, lease, float("inf"), opener=opener, progress=watch(name, size or 0) if watch else None)
    _settle(deps, workspace_id, import_id, len(files))
    outcome = outcome_of(deps, workspace_id, import_id)
    if others:
        outcome["ignored"]["other_files"] = others
    return outcome | {"seconds": round(time.monotonic() - began, 3)}


def outcome_of(deps: Deps, workspace_id: str, import_id: str) -> dict[str, Any]:
    """Counts and errors of an import so far.

    Raises BadRecord (code ``no_import``) when there is none of that id.
    """
    with deps.database.begin(workspace_id) as tx:
        job = store.job(tx, import_id)
        files = store.files(tx, import_id)
    if job is None:
        raise BadRecord("there is no such import", code="no_import", where="import_id")
    return summed((file["counts"], file["errors"]) for file in files) | {
        "import_id": import_id,
        "status": job["status"],
        "files": len(files),
        "failed_files": sum(file["status"] == "failed" for file in files),
    }


def _listed(
    paths: Sequence[str],
) -> tuple[list[tuple[tuple[str, str | None, int | None], Path | None]], int]:
    listed: list[tuple[tuple[str, str | None, int | None], Path | None]] = []
    others = 0
    for text in paths:
        if storage.is_url(text) and not text.startswith("file://"):
            storage.check_url(text)
            listed.append(((registering.name_of(text), text, None), None))
            continue
        root = registering.path_of(text)
        found, passed_over = storage.local_files(root)
        others += passed_over
        listed.extend(zip(registering.described(found, root), found, strict=True))
    return listed, others


def _claim(
    deps: Deps, workspace_id: str, import_id: str, owner: str, file_n: int | None = None
) -> store.FileLease | None:
    def claim(tx: Tx) -> store.FileLease | None:
        now = utc_now()
        job = store.job(tx, import_id)
        if job is None or job["status"] not in ("pending", "running"):
            return None
        lease = store.claim_file(tx, workspace_id, import_id, owner, now, file_n)
        if lease is not None and not job["options"].get("local"):
            _, free = store.open_files(tx, import_id, now)
            wait = _LOOK_AGAIN_S if free else store.LEASE_S
            store.release_job(tx, import_id, now + timedelta(seconds=wait))
        return lease

    return deps.database.retrying(workspace_id, claim)


def _work(
    deps: Deps,
    lease: store.FileLease,
    deadline: float,
    *,
    opener: Callable[[], Any] | None = None,
    progress: Progress | None = None,
) -> bool:
    """Work on a leased file; whether it is done. What stops this file only is told in its errors."""
    try:
        if opener is None:
            _have_parts(deps, lease)
            opener = storage.opener_of_parts(deps.database, lease)
        origin = _origin(deps, lease)
        done = FileRun(deps, lease, origin, Content(opener), deadline, progress).run()
    except Misconfigured as error:
        return _fail(deps, lease, error.message)
    except OSError as error:
        return _fail(deps, lease, f"the file cannot be read ({type(error).__name__})")
    if not done:
        with deps.database.begin(lease.workspace_id) as tx:
            store.free_file(tx, lease)
    return done


def _fail(deps: Deps, lease: store.FileLease, message: str) -> bool:
    report = Report(lease.counts, lease.errors)
    report.tell(f"{lease.name}: {message}")
    lease.counts, lease.errors = report.counts(), report.errors
    with deps.database.begin(lease.workspace_id) as tx:
        if store.hold(tx, lease, utc_now()):
            store.end_file(tx, lease, "failed")
    return True


def _have_parts(deps: Deps, lease: store.FileLease) -> None:
    if lease.stored or lease.location is None:
        return
    with deps.database.begin(lease.workspace_id) as tx:
        have = store.parts(tx, lease.import_id, lease.file_n)

    def keep(step: Callable[[Tx], None]) -> None:
        with deps.database.begin(lease.workspace_id) as tx:
            if not store.hold(tx, lease, utc_now()):
                raise Conflict("another worker has taken this file over", code="lease_lost")
            step(tx)

    storage.fetch(lease.location, have, deps.http, keep, lease)
    lease.stored = True


def _origin(deps: Deps, lease: store.FileLease) -> Origin:
    with deps.database.begin(lease.workspace_id) as tx:
        job = store.job(tx, lease.import_id)
        if job is None:
            raise Misconfigured("the import is gone", code="no_import", where="import_id")
        source = directory.load(tx, lease.workspace_id, str(job["data_source_id"]))
    return Origin(
        data_source_id=source.data_source_id,
        name=source.name,
        system=source.settings.mapping,
        source=job["options"].get("writer", WRITER),
        confidence=source.settings.confidence,
        base_url=source.settings.base,
        region=source.settings.default_region,
        numeric_versions=source.settings.numeric_versions,
        batch_id=lease.import_id,
    )


def _postpone(deps: Deps, lease: store.FileLease, wait_s: float) -> None:
    """Give a file back whose place cannot be reached now; a Postgres that is away is waited for by the lease."""
    try:
        with deps.database.begin(lease.workspace_id) as tx:
            store.free_file(tx, lease)
            store.release_job(tx, lease.import_id, utc_now() + timedelta(seconds=wait_s))
    except TryAgain as error:
        log.warning("import_not_postponed", import_id=lease.import_id, code=error.code)


def _settle(deps: Deps, workspace_id: str, import_id: str, done: int) -> ImportOutcome:
    def settle(tx: Tx) -> ImportOutcome:
        now = utc_now()
        todo, free = store.open_files(tx, import_id, now)
        job = store.job(tx, import_id)
        if job is None or job["status"] not in ("pending", "running"):
            return ImportOutcome(done, more=False)
        if not todo and job["options"].get("open"):
            # Whoever brings its files says when there will be no more; until then it is looked at now and then.
            store.release_job(tx, import_id, now + timedelta(seconds=_WHILE_OPEN_S))
        elif not todo:
            store.end_job(tx, import_id, now)
            source = directory.load(tx, workspace_id, str(job["data_source_id"]))
            if source.source_type == registering.FILE_DROP:
                directory.record_ok(tx, source, now)
        elif free and not job["options"].get("local"):
            store.release_job(tx, import_id, now)
        return ImportOutcome(done, more=bool(todo and free))

    return deps.database.retrying(workspace_id, settle)
