"""Asks for exports: one at a time of each source, of the types that want one, since what was had before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.fhir.bulk.request import Export
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.infra.database import Tx
from connector_runner.intake.bulk import store
from connector_runner.intake.imports import store as imports
from connector_runner.kernel.errors import Conflict, Misconfigured
from connector_runner.kernel.ids import new_id

GATHER_S: Final = 5.0
"""So long an export that polling asked for waits for the other record types that fall due with it."""
WRITER: Final = "connector_runner"
_KEPT_DAYS: Final = 30


def settings_of(source: DataSource) -> FHIRSettings:
    """The settings of a source that can be exported from. Raises Misconfigured (``no_export``)."""
    if not isinstance(source.settings, FHIRSettings):
        raise Misconfigured("this type of source has no bulk exports", code="no_export", where=source.name)
    return source.settings


def scope_of(source: DataSource, scope: str | None, group: str | None) -> tuple[str, str]:
    """What to export of a source: as asked for, else as its settings say. Raises Misconfigured."""
    bulk = settings_of(source).bulk
    if group is not None:
        return "group", group
    if scope is None:
        return bulk.scope, bulk.group or ""
    if scope == "group":
        if bulk.group is None:
            raise Misconfigured("the scope group needs a group", code="no_group", where=source.name)
        return "group", bulk.group
    return scope, ""


def export_of(job: store.Job, source: DataSource, *, patients: Sequence[str] = ()) -> Export:
    """What a step of a job asks the server for."""
    settings = settings_of(source)
    scope = "group" if job.scope == "group" else "patient" if job.scope == "patient" else "system"
    if job.step == "roster":
        return Export("group", job.group_id, ("Patient",))
    since = job.since if job.step == "main" else None
    return Export(scope, job.group_id, job.types, settings.bulk.type_filters, since, tuple(patients))  # type: ignore[arg-type]


def want(tx: Tx, source: DataSource, resource_type: str, *, full: bool, now: datetime) -> str | None:
    """Polling asks for the export of a type: the export that is to have it, None while another one is under way."""
    scope, group = scope_of(source, None, None)
    job = store.open_job(tx, source.data_source_id, lock=True)
    if job is None:
        return begin(tx, source, scope, group, (resource_type,), full=full, now=now + timedelta(seconds=GATHER_S))
    if (job.scope, job.group_id) != (scope, group):
        return None
    if resource_type in job.types and (not full or job.since is None):
        return job.export_id
    types = tuple(sorted({*job.types, resource_type}))
    since = None if full else _since(tx, source, scope, group, types)
    earlier = None if since is None or job.since is None else min(since, job.since)
    return job.export_id if store.widen(tx, job.export_id, types, earlier) else None


def ask(
    tx: Tx,
    source: DataSource,
    *,
    scope: str | None = None,
    group: str | None = None,
    types: Sequence[str] = (),
    since: datetime | None = None,
    full: bool = False,
    now: datetime,
) -> tuple[str, bool]:
    """Somebody asks for an export: its id, and whether it is one that was under way already.

    Without ``types`` those that the settings name; without ``since`` what changed since the last one, or everything.
    Raises Conflict (``export_running``) while another export of the source is under way.
    """
    wanted = scope_of(source, scope, group)
    chosen = tuple(sorted(types or [name for name, item in source.settings.resources.items() if item.enabled]))
    job = store.open_job(tx, source.data_source_id, lock=True)
    if job is not None:
        if (job.scope, job.group_id) == wanted and set(chosen) <= set(job.types):
            return job.export_id, True
        raise Conflict("another export of this source is under way", code="export_running", where=source.name)
    return begin(tx, source, *wanted, chosen, full=full, now=now, since=since), False


def begin(
    tx: Tx,
    source: DataSource,
    scope: str,
    group: str,
    types: Sequence[str],
    *,
    full: bool,
    now: datetime,
    since: datetime | None = None,
) -> str:
    """A new job, and the import as which its records land."""
    settings_of(source)
    export_id, import_id = new_id(), new_id()
    store.forget_old(tx, source.data_source_id, now - timedelta(days=_KEPT_DAYS))
    options = {"open": True, "writer": WRITER, "export_id": export_id}
    imports.add_job(tx, source.workspace_id, import_id, source.data_source_id, options)
    imports.release_job(tx, import_id, now + timedelta(seconds=GATHER_S))
    store.add_job(
        tx,
        source.workspace_id,
        export_id,
        data_source_id=source.data_source_id,
        import_id=import_id,
        scope=scope,
        group_id=group,
        types=sorted(types),
        since=None if full else since or _since(tx, source, scope, group, types),
        due_at=now,
    )
    return export_id


def _since(tx: Tx, source: DataSource, scope: str, group: str, types: Sequence[str]) -> datetime | None:
    """Since when nothing is lacking of any of the types; None when of one everything is."""
    known = store.marks(tx, source.data_source_id, scope, group)
    found = [known.get(name, known.get("")) for name in types or ("",)]
    dated = [moment for moment in found if moment is not None]
    return min(dated) if len(dated) == len(found) else None


def load(tx: Tx, workspace_id: str, data_source_id: str) -> DataSource:
    """The source of a job. Raises Misconfigured when it is gone."""
    return directory.load(tx, workspace_id, data_source_id)
