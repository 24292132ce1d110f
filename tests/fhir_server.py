"""A FHIR server in memory whose behaviour is chosen: how it pages, filters, sorts, fails. For tests of reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from connector_runner.infra.http import Answer
from connector_runner.kernel.clock import parse_instant

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
"""Between two instants of the server's clock; more than a reader's tolerance of stamps that are a little old."""


@dataclass
class Row:
    """One record: its version counts its changes."""

    id: str
    version: int
    stamp: datetime
    body: dict[str, Any] = field(default_factory=dict)


class FHIRServer:
    """Stands in for a FHIRClient. ``paging``: ``snapshot`` keeps the ids that a search found, ``offset`` none.

    ``during`` is called before each page is made; ``faults`` are by the number of a request, from 1: a status.
    ``cap`` is the most rows that a snapshot holds. ``withheld``: less was granted to its client than was asked.
    ``tells`` what it searched for, in its self link.
    """

    def __init__(
        self,
        *,
        page_size: int = 2,
        paging: Literal["snapshot", "offset"] = "snapshot",
        filters: bool = True,
        sorts: bool = True,
        dated: bool = True,
        stamped: bool = True,
    ) -> None:
        self.settings: Any = SimpleNamespace(page_size=page_size, overlap_s=0, history=False)
        self.paging, self.filters, self.sorts, self.dated, self.stamped = paging, filters, sorts, dated, stamped
        self.now, self.step = EPOCH, STEP
        self.rows: dict[str, Row] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.faults: dict[int, int] = {}
        self.during: Callable[[], None] = lambda: None
        self.warnings: list[str] = []
        self.cap: int | None = None
        self.withheld = False
        self.tells = True
        self._versions: dict[str, int] = {}
        self._searches: dict[str, list[str]] = {}

    def touch(self, row_id: str, *, same_instant: bool = False, **body: Any) -> None:
        """Make a record, or change it; now, or at the very instant of the last change."""
        if not same_instant:
            self.now += self.step
        known = self.rows.get(row_id)
        self._versions[row_id] = self._versions.get(row_id, 0) + 1
        self.rows[row_id] = Row(row_id, self._versions[row_id], self.now, body or (known.body if known else {}))

    def delete(self, row_id: str) -> None:
        """Take a record away, without a trace."""
        self.now += STEP
        self.rows.pop(row_id, None)

    @property
    def versions(self) -> dict[str, str]:
        """What there is."""
        return {row.id: str(row.version) for row in self.rows.values()}

    def request(self, method: str, path: str, *, params: list[tuple[str, str]] | None = None, **unused: Any) -> Answer:
        """As FHIRClient's."""
        parts = urlsplit(path)
        query = [*parse_qsl(parts.query), *(params or [])]
        self.asked.append((parts.path, dict(query)))
        self.during()
        status = self.faults.get(len(self.asked), 200)
        if status != 200:
            return self._answer(status, {"resourceType": "OperationOutcome", "issue": []})
        wanted = dict(query)
        kind, _, row_id = parts.path.partition("/")
        if row_id:
            row = self.rows.get(row_id)
            return self._answer(200, self._resource(kind, row)) if row else self._answer(404, {})
        return self._answer(200, self._page(kind, query, int(wanted.get("_at", "0")), wanted.get("_search")))

    def shows_all(self, resource_type: str) -> bool:
        """As FHIRClient's."""
        return not self.withheld

    def _answer(self, status: int, body: dict[str, Any]) -> Answer:
        headers: Mapping[str, str] = {"Date": self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")} if self.dated else {}
        return Answer(status, headers, json.dumps(body).encode(), "http://server")

    def matches(self, kind: str, query: list[tuple[str, str]]) -> list[Row]:
        """The rows of a search, in its order; overridden by servers with filters of their own."""
        found = list(self.rows.values())
        if self.filters:
            for name, value in query:
                bound = parse_instant(value[2:]) if name == "_lastUpdated" else None
                if bound is not None and value.startswith("ge"):
                    found = [row for row in found if row.stamp >= bound]
                elif bound is not None:
                    found = [row for row in found if row.stamp < bound]
        if self.sorts:
            return sorted(found, key=lambda row: (row.stamp, row.id), reverse=("_sort", "-_lastUpdated") in query)
        return sorted(found, key=lambda row: row.id[::-1])

    def _page(self, kind: str, query: list[tuple[str, str]], at: int, search: str | None) -> dict[str, Any]:
        size = min(self.settings.page_size, int(dict(query).get("_count", "9999")))
        if self.paging == "snapshot":
            if search is None:
                search = f"s{len(self._searches)}"
                self._searches[search] = [row.id for row in self.matches(kind, query)][: self.cap]
            ids = self._searches[search]
            shown = [self.rows[one] for one in ids[at : at + size] if one in self.rows]
            more = at + size < len(ids)
        else:
            found = self.matches(kind, query)
            shown, more = found[at : at + size], at + size < len(found)
        kept = [(name, value) for name, value in query if name not in ("_at", "_search")]
        own = {"relation": "self", "url": f"{kind}?{urlencode(kept if self.sorts else [])}"}
        links = [own] if self.tells else []
        if more:
            onward = [*kept, ("_at", str(at + size)), *([("_search", search)] if search else [])]
            links.append({"relation": "next", "url": f"{kind}?{urlencode(onward)}"})
        entries: list[dict[str, Any]] = [{"resource": self._resource(kind, row)} for row in shown]
        entries += [{"search": {"mode": "outcome"}, "resource": outcome(code)} for code in self.warnings]
        return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}

    def _resource(self, kind: str, row: Row) -> dict[str, Any]:
        stamp = row.stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        meta = {"meta": {"versionId": str(row.version), "lastUpdated": stamp}} if self.stamped else {}
        return {
            "resourceType": kind,
            "id": row.id,
            **meta,
            "gender": "male" if row.version % 2 else "female",
            **row.body,
        }


def outcome(code: str) -> dict[str, Any]:
    """A warning with a vendor's code and no issue code."""
    issue = {"severity": "warning", "details": {"coding": [{"system": "urn:oid:1.2", "code": code}]}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
