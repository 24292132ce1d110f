"""The manifest of a finished export, and the lines of its files that are no records. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from connector_runner.connectors.fhir.outcomes import issue_codes
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.errors import BadRecord, Unavailable

Kind = Literal["output", "deleted", "outcome"]
_LISTS: Final[tuple[tuple[str, Kind], ...]] = (
    ("output", "output"),
    ("deleted", "deleted"),
    ("error", "outcome"),  # IG versions 1 to 3
    ("outcome", "outcome"),  # IG version 4
)
_LOCAL = re.compile(r"(?:\S*/)?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9.\-]{1,64})")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_INFORMS: Final = ("information", "warning", "success")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file; ``count`` are its lines, where the server says."""

    kind: Kind
    resource_type: str
    url: str
    count: int | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished export offers. ``next_page`` is another manifest of the same export (IG version 3)."""

    transaction_time: datetime | None
    requires_token: bool
    files: tuple[ManifestFile, ...]
    next_page: str | None


def parse_manifest(body: bytes) -> Manifest:
    """Read a manifest, leniently but for what cannot be done without.

    Raises Unavailable (``bad_manifest``).
    """
    try:
        document = exact_json.loads(body)
    except BadRecord as fault:
        raise Unavailable("the manifest cannot be read as JSON", code="bad_manifest", where=fault.code) from None
    if not isinstance(document, dict) or not any(name in document for name in ("output", "transactionTime", "error")):
        raise Unavailable("the answer is no manifest", code="bad_manifest")
    said = document.get("transactionTime")
    return Manifest(
        parse_instant(said) if isinstance(said, str) else None,
        document.get("requiresAccessToken") is not False,
        tuple(file for name, kind in _LISTS for file in _files(document.get(name), kind)),
        _next(document.get("link")),
    )


def _files(listed: Any, kind: Kind) -> Iterator[ManifestFile]:
    for item in listed if isinstance(listed, list) else ():
        url = item.get("url") if isinstance(item, dict) else None
        if not isinstance(url, str) or not url:
            raise Unavailable("a file of the manifest has no address", code="bad_manifest", where=kind)
        named, count = item.get("type"), item.get("count")
        counted = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        kind_of_record = named if isinstance(named, str) and _TYPE.fullmatch(named) else ""
        yield ManifestFile(kind, kind_of_record, url, count if counted else None)


def _next(links: Any) -> str | None:
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            # A published manifest says so when there is none yet.
            return None if link["url"] == "#pending" else str(link["url"])
    return None


@dataclass(frozen=True, slots=True)
class Deletion:
    """A record that the server says is gone, and since when if it says so."""

    resource_type: str
    record_id: str
    at: datetime | None


def deletions_on(line: bytes) -> list[Deletion]:
    """What a line of a ``deleted`` file says is gone: a transaction Bundle of DELETE entries, as the IG has it.

    Raises BadRecord (``bad_deletion``) for a line that is something else.
    """
    bundle = exact_json.loads(line)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise BadRecord("a list of deletes holds Bundles", code="bad_deletion")
    meta = bundle.get("meta")
    whole = _moment(meta.get("lastUpdated") if isinstance(meta, dict) else None) or _moment(bundle.get("timestamp"))
    found: list[Deletion] = []
    entries = bundle.get("entry", [])
    for entry in entries if isinstance(entries, list) else [None]:
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or str(request.get("method")).upper() != "DELETE":
            raise BadRecord("an entry of a list of deletes is none", code="bad_deletion")
        local = _LOCAL.fullmatch(str(request.get("url")))
        if local is None:
            raise BadRecord("a delete names no single record", code="bad_deletion")
        response = entry.get("response") if isinstance(entry, dict) else None
        own = _moment(response.get("lastModified")) if isinstance(response, dict) else None
        found.append(Deletion(local[1], local[2], own or whole))
    return found


def _moment(value: Any) -> datetime | None:
    return parse_instant(value) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Issue:
    """What a line of an ``error`` or ``outcome`` file comes to: ``grave`` when something could not be exported."""

    grave: bool
    codes: tuple[str, ...]


def issue_on(line: bytes) -> Issue:
    """Read a line of OperationOutcome; one that is none is grave, with the code ``not_an_outcome``."""
    try:
        document = exact_json.loads(line)
    except BadRecord:
        return Issue(True, ("not_an_outcome",))
    listed = document.get("issue") if isinstance(document, dict) else None
    issues = [issue for issue in listed if isinstance(issue, dict)] if isinstance(listed, list) else []
    if not issues:
        return Issue(True, ("not_an_outcome",))
    return Issue(any(issue.get("severity") not in _INFORMS for issue in issues), issue_codes(document))
