"""From an entry to a source record: which resource it is about, and whether it says anything."""

from __future__ import annotations

import re
from typing import Any

from connector_runner.connectors.base import SourceRecord
from connector_runner.intake.imports.items import Entry, Fault
from connector_runner.kernel.clock import parse_instant

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ID = re.compile(r"[^\s/?#|\x00-\x1f\ud800-\udfff]{1,255}")
_URN = re.compile(r"urn:(?:uuid|oid):([A-Za-z0-9.-]{1,64})", re.IGNORECASE)
_LOCAL = re.compile(r"(?:\S*/)?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]{1,64})?")
_READS = ("GET", "HEAD")

Ignored = str
"""Why an entry says nothing: ``read_request``, ``no_resource`` or ``search_outcome``."""


def record_of(entry: Entry, place: str = "") -> SourceRecord | Fault | Ignored:
    """The record of an entry, a fault when it cannot be told, or why there is none to expect.

    ``place`` is where the record stood, file and entry.
    """
    method = _method(entry)
    if method in _READS:
        return "read_request"
    if method == "DELETE":
        return _deleted(entry, place)
    if method == "PATCH":
        return Fault(entry.place, "patch_not_supported", "a patch needs the server it was made for", entry.raw)
    if entry.search_mode == "outcome":
        return "search_outcome"
    if entry.resource is None:
        return "no_resource"
    if not isinstance(entry.resource, dict):
        return Fault(f"{entry.place}.resource", "wrong_type", "a resource is an object", entry.raw)
    named = identity(entry)
    return named if isinstance(named, Fault) else _record(entry, entry.resource, place, *named)


def identity(entry: Entry) -> tuple[str, str] | Fault:
    """Type and id of an entry's resource; the id also from the place the entry says it has."""
    resource = entry.resource
    kind, record_id = resource.get("resourceType"), resource.get("id")
    if entry.name == (kind, record_id):  # looked at already, and no less closely
        return entry.name
    if kind is None and entry.record_type is not None:
        kind = entry.record_type
    if not isinstance(kind, str) or not (kind == entry.record_type or _TYPE.fullmatch(kind)):
        return Fault(f"{entry.place}.resourceType", "no_resource_type", "not a FHIR resource: no type", entry.raw)
    if record_id is None:
        record_id = _id_by_place(entry, kind)
    if record_id is None:
        return Fault(f"{entry.place}.id", "no_id", "the resource has no id, nor has its entry", entry.raw)
    if not isinstance(record_id, str) or not _ID.fullmatch(record_id):
        return Fault(f"{entry.place}.id", "bad_id", "an id is a text without spaces and slashes", entry.raw)
    return kind, record_id


def _id_by_place(entry: Entry, kind: str) -> str | None:
    for url in ((entry.request or {}).get("url") if _method(entry) == "PUT" else None, entry.full_url):
        local = _LOCAL.fullmatch(url) if isinstance(url, str) else None
        if local is not None and local[1] == kind:
            return local[2]
    urn = _URN.fullmatch(entry.full_url or "")
    return None if urn is None else urn[1].lower()


def _method(entry: Entry) -> str | None:
    if entry.request is None:
        return None
    method = entry.request.get("method")
    return method.upper() if isinstance(method, str) else None


def _deleted(entry: Entry, place: str) -> SourceRecord | Fault:
    url = (entry.request or {}).get("url")
    local = _LOCAL.fullmatch(url) if isinstance(url, str) else None
    if local is None:
        return Fault(f"{entry.place}.request.url", "delete_unnamed", "a delete names no single record", entry.raw)
    response = entry.response or {}
    version, updated = _etag(response), _instant(response.get("lastModified"))
    return SourceRecord(local[1], local[2], b"", None, version, updated, deleted=True, place=place)


def _record(entry: Entry, resource: dict[str, Any], place: str, kind: str, record_id: str) -> SourceRecord:
    meta = resource.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    version, updated = meta.get("versionId"), _instant(meta.get("lastUpdated") or entry.updated)
    if entry.response is not None:
        version = version or _etag(entry.response)
        updated = updated or _instant(entry.response.get("lastModified"))
    if "id" not in resource:
        resource = {**resource, "id": record_id}
    version = version if isinstance(version, str) else None
    return SourceRecord(kind, record_id, entry.raw, resource, version, updated, raw_hash=entry.raw_hash, place=place)


def _instant(value: Any) -> Any:
    return parse_instant(value) if isinstance(value, str) else None


def _etag(response: dict[str, Any]) -> str | None:
    etag = response.get("etag")
    return etag.removeprefix("W/").strip('"') or None if isinstance(etag, str) else None
