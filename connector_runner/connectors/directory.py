"""The data sources of a workspace: applied from documents, loaded typed, and how they are doing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from connector_runner.audit import log as audit
from connector_runner.connectors import first_read_store, registry, store
from connector_runner.connectors.base import DataSource, SourceKey
from connector_runner.connectors.outgoing import CheckURL, require_callable, require_callable_documents
from connector_runner.connectors.probing import capability_store
from connector_runner.connectors.settings import SourceSettings, Strict, parse
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id
from connector_runner.resilience import alerts

_TELL_AGAIN = timedelta(seconds=10)
"""So old may the time of a healthy source's last poll be as it is shown."""


class _Document(Strict):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    source_type: str
    enabled: bool = True
    settings: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying one document did: ``created``, ``changed`` or ``unchanged``. ``moved``: its address is another."""

    source: DataSource
    outcome: str
    moved: bool = False


def read_document(path: Path) -> list[object]:
    """The source documents of a YAML or JSON file: one, or a list.

    Raises Misconfigured with the file (and line where there is one) when it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise Misconfigured("cannot be read: " + (exc.strerror or "error"), code="file", where=str(path)) from None
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise Misconfigured("neither YAML nor JSON", code="file", where=where) from None
    except (UnicodeDecodeError, RecursionError):
        raise Misconfigured("neither YAML nor JSON", code="file", where=str(path)) from None
    return content if isinstance(content, list) else [content]


def apply(tx: Tx, workspace_id: str, documents: object, *, actor: str, now: datetime, file: str = "") -> list[Applied]:
    """Create or change the data sources that ``documents`` describe (one mapping or a list of them).

    All or nothing within the caller's transaction, and audited. Record types that a document no longer names
    are no longer polled. A changed address begins every record type anew. Raises Misconfigured naming the file and the
    dotted key.
    """
    listed = documents if isinstance(documents, list) else [documents]
    plan = [_read(item, file, f"[{n}]" if len(listed) > 1 else "") for n, item in enumerate(listed)]
    names = [document.name for document, _ in plan]
    for name in names:
        if names.count(name) > 1:
            raise Misconfigured(f"the source {name} stands there twice", code="settings", where=file)
    return [_apply_one(tx, workspace_id, document, settings, actor, now) for document, settings in plan]


def require_callable_settings(documents: object, check: CheckURL, *, file: str = "") -> None:
    """Refuse documents with an address that may not be called: as written, and as it follows from other settings.

    For whoever takes documents from outside, before ``apply``: names are looked up, which may take seconds, so not
    within a transaction. Raises Misconfigured (``address_refused``) naming the file and the dotted key, and what
    ``apply`` raises for documents that cannot be read.
    """
    once = cache(check)
    require_callable_documents(documents, once, file=file)
    listed = documents if isinstance(documents, list) else [documents]
    for n, item in enumerate(listed):
        at = f"[{n}]" if len(listed) > 1 else ""
        _, settings = _read(item, file, at)
        require_callable(settings.model_dump(mode="json"), once, file=file, at=f"{at}.settings".lstrip("."))


def _read(item: object, file: str, at: str) -> tuple[_Document, SourceSettings]:
    document = parse(_Document, item, file=file, at=at)
    model = registry.source_type(document.source_type, document.settings, file=file, at=at).settings
    return document, parse(model, document.settings, file=file, at=f"{at}.settings".lstrip("."))


def _apply_one(
    tx: Tx, workspace_id: str, document: _Document, settings: SourceSettings, actor: str, now: datetime
) -> Applied:
    kept = json.loads(settings.model_dump_json(exclude_unset=True))
    before = store.source(tx, workspace_id, document.name, lock=True)
    source_id = str(before["data_source_id"]) if before else new_id()
    source = DataSource(workspace_id, source_id, document.name, document.source_type, settings, document.enabled)
    if before is not None and before["source_type"] != document.source_type:
        raise Misconfigured(
            f"the source is of type {before['source_type']}; use another name", code="settings", where=document.name
        )
    if before is not None and before["settings"] == kept and before["enabled"] == document.enabled:
        return Applied(source, "unchanged")
    sink = settings.sink is not None and settings.sink.enabled and document.enabled
    store.save_source(
        tx,
        workspace_id,
        source_id,
        name=document.name,
        source_type=document.source_type,
        settings=kept,
        enabled=document.enabled,
        sink_enabled=sink,
    )
    _apply_resources(tx, source, now)
    if not document.enabled:
        alerts.end(tx, workspace_id, source_id, alerts.HEALTH, now=now)
    moved = before is not None and any(before["settings"].get(key) != kept.get(key) for key in settings.PLACE)
    if moved or (before is not None and document.enabled and not before["enabled"]):
        first_read_store.begin_anew(tx, workspace_id, source_id)
    if moved:
        store.forget_cursors(tx, workspace_id, source_id)
        store.forget_exports(tx, workspace_id, source_id)
        capability_store.forget(tx, workspace_id, source_id)
    outcome = "changed" if before else "created"
    changed = _changed(before["settings"], kept) if before else []
    audit.append(
        tx,
        workspace_id,
        actor=actor,
        action="source.apply",
        object=f"data_source/{source_id}",
        detail={
            "name": document.name, "outcome": outcome, "enabled": document.enabled, "sink": sink, "changed": changed,
        },
        now=now,
    )  # fmt: skip
    return Applied(source, outcome, moved)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of settings that differ, ``sink.consent`` for one within another; never what they are set to."""
    found = []
    for key in before.keys() | after.keys():
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{key}.{inner}" for inner in one.keys() | other.keys() if one.get(inner) != other.get(inner)]
        elif one != other:
            found.append(key)
    return sorted(found)


def _apply_resources(tx: Tx, source: DataSource, now: datetime) -> None:
    wanted = source.settings.resources
    for resource_type, resource in sorted(wanted.items()):
        if resource.enabled:
            first_read_store.begin_anew(tx, source.workspace_id, source.data_source_id, resource_type)
        store.save_resource(
            tx,
            source.workspace_id,
            source.data_source_id,
            resource_type,
            enabled=resource.enabled,
            cadences_s=resource.cadences_s,
            full_sync_every_s=resource.full_sync_every_s,
            now=now,
        )
    store.drop_resources_except(tx, source.workspace_id, source.data_source_id, list(wanted))


def load(tx: Tx, workspace_id: str, name_or_id: str) -> DataSource:
    """One data source with typed settings; Misconfigured (``no_such_source``, ``settings``) otherwise."""
    row = store.source(tx, workspace_id, name_or_id)
    if row is None:
        raise Misconfigured("there is no such data source in this workspace", code="no_such_source", where=name_or_id)
    return _typed(row)


def sources(tx: Tx, workspace_id: str) -> list[DataSource]:
    """All data sources of a workspace with typed settings, by name."""
    return [_typed(row) for row in store.sources(tx, workspace_id)]


def _typed(row: Row) -> DataSource:
    kind = registry.source_type(row["source_type"], row["settings"], file=row["name"])
    settings = parse(kind.settings, row["settings"], file=row["name"], at="settings")
    return DataSource(
        str(row["workspace_id"]),
        str(row["data_source_id"]),
        row["name"],
        row["source_type"],
        settings,
        row["enabled"],
    )


def listing(tx: Tx, workspace_id: str) -> Sequence[Row]:
    """The rows behind ``source list``: names, types, health and counters, also of sources that cannot be loaded."""
    return store.sources(tx, workspace_id)


def show(tx: Tx, workspace_id: str, name_or_id: str) -> dict[str, Any]:
    """Everything about one source: settings (secrets are references), health, and each polled record type."""
    row = store.source(tx, workspace_id, name_or_id)
    if row is None:
        raise Misconfigured("there is no such data source in this workspace", code="no_such_source", where=name_or_id)
    polled: list[Mapping[str, Any]] = [
        dict(resource) for resource in store.resources(tx, workspace_id, str(row["data_source_id"]))
    ]
    return {**row, "resources": polled}


def request_sync(
    tx: Tx,
    workspace_id: str,
    data_source_id: str,
    *,
    now: datetime,
    resource_type: str | None = None,
    full: bool = False,
) -> int:
    """Make a source's record types (or one of them) due now, as a full sync if ``full``; how many there are."""
    return store.make_due(tx, workspace_id, data_source_id, now, resource_type=resource_type, full=full)


def record_ok(tx: Tx, source: SourceKey, now: datetime) -> None:
    """A poll succeeded: healthy, or degraded while another record type of the source keeps failing.

    What an operator was told of is over once no record type fails any more: while some do and others do not, it is
    one trouble. A source that was healthy lately is not written to.
    """
    row = store.health(tx, source.workspace_id, source.data_source_id)
    if row is None or _known_healthy(row, now):
        return
    row = store.health(tx, source.workspace_id, source.data_source_id, lock=True) or row
    failing = row["worst_errors"] >= row["unhealthy_after"]
    store.set_health(
        tx,
        source.workspace_id,
        source.data_source_id,
        status="degraded" if failing else "healthy",
        code=row["worst_code"] if failing else None,
        detail=f"{row['worst']} cannot be polled" if failing else None,
        errors=0,
        now=now,
        ok=True,
    )
    if row["alerted"] and row["worst_errors"] == 0:
        alerts.end(tx, source.workspace_id, source.data_source_id, alerts.HEALTH, now=now)


def _known_healthy(row: Row, now: datetime) -> bool:
    told = row["last_poll_at"]
    well = row["health_status"] == "healthy" and row["consecutive_errors"] == 0 and row["worst_errors"] == 0
    return well and not row["alerted"] and told is not None and abs(now - told) < _TELL_AGAIN


def record_error(tx: Tx, source: SourceKey, code: str, detail: str, now: datetime) -> None:
    """A poll failed: unhealthy from so many failures in a row, of whatever record types; ``detail`` is ours.

    An operator is told once, and not again before it was healthy in between.
    """
    row = store.health(tx, source.workspace_id, source.data_source_id, lock=True)
    if row is None:
        return
    errors = row["consecutive_errors"] + 1
    if errors >= row["unhealthy_after"]:
        status = "unhealthy"
    else:
        repeated = row["worst_errors"] >= row["unhealthy_after"]
        status = "degraded" if repeated or row["health_status"] == "degraded" else str(row["health_status"])
    store.set_health(
        tx,
        source.workspace_id,
        source.data_source_id,
        status=status,
        code=code,
        detail=detail,
        errors=errors,
        now=now,
        ok=False,
    )
    if status == "unhealthy" and row["health_status"] != "disabled":
        key = (source.workspace_id, source.data_source_id, alerts.HEALTH)
        alerts.raise_once(tx, *key, code, now=now, detail=detail)
