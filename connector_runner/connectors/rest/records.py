"""Between a record as an API shows it and the resource that the rest of the product sees. Pure.

The resource is the record's fields beside ``resourceType``, ``id`` and, where the API tells, ``meta``. These three are
never sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from connector_runner.connectors.rest.settings import RecordSettings
from connector_runner.connectors.sinks import Json
from connector_runner.kernel import exact_json

_ID: Final = re.compile(r"(?!\.{1,2}$)[^\s/?#\x00-\x1f]{1,200}")
"""Of such a text, and not of ``..``, a path can be made that stays where it is."""


def at(document: Any, path: str | None) -> Any:
    """The value at a dotted path, None when there is none; the document itself without a path."""
    for key in path.split(".") if path else ():
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def placed(document: Json, path: str, value: Any) -> Json:
    """The document with ``value`` at a dotted path."""
    key, _, rest = path.partition(".")
    inner = document.get(key)
    return {**document, key: placed(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def id_of(record: RecordSettings, document: Json) -> str | None:
    """The record's id, None when there is no usable one."""
    value = at(document, record.id_field)
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else None


def resource_of(kind: str, record: RecordSettings, document: Json) -> Json | None:
    """A record as a resource; None without a usable id, or without its fields."""
    record_id = id_of(record, document)
    fields = at(document, record.body_field)
    if record_id is None or not isinstance(fields, dict):
        return None
    updated = at(document, record.updated_field) if record.updated_field else None
    meta = {"meta": {"lastUpdated": updated}} if isinstance(updated, str) else {}
    return {**fields, **meta, "resourceType": kind, "id": record_id}


def version_of(record: RecordSettings, document: Json | None, headers: Mapping[str, str]) -> str | None:
    """The version to state with the next change."""
    if record.version == "etag":
        etag = (headers.get("ETag") or "").strip()
        return etag if re.fullmatch(r"[\x21-\x7e]{1,200}", etag) else None
    value = at(document, record.version_field) if record.version_field and document is not None else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def sendable(record: RecordSettings, resource: Json) -> Json:
    """The fields that may be sent: without our marks, and without what only the API writes."""
    marks = {"resourceType", "id", *({"meta"} if record.updated_field else ())}
    fields = {name: value for name, value in resource.items() if name not in marks}
    within = f"{record.body_field}." if record.body_field else ""
    shown = (record.id_field, record.version_field, record.updated_field)
    for path in (*record.read_only, *(at.removeprefix(within) for at in shown if at and at.startswith(within))):
        fields = _without(fields, path)
    return fields


def _without(document: Json, path: str) -> Json:
    """The document less what is at a dotted path; an object that held nothing else goes with it."""
    key, _, rest = path.partition(".")
    inner = document.get(key)
    if rest:
        left = _without(inner, rest) if isinstance(inner, dict) else inner
        if left or left == inner:
            return {**document, key: left} if key in document else document
    return {name: value for name, value in document.items() if name != key}


def wrapped(record: RecordSettings, fields: Json, version: str | None = None) -> Json:
    """Fields as the body of a request; with the version, where the API has it as a field."""
    body = placed({}, record.body_field, fields) if record.body_field else fields
    if record.version == "field" and record.version_field and version is not None:
        number = int(version) if re.fullmatch(r"0|[1-9]\d{0,15}", version) else version
        return placed(body, record.version_field, number)
    return body


def merge_patch(before: Json, after: Json) -> Json:
    """What turns ``before`` into ``after`` by RFC 7386; lists are sent whole."""
    patch: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        held = before.get(name)
        if name in before and exact_json.dumps(held) == exact_json.dumps(value):
            continue
        patch[name] = merge_patch(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return patch
