"""A FHIR server in memory behind a bad network, seen as ``FHIRSink`` sees one: requests in, answers out.

``late_s`` is D: how long after its answer was lost a request may still be carried out. ``lag_s`` is L: how long the
search index, and reads from a copy, may be behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import unquote

from connector_runner.infra.http import Answer, AnswerLost
from connector_runner.kernel.errors import Unavailable
from connector_runner.outbound.planning.patching import patch
from tests.simulation.scheduling import Process, Scheduler

BASE = datetime(2031, 3, 1, tzinfo=UTC)
Json = dict[str, Any]


def instant(seconds: float) -> str:
    """A moment of virtual time, as the server writes it."""
    return (BASE + timedelta(seconds=seconds)).isoformat()


@dataclass(frozen=True)
class Version:
    """What a resource was from ``at`` on."""

    number: int
    body: Json
    at: float
    foreign: bool


@dataclass
class Resource:
    """All its versions; the index shows it from ``indexed_at`` on."""

    ref: str
    versions: list[Version]
    indexed_at: float

    @property
    def last(self) -> Version:
        """As it is."""
        return self.versions[-1]

    def as_of(self, moment: float) -> Version | None:
        """As it was."""
        return next((version for version in reversed(self.versions) if version.at <= moment), None)


@dataclass(frozen=True)
class Request:
    """One that reached the network."""

    method: str
    path: str
    headers: Mapping[str, str]
    params: tuple[tuple[str, str], ...]
    body: Json | None

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"


@dataclass
class Server:
    """The other side."""

    scheduler: Scheduler
    late_s: float
    lag_s: float
    versioned: bool = True
    stale: int = 412
    resources: dict[str, Resource] = field(default_factory=dict)
    journal: list[tuple[float, str, str, Version | None]] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    transactions: int = 0

    def handle(self, request: Request) -> tuple[int, dict[str, str], Json | None]:
        """Carry a request out, now."""
        if request.method == "GET":
            return self._read(request) if "/" in request.path else self._search(request)
        assert request.body is not None
        if request.method == "POST" and not request.path:
            return self._transaction(request.body)
        if request.method == "POST":
            return self._conditional_create(request)
        held = self.resources.get(request.path)
        wanted = request.headers.get("If-Match")
        if wanted is not None and (held is None or wanted != _etag(held.last)):
            issue = {"severity": "error", "code": "conflict"}
            return self.stale, {}, {"resourceType": "OperationOutcome", "issue": [issue]}
        return self.store(request.path, request.body)

    def _transaction(self, bundle: Json) -> tuple[int, dict[str, str], Json | None]:
        """All entries, or none and which one failed (R4, http.html#transaction)."""
        self.transactions += 1
        known = {entry["fullUrl"]: f"{entry['request']['url']}/new" for entry in bundle["entry"] if "fullUrl" in entry}
        for place, entry in enumerate(bundle["entry"]):
            line = entry["request"]
            held = self.resources.get(line["url"])
            if "ifMatch" in line and (held is None or line["ifMatch"] != _etag(held.last)):
                return self.stale, {}, _refused("conflict", place)
            if len(self._matches(unquote(line.get("ifNoneExist", "").partition("=")[2]))) > 1:
                return 412, {}, _refused("duplicate", place)
        answers = []
        for entry in sorted(bundle["entry"], key=lambda entry: entry["resource"]["resourceType"], reverse=True):
            line, headers = entry["request"], dict[str, str]()
            for name, header in (("ifMatch", "If-Match"), ("ifNoneExist", "If-None-Exist")):
                headers |= {header: line[name]} if name in line else {}
            body = json.loads(_replaced(json.dumps(entry["resource"]), known))
            status, named, shown = self.handle(Request(line["method"], line["url"], headers, (), body))
            if "fullUrl" in entry:
                known[entry["fullUrl"]] = named["Location"].partition("/_history")[0]
            response = {"status": f"{status}", "etag": named["ETag"], "location": named["Location"]}
            answers.append((entry, {"resource": shown, "response": response}))
        listed = [answer for entry in bundle["entry"] for asked, answer in answers if asked is entry]
        return 200, {}, {"resourceType": "Bundle", "type": "transaction-response", "entry": listed}

    def store(self, ref: str, body: Json, *, foreign: bool = False) -> tuple[int, dict[str, str], Json]:
        """A new version."""
        now = self.scheduler.now
        held = self.resources.get(ref)
        number = held.last.number + 1 if held else 1
        kept = {key: value for key, value in body.items() if key != "meta"}
        about = kept.get("subject", {}).get("reference")
        if about is not None and about not in self.resources:
            self.dangling.append(f"{ref} refers to {about}")
        kept |= {"id": ref.split("/")[1], "meta": {"versionId": str(number), "lastUpdated": instant(now)}}
        version = Version(number, kept, now, foreign)
        if held is None:
            self.resources[ref] = Resource(ref, [version], now + self.scheduler.chance.uniform(0, self.lag_s))
        else:
            held.versions.append(version)
        self.journal.append((now, "foreign" if foreign else "ours", ref, version))
        self.scheduler.note(f"server: {ref[-6:]} v{number} {'foreign' if foreign else 'ours'} {_words(kept)}")
        return (201 if number == 1 else 200), _named(version, ref), kept

    def edit(self, ref: str, before: Json, after: Json) -> None:
        """Another user's change: of what is there, at once."""
        held = self.resources.get(ref)
        if held is not None:
            self.store(ref, patch(held.last.body, before, after), foreign=True)

    def _read(self, request: Request) -> tuple[int, dict[str, str], Json | None]:
        held = self.resources.get(request.path)
        lagging = self.versioned and self.scheduler.chance.random() < 0.3
        behind = self.scheduler.chance.uniform(0, self.lag_s) if lagging else 0.0
        version = held.as_of(self.scheduler.now - behind) if held else None
        if version is None:
            return 404, {}, None
        return 200, _named(version, request.path), version.body

    def _search(self, request: Request) -> tuple[int, dict[str, str], Json | None]:
        found = self._matches(dict(request.params)["identifier"])
        entries = [{"resource": resource.last.body} for resource in found]
        return 200, {}, {"resourceType": "Bundle", "type": "searchset", "entry": entries}

    def _conditional_create(self, request: Request) -> tuple[int, dict[str, str], Json | None]:
        assert request.body is not None
        found = self._matches(unquote(request.headers["If-None-Exist"].partition("=")[2]))
        if len(found) > 1:
            return 412, {}, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "duplicate"}]}
        if found:
            return 200, _named(found[0].last, found[0].ref), found[0].last.body
        return self.store(f"{request.path}/{len(self.resources) + 1}", request.body)

    def _matches(self, identifier: str) -> list[Resource]:
        system, _, value = identifier.partition("|")
        wanted = {"system": system, "value": value}
        return [
            resource
            for resource in self.resources.values()
            if wanted in resource.last.body.get("identifier", []) and resource.indexed_at <= self.scheduler.now
        ]


FAULTS = (
    "not_sent", "lost_before", "lost_after", "late", "hang", "twice", "again", "stale_etag", "no_body",
    "status_429", "status_429_wait", "status_503", "status_503_wait", "status_500", "html", "empty", "status_401",
)  # fmt: skip

IN_TRANSACTIONS = ("entry_refused", "all_refused")


@dataclass
class Network:
    """Between us and the server. ``rates``: fault -> how often, as a share of requests; empty for none."""

    scheduler: Scheduler
    server: Server
    timeout_s: float
    rates: Mapping[str, float]
    own: Process = field(default_factory=lambda: Process("network", faulty=False))
    slowness: float = 1.0
    arrivals: list[float] = field(default_factory=list)
    under_way: int = 0

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        kind: Literal["read", "write"] = "read",
        max_bytes: int | None = None,
    ) -> Answer:
        """Send one; raises as the product's client does."""
        request = Request(
            method, path_or_url, dict(headers or {}), tuple(params or ()), None if body is None else json.loads(body)
        )
        fault = self._fault(request)
        self.scheduler.note(f"{method} {path_or_url[-14:]} {_words(request.body)} {fault or ''}")
        if fault == "not_sent":
            self._pass(0.0, 0.2)
            raise Unavailable("no connection", code="not_sent")
        self.arrivals.append(self.scheduler.now)
        self.under_way += request.writes
        try:
            return getattr(self, f"_{fault}", self._well)(request) if fault else self._well(request)
        finally:
            self.under_way -= request.writes

    def _fault(self, request: Request) -> str | None:
        dice = self.scheduler.chance.random()
        for fault, rate in self.rates.items():
            dice -= rate
            if dice < 0:
                if fault in IN_TRANSACTIONS and request.path:
                    return None
                return None if fault in ("again", "twice", "stale_etag", "no_body") and not request.writes else fault
        return None

    def _pass(self, least: float, most: float) -> None:
        self.scheduler.sleep(self.scheduler.chance.uniform(least, most))

    def _carried_out(self, request: Request) -> Answer:
        status, headers, body = self.server.handle(request)
        return Answer(status, headers, b"" if body is None else json.dumps(body).encode(), "")

    def _well(self, request: Request) -> Answer:
        self._pass(0.005 * self.slowness, 0.15 * self.slowness)
        answer = self._carried_out(request)
        self._pass(0.005 * self.slowness, 0.15 * self.slowness)
        self.scheduler.note(f"answer {answer.status} {answer.headers.get('ETag', '')}")
        return answer

    def _lost(self, request: Request) -> Answer:
        raise AnswerLost("no answer")

    def _lost_before(self, request: Request) -> Answer:
        self._pass(0.01, self.timeout_s)
        raise AnswerLost("no answer")

    def _lost_after(self, request: Request) -> Answer:
        self._pass(0.01, self.timeout_s / 2)
        self._carried_out(request)
        self._pass(0.01, self.timeout_s / 2)
        raise AnswerLost("no answer")

    def _late(self, request: Request) -> Answer:
        self._pass(0.01, self.timeout_s)
        self._later("late", request, self.scheduler.chance.uniform(0, self.server.late_s))
        raise AnswerLost("no answer")

    def _hang(self, request: Request) -> Answer:
        self.scheduler.sleep(self.timeout_s)
        return self._late(request) if self.scheduler.chance.random() < 0.3 else self._lost(request)

    def _twice(self, request: Request) -> Answer:
        """A proxy repeats it at once; the answer is either's."""
        self._pass(0.005, 0.1)
        first = self._carried_out(request)
        blind = "POST" in (
            request.method,
            *(entry["request"]["method"] for entry in (request.body or {}).get("entry", ())),
        )
        if "If-Match" not in request.headers and blind and self.server.lag_s:
            return first
        second = self._carried_out(request)
        self._pass(0.005, 0.1)
        return first if self.scheduler.chance.random() < 0.5 else second

    def _again(self, request: Request) -> Answer:
        """A copy of it arrives much later: a precondition, or what the index shows by then, stops it."""
        answer = self._well(request)
        if "If-Match" in request.headers or "If-None-Exist" in request.headers:
            after = self.server.lag_s + self.scheduler.chance.uniform(0, 10)
            self._later("again", request, after)
        return answer

    def _later(self, name: str, request: Request, after: float) -> None:
        self.under_way += request.writes

        def arrive() -> None:
            self.under_way -= request.writes
            self._carried_out(request)

        self.scheduler.start(name, self.own, arrive, after=after)

    def _stale_etag(self, request: Request) -> Answer:
        answer = self._well(request)
        return Answer(answer.status, {**answer.headers, "ETag": 'W/"0"'}, answer.body, "")

    def _no_body(self, request: Request) -> Answer:
        answer = self._well(request)
        return Answer(answer.status, answer.headers, b"", "")

    def _perhaps(self, request: Request) -> None:
        self._pass(0.005, 0.2)
        if request.writes and self.scheduler.chance.random() < 0.5:
            self._carried_out(request)
        self._pass(0.005, 0.2)

    def _status_500(self, request: Request) -> Answer:
        self._perhaps(request)
        return Answer(500, {}, b"", "")

    def _html(self, request: Request) -> Answer:
        self._perhaps(request)
        return Answer(self.scheduler.chance.choice([200, 502]), {}, b"<html>proxy</html>", "")

    def _empty(self, request: Request) -> Answer:
        self._perhaps(request)
        return Answer(200, {}, b"", "")

    def _status_503(self, request: Request) -> Answer:
        self._perhaps(request)
        return Answer(503, {}, b"", "")

    def _status_503_wait(self, request: Request) -> Answer:
        self._pass(0.005, 0.2)
        return Answer(503, {"Retry-After": "2"}, b"", "")

    def _status_429(self, request: Request) -> Answer:
        self._pass(0.005, 0.1)
        return Answer(429, {}, b"", "")

    def _status_429_wait(self, request: Request) -> Answer:
        self._pass(0.005, 0.1)
        return Answer(429, {"Retry-After": "3"}, b"", "")

    def _entry_refused(self, request: Request) -> Answer:
        """Nothing is done, for the sake of one entry."""
        self._pass(0.005, 0.1)
        assert request.body is not None
        place = self.scheduler.chance.randrange(len(request.body["entry"]))
        return Answer(422, {}, json.dumps(_refused("business-rule", place)).encode(), "")

    def _all_refused(self, request: Request) -> Answer:
        """Nothing is done, and why is not said."""
        self._pass(0.005, 0.1)
        return Answer(422, {}, json.dumps(_refused("business-rule", None)).encode(), "")

    def _status_401(self, request: Request) -> Answer:
        self._pass(0.005, 0.1)
        return Answer(401, {}, b"", "")


def _etag(version: Version) -> str:
    return f'W/"{version.number}"'


def _refused(code: str, place: int | None) -> Json:
    where = {} if place is None else {"expression": [f"Bundle.entry[{place}]"]}
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, **where}]}


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for name, place in names.items():
        text = text.replace(name, place)
    return text


def _named(version: Version, ref: str) -> dict[str, str]:
    return {"ETag": _etag(version), "Location": f"{ref}/_history/{version.number}"}


def _words(body: Json | None) -> str:
    if body is None:
        return ""
    return f"{body.get('gender')}/{body.get('language')}"
