"""One answer to a search: its records, what is wrong with the rest, and where the next page is.

Real servers leave out ``search.mode``, ``total``, stamps and more, and mix warnings with the matches
(an OperationOutcome entry, search.mode ``outcome``), so a page is read leniently and entry by entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import pairwise
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from connector_runner.connectors.base import BadEntry, SourceRecord
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.errors import BadRecord, Unavailable

# R4 ids are shorter and plainer; what could not be part of a path is refused.
_ID = re.compile(r"[^\s/?#\\\x00-\x1f\ud800-\udfff]{1,256}")
_YEARS = range(1971, 9999)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """A search answer taken apart. ``sorted_by`` is the order that the server says it applied."""

    records: tuple[SourceRecord, ...]
    bad: tuple[BadEntry, ...]
    entries: tuple[Any, ...]
    next_link: str | None
    sorted_by: str | None
    server_time: datetime | None
    self_link: str | None = None

    @property
    def fingerprint(self) -> str:
        """Stands for the records of the page in their order; empty for an empty page."""
        if not self.records:
            return ""
        names = "\n".join(f"{r.record_id} {r.version} {r.last_updated}" for r in self.records)
        return blake2b(names.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def parse_page(body: bytes, resource_type: str, *, place: str) -> ParsedPage:
    """Take a searchset Bundle apart.

    An entry that is no usable record becomes a BadEntry with its index; its neighbours are read. Raises
    Unavailable (``not_json``, ``not_a_bundle``) when the answer as a whole is something else.
    """
    bundle, broken = _load(body, place)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise Unavailable("the answer is not a Bundle", code="not_a_bundle", where=place)
    entries = _listed(bundle.get("entry"), place)
    records: list[SourceRecord] = []
    bad: list[BadEntry] = []
    for index, entry in enumerate(entries):
        where = f"{place} entry {index}"
        if index in broken:
            raw, fault = broken[index]
            bad.append(BadEntry(where, fault.code, fault.message, raw))
            continue
        try:
            record = read_entry(entry, resource_type)
        except BadRecord as fault:
            bad.append(BadEntry(where, fault.code, fault.message, exact_json.dumps(entry).encode()))
            continue
        if record is not None:
            records.append(record)
    links = _links(bundle, place)
    asked = parse_qs(split(links.get("self", "")).query).get("_sort")
    following = links.get("next")
    if following is not None and following.startswith("?"):
        following = resource_type + following  # as what was asked for, and not as the base
    return ParsedPage(
        tuple(records),
        tuple(bad),
        tuple(entry for index, entry in enumerate(entries) if index not in broken),
        following,
        asked[0] if asked else None,
        _stamp(bundle)[1],
        links.get("self"),
    )


def _links(bundle: dict[str, Any], place: str) -> dict[str, str]:
    links: dict[str, str] = {}
    for link in _listed(bundle.get("link"), place):
        relation, url = (link.get("relation"), link.get("url")) if isinstance(link, dict) else (None, None)
        if isinstance(relation, str) and isinstance(url, str) and url.strip():
            links.setdefault(relation, url)
    return links


def split(url: str) -> SplitResult:
    """The parts of a URL; of what is none (``http://[base]/Patient``) there are none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _listed(value: Any, place: str) -> list[Any]:
    """A list of the Bundle; some servers write a list of one without its brackets.

    Raises Unavailable (``not_a_bundle``) for anything else: what it stands for would be missed.
    """
    if value is not None and not isinstance(value, list | dict):
        raise Unavailable("a list of the Bundle is none", code="not_a_bundle", where=place)
    return value if isinstance(value, list) else [value] if value else []


def read_entry(entry: Any, resource_type: str) -> SourceRecord | None:
    """The record of one entry; None for what is no match (a warning, an included resource).

    Raises BadRecord (``entry_not_object``, ``no_resource``, ``wrong_type``, ``no_id``).
    """
    if not isinstance(entry, dict):
        raise BadRecord("the entry is not an object", code="entry_not_object")
    search = entry.get("search")
    mode = search.get("mode") if isinstance(search, dict) else None
    resource = entry.get("resource")
    if mode == "outcome":
        return None
    if not isinstance(resource, dict):
        raise BadRecord("the entry holds no resource", code="no_resource")
    found = resource.get("resourceType")
    if found == "OperationOutcome" or (mode == "include" and found != resource_type):
        return None
    return read_resource(resource, resource_type)


def read_resource(resource: dict[str, Any], resource_type: str) -> SourceRecord:
    """A resource as a record; BadRecord (``wrong_type``, ``no_id``) when it is not one of this type."""
    if resource.get("resourceType") != resource_type:
        raise BadRecord(f"the resource is not a {resource_type}", code="wrong_type")
    record_id = resource.get("id")
    if not isinstance(record_id, str) or not _ID.fullmatch(record_id):
        raise BadRecord("the resource has no usable id", code="no_id")
    version, last_updated = _stamp(resource)
    raw = exact_json.dumps(resource).encode()
    return SourceRecord(resource_type, record_id, raw, resource, version, last_updated)


def _stamp(resource: dict[str, Any]) -> tuple[str | None, datetime | None]:
    meta = resource.get("meta")
    if not isinstance(meta, dict):
        return None, None
    version, updated = meta.get("versionId"), meta.get("lastUpdated")
    return version if isinstance(version, str) and version else None, _instant(updated)


def _instant(value: Any) -> datetime | None:
    """A stamp; None for what stands for none in some servers, as the first second of the year 1 or of 1970."""
    found = parse_instant(value) if isinstance(value, str) else None
    return found if found is not None and found.year in _YEARS else None


def deleted_entry(entry: Any, resource_type: str) -> SourceRecord | None:
    """The delete that a history entry tells of, or None (R4 http.html#history: DELETE has no resource)."""
    if not isinstance(entry, dict) or isinstance(entry.get("resource"), dict):
        return None
    request, response = entry.get("request"), entry.get("response")
    request = request if isinstance(request, dict) else {}
    response = response if isinstance(response, dict) else {}
    status = str(response.get("status", ""))
    if request.get("method") != "DELETE" and not (not request and status[:3] in ("204", "410")):
        return None
    record_id = entry_id(entry, resource_type)
    if record_id is None:
        return None
    etag, modified = response.get("etag"), response.get("lastModified")
    return SourceRecord(
        resource_type,
        record_id,
        exact_json.dumps(entry).encode(),
        None,
        version=etag.removeprefix("W/").strip('"') or None if isinstance(etag, str) else None,
        last_updated=_instant(modified),
        deleted=True,
    )


def entry_id(entry: Any, resource_type: str) -> str | None:
    """The id that a history entry is about, from its resource, its request or its fullUrl."""
    if not isinstance(entry, dict):
        return None
    resource = entry.get("resource")
    if isinstance(resource, dict):
        found = resource.get("id")
        return found if isinstance(found, str) and resource.get("resourceType") == resource_type else None
    request = entry.get("request")
    for text in (request.get("url") if isinstance(request, dict) else None, entry.get("fullUrl")):
        steps = split(text).path.split("/") if isinstance(text, str) else []
        for step, following in pairwise(steps):
            if step == resource_type and _ID.fullmatch(following):
                return following
    return None


def newest(records: tuple[SourceRecord, ...]) -> tuple[SourceRecord, ...]:
    """Each id once: the one with the latest stamp, the later of two without."""
    kept: dict[str, SourceRecord] = {}
    for record in records:
        known = kept.get(record.record_id)
        if known is None or not _older(record, known):
            kept[record.record_id] = record
    return records if len(kept) == len(records) else tuple(kept.values())


def _older(record: SourceRecord, known: SourceRecord) -> bool:
    ours, theirs = record.last_updated, known.last_updated
    return ours is not None and theirs is not None and ours < theirs


def _load(body: bytes, place: str) -> tuple[Any, dict[int, tuple[bytes, BadRecord]]]:
    """The parsed Bundle, and by index the entries that poison it."""
    try:
        return exact_json.loads(body), {}
    except BadRecord as fault:
        salvaged = _salvage(body)
        if salvaged is None:
            code = "not_json" if fault.code in ("not_json", "not_utf8") else fault.code
            raise Unavailable("the answer cannot be read as JSON", code=code, where=place) from None
        return salvaged


def _salvage(body: bytes) -> tuple[Any, dict[int, tuple[bytes, BadRecord]]] | None:
    """Read a Bundle entry by entry, so that one that is too deep or holds broken text spoils only itself."""
    text = body.decode("utf-8-sig", "surrogateescape")
    spans = list(_entry_spans(text))
    if not spans:
        return None
    outline = text[: spans[0][0]] + text[spans[-1][1] :]
    try:
        bundle = json.loads(outline, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    entries: list[Any] = []
    broken: dict[int, tuple[bytes, BadRecord]] = {}
    for index, (start, end) in enumerate(spans):
        raw = text[start:end].encode("utf-8", "surrogateescape")
        try:
            entries.append(exact_json.loads(raw))
        except BadRecord as fault:
            entries.append(None)
            broken[index] = (raw, fault)
    if not isinstance(bundle, dict):
        return None
    bundle["entry"] = entries
    return bundle, broken


def _entry_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each object of the top-level ``entry`` list begins and ends; brackets are counted, not nested calls."""
    depth, start, key, inside = 0, 0, "", False
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in "{[":
            depth += 1
            if depth == 2 and mark == "[":
                inside = key == '"entry"'
            elif depth == 3 and inside:
                start = token.start()
        elif mark in "}]":
            if depth == 3 and inside:
                yield start, token.end()
            depth -= 1
            if depth == 1:
                inside = False
        elif depth == 1:
            key = mark
