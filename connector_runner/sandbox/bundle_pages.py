"""Search and history, answered page by page as Bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .dates import instant, interval
from .fhir_json import Json, written
from .messages import Answer, Pairs, Request, json_answer
from .outcomes import FhirError, outcome
from .paging import Cursor, Pages
from .search import DEFAULT_COUNT, Search, parse_search
from .store import Store, Version, wall_clock_ms

HISTORY_STATUS = {"POST": "201", "PUT": "200", "PATCH": "200", "DELETE": "204"}


@dataclass(slots=True)
class Behaviour:
    """What differs from one vendor's server to another's.

    ``paging`` is ``snapshot``, or ``offset`` into the rows as they are now; ``client_ids`` is whether a PUT
    may create; ``strict`` is whether content is checked before it is written; ``etags`` whether a CRM has any.
    ``conflict_status`` answers a stale If-Match; ``conditional_create`` false passes over If-None-Exist;
    ``transactions`` false refuses them. ``token``: requests without it as their bearer token get 401; "" asks for none.
    Of exports: they are ready after so many ``looks``, in files of so many ``lines``, which are there for ``life_ms``
    (0: always); ``issues`` resources could not be read, counts are wrong by ``miscounts``, so many answers with a file
    end in its middle (``cuts``), a client may have several at once (``parallel``) or is told which one runs
    (``tells_running``), single ``patients`` may be named, and deletes are dated or not.
    ``auth`` is "smart" where requests need tokens of the system's own authorization server.
    """

    paging: str = "snapshot"
    max_count: int = 1000
    client_ids: bool = True
    strict: bool = True
    etags: bool = True
    conflict_status: int = 412
    conditional_create: bool = True
    transactions: bool = True
    token: str = ""
    auth: str = ""
    export_looks: int = 0
    export_file_lines: int = 1000
    export_life_ms: int = 0
    export_issues: int = 0
    export_miscounts: int = 0
    export_cuts: int = 0
    export_ranges: bool = True
    export_post_only: bool = False
    export_parallel: bool = False
    export_tells_running: bool = False
    export_patient_parameter: bool = True
    export_dates_deletes: bool = True


class Readings:
    """Answers that hold many resources."""

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        self._store = store
        self._behaviour = behaviour
        self._pages = Pages(store)

    def search(self, request: Request, resource_type: str, pairs: Pairs) -> Answer:
        """The first page of a search."""
        seq = self._place(request)
        return self._search_page(request, Cursor(resource_type, pairs, seq, 0))

    def find(self, resource_type: str, pairs: Pairs) -> list[Version]:
        """Current matches of a conditional write; ``FhirError`` when it has no condition that we know."""
        search = parse_search(resource_type, pairs, strict=True, most=self._behaviour.max_count)
        if not search.tests:
            raise FhirError(412, "the condition selects nothing in particular")
        return search.rows(self._store, self._store.last_seq)

    def history(self, request: Request, path: str) -> Answer:
        """The first page of the history of ``path``: of a resource, a type, or (empty) of everything."""
        return self._history_page(request, Cursor(path + "/_history", request.pairs, self._place(request), 0))

    def page(self, request: Request, token: str) -> Answer:
        """A later page."""
        cursor = Cursor.parse(token, self._store.epoch)
        if cursor.path.endswith("/_history"):
            return self._history_page(request, cursor)
        return self._search_page(request, cursor)

    def lagging(self, past: list[Version], seconds: float) -> Version | None:
        """The version that was current some seconds ago."""
        moment = wall_clock_ms() - int(seconds * 1000)
        return next((version for version in reversed(past) if version.updated_ms <= moment), None)

    def _place(self, request: Request) -> int | None:
        if request.stale_s is not None:
            return self._store.seq_at(wall_clock_ms() - int((request.stale_s or 5.0) * 1000))
        return None if self._behaviour.paging == "offset" else self._store.last_seq

    def _search_page(self, request: Request, cursor: Cursor) -> Answer:
        strict = "handling=strict" in request.headers.get("prefer", "")
        search = parse_search(cursor.path, cursor.pairs, strict=strict, most=self._behaviour.max_count)
        rows = self._pages.rows(cursor, lambda seq: search.rows(self._store, seq))
        shown = rows[cursor.offset : cursor.offset + search.count]
        base = request.base_url
        entries: list[Json] = [
            {
                "fullUrl": f"{base}/{version.reference}",
                "resource": written(version.raw or b""),
                "search": {"mode": "match"},
            }
            for version in shown
        ]
        if search.ignored:
            entries.append(_ignored(search))
        here = f"{base}/{cursor.path}?{urlencode(search.used)}".rstrip("?")
        return self._bundle("searchset", here, cursor, rows, search.count, entries, base)

    def _history_page(self, request: Request, cursor: Cursor) -> Answer:
        count, since = _history_parameters(cursor.pairs, self._behaviour.max_count)
        path = cursor.path.removesuffix("/_history")
        rows = self._pages.rows(cursor, lambda seq: self._versions(path, since, seq))
        shown = rows[cursor.offset : cursor.offset + count]
        entries = [_history_entry(version, request.base_url) for version in shown]
        here = f"{request.base_url}/{cursor.path.lstrip('/')}?{urlencode(cursor.pairs)}".rstrip("?")
        return self._bundle("history", here, cursor, rows, count, entries, request.base_url)

    def _versions(self, path: str, since: int, seq: int) -> list[Version]:
        resource_type, _, resource_id = path.partition("/")
        log = (
            self._store.history(resource_type, resource_id)
            if resource_id
            else self._store.log_of(resource_type or None)
        )
        return [version for version in reversed(log) if version.seq <= seq and version.updated_ms >= since]

    def _bundle(
        self, kind: str, here: str, cursor: Cursor, rows: list[Version], count: int, entries: list[Json], base: str
    ) -> Answer:
        links = [{"relation": "self", "url": here}]
        after = cursor.offset + count
        if count and after < len(rows):
            token = Cursor(cursor.path, cursor.pairs, cursor.seq, after).token(self._store.epoch)
            links.append({"relation": "next", "url": f"{base}/{cursor.path.lstrip('/')}?_cursor={token}"})
        body: dict[str, Any] = {
            "resourceType": "Bundle",
            "type": kind,
            "timestamp": instant(wall_clock_ms()),
            "total": len(rows),
            "link": links,
        }
        if entries:
            body["entry"] = entries
        return json_answer(200, body)


def _ignored(search: Search) -> Json:
    text = f"ignored: {', '.join(search.ignored)}"
    return {
        "resource": outcome("not-supported", text, severity="warning"),
        "search": {"mode": "outcome"},
    }


def _history_parameters(pairs: Pairs, most: int) -> tuple[int, int]:
    count, since = DEFAULT_COUNT, 0
    for name, value in pairs:
        try:
            if name == "_count":
                count = min(int(value), most)
            elif name == "_since":
                since = interval(value)[0]
        except ValueError:
            raise FhirError(400, f"bad value for {name!r}", code="value") from None
    return max(count, 0), since


def _history_entry(version: Version, base: str) -> Json:
    url = version.resource_type if version.method == "POST" else version.reference
    status = "201" if version.method == "PUT" and version.number == 1 else HISTORY_STATUS[version.method]
    entry: Json = {
        "fullUrl": f"{base}/{version.reference}",
        "request": {"method": version.method, "url": url},
        "response": {"status": status, "lastModified": instant(version.updated_ms), "etag": version.etag},
    }
    if version.raw is not None:
        entry["resource"] = written(version.raw)
    return entry
