"""Writing to a FHIR R4 server so that a repeat makes no second resource and no foreign edit is lost.

Create: PUT to an id that we chose (R4, http.html#upsert) where the server allows it, else POST with
If-None-Exist on an identifier of ours (http.html#ccreate). Update: PUT with If-Match (http.html#concurrency).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

from connector_runner.connectors.fhir_store.client import outcome_codes, retry_after_s
from connector_runner.connectors.sinks import Json, Outcome, Reply
from connector_runner.infra.http import Answer, AnswerLost
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import BadRecord, Misconfigured, RunnerError, Unavailable

IDENTIFIER_SYSTEM: Final = "urn:connector-runner:entity"
"""The system of the identifier that resources carry which we created without choosing their id."""

_LOCATION = re.compile(r"(?:^|/)([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(?:/_history/([^/?#]+))?$")
# R4 resources that a POST sink cannot recognise by an identifier, since they have none.
_WITHOUT_IDENTIFIER: Final = frozenset({"Provenance", "AuditEvent", "Binary", "Bundle", "Parameters"})


class Client(Protocol):
    """The part of the FHIR client that a sink needs."""

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        kind: Literal["read", "write"] = "read",
    ) -> Answer:
        """Send one request; the answer whatever its status."""


class FHIRSink:
    """The outbound side of a FHIR store."""

    def __init__(self, client: Client, *, client_id: bool, clock: Clock = utc_now) -> None:
        self._client = client
        self._client_id = client_id
        self._clock = clock

    def read(self, ref: str) -> Reply:
        """``GET Type/id``."""
        return self._call("GET", ref)

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """The resource of our identity: by the id we chose, else by a search for our identifier."""
        if self._client_id:
            return self._call("GET", f"{resource_type}/{client_ref}")
        wanted = f"{IDENTIFIER_SYSTEM}|{client_ref}"
        answer = self._call("GET", resource_type, params=[("identifier", wanted), ("_count", "3")])
        if answer.outcome is not Outcome.LANDED:
            return answer
        return self._only_match(answer, resource_type)

    def create(self, body: Json, client_ref: str) -> Reply:
        """PUT to the id we chose, else POST unless our identifier is there already."""
        sent = self.identified(body, client_ref)
        kind = str(sent["resourceType"])
        if self._client_id:
            return self._call("PUT", f"{kind}/{client_ref}", body=sent)
        condition = "identifier=" + quote(f"{IDENTIFIER_SYSTEM}|{client_ref}", safe=":|-")
        answer = self._call("POST", kind, body=sent, headers={"If-None-Exist": condition})
        if answer.status == 412:
            return Reply(Outcome.DUPLICATES, "multiple_matches", 412, raw=answer.raw)
        if answer.outcome is Outcome.LANDED and answer.ref is None:
            return Reply(Outcome.UNKNOWN, "no_id", answer.status, raw=answer.raw)
        if answer.status == 200:
            return Reply(Outcome.EXISTED, "existed", 200, answer.ref, answer.etag, answer.body, answer.raw)
        return answer

    def update(self, ref: str, body: Json, etag: str | None) -> Reply:
        """``PUT Type/id`` with If-Match."""
        return self._call("PUT", ref, body=body, headers={"If-Match": etag} if etag else {})

    def identified(self, body: Json, client_ref: str) -> Json:
        """With our id, or with our identifier beside those of others.

        Raises Misconfigured when a type without identifiers is to be created on a server that chooses ids.
        """
        kind = str(body["resourceType"])
        if self._client_id:
            return {**body, "id": client_ref}
        if kind in _WITHOUT_IDENTIFIER:
            raise Misconfigured(
                "this type has no identifier: it cannot be created safely where the server chooses ids",
                code="at_least_once",
                where=kind,
            )
        ours = {"system": IDENTIFIER_SYSTEM, "value": client_ref}
        others = body.get("identifier")
        listed = others if isinstance(others, list) else [others] if isinstance(others, dict) else []
        return {**body, "identifier": [*(item for item in listed if item != ours), ours]}

    def _call(
        self,
        method: Literal["GET", "PUT", "POST"],
        path: str,
        *,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
    ) -> Reply:
        data = None if body is None else exact_json.dumps(body).encode()
        sent = {**(headers or {}), **({"Prefer": "return=representation"} if body is not None else {})}
        try:
            answer = self._client.request(
                method, path, headers=sent, params=params, body=data, kind="read" if body is None else "write"
            )
        except AnswerLost as exc:
            return Reply(Outcome.UNKNOWN, exc.code)
        except Unavailable as exc:
            return Reply(Outcome.NOT_SENT, exc.code, retry_after_s=exc.retry_after_s)
        except Misconfigured as exc:
            return Reply(Outcome.AUTH, exc.code)
        except RunnerError as exc:
            return Reply(Outcome.NOT_SENT, exc.code)
        return classify(answer, path if method != "POST" else None, now=self._clock(), reading=body is None)

    @staticmethod
    def _only_match(answer: Reply, resource_type: str) -> Reply:
        entries = (answer.body or {}).get("entry") or []
        found = [
            entry["resource"]
            for entry in entries
            if isinstance(entry, dict)
            and isinstance(entry.get("resource"), dict)
            and entry["resource"].get("resourceType") == resource_type
        ]
        if not found:
            return Reply(Outcome.ABSENT, "no_match", answer.status)
        if len(found) > 1:
            return Reply(Outcome.DUPLICATES, "multiple_matches", answer.status)
        return Reply(
            Outcome.LANDED, "", answer.status, f"{resource_type}/{found[0].get('id')}", _etag({}, found[0]), found[0]
        )


def classify(answer: Answer, ref: str | None, *, now: datetime, reading: bool) -> Reply:
    """What an answer to a request for ``ref`` (None: the server chooses the id) means.

    Statuses as in R4, http.html#summary and RFC 9110, section 15. What a write's answer leaves open is UNKNOWN.
    """
    status = answer.status
    if 200 <= status < 300:
        return _success(answer, ref, reading=reading)
    codes = outcome_codes(answer.body)
    code = f"http_{status}" + (f"_{codes[0]}" if codes else "")
    wait = retry_after_s(answer.headers, now)
    if status == 429 or status == 503 or "throttled" in codes:
        return Reply(Outcome.REFUSED, code, status, raw=answer.body, retry_after_s=wait)
    if status in (401, 403):
        return Reply(Outcome.AUTH, code, status, raw=answer.body)
    if status in (409, 412):
        return Reply(Outcome.CONFLICT, code, status, raw=answer.body)
    if status == 410:
        return Reply(Outcome.GONE, code, status, raw=answer.body)
    if status == 404 and reading:
        return Reply(Outcome.ABSENT, code, status, raw=answer.body)
    if status in (408, 425) or status >= 500:
        return Reply(Outcome.UNKNOWN, code, status, raw=answer.body, retry_after_s=wait)
    if 300 <= status < 400 or status == 405:
        return Reply(Outcome.AUTH, code, status, raw=answer.body)
    return Reply(Outcome.POISON, code, status, raw=answer.body)


def _success(answer: Answer, ref: str | None, *, reading: bool) -> Reply:
    body = _object(answer.body)
    found = _LOCATION.search(answer.headers.get("Location") or "")
    if body is not None and body.get("resourceType") == "OperationOutcome" and not reading:
        if _fatal(body):
            return Reply(Outcome.UNKNOWN, "error_in_success", answer.status, raw=answer.body)
        body = None
    if reading and body is None:
        return Reply(Outcome.UNKNOWN, "no_json", answer.status, raw=answer.body)
    if answer.body.strip() and body is None and _object(answer.body) is None:
        return Reply(Outcome.UNKNOWN, "no_json", answer.status, raw=answer.body)
    if not reading and body is None and found is None and not answer.headers.get("ETag"):
        return Reply(Outcome.UNKNOWN, "unconfirmed", answer.status, raw=answer.body)
    if ref is None:
        if found is not None:
            ref = found[1]
        elif body is not None and isinstance(body.get("id"), str):
            ref = f"{body.get('resourceType')}/{body['id']}"
    etag = _etag(answer.headers, body)
    if etag is None and found is not None and found[2]:
        etag = f'W/"{found[2]}"'
    return Reply(Outcome.LANDED, "", answer.status, ref, etag, body, answer.body)


def _object(data: bytes) -> Json | None:
    try:
        value = exact_json.loads(data) if data.strip() else None
    except BadRecord:
        return None
    return value if isinstance(value, dict) else None


def _fatal(outcome: Json) -> bool:
    issues = outcome.get("issue")
    return any(
        isinstance(issue, dict) and issue.get("severity") in ("error", "fatal")
        for issue in (issues if isinstance(issues, list) else ())
    )


def _etag(headers: Mapping[str, str], body: Mapping[str, Any] | None) -> str | None:
    """The version to state in If-Match: the header's, else that of ``meta`` (R4, http.html#versioning)."""
    etag = headers.get("ETag")
    if etag:
        return etag
    meta = (body or {}).get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return f'W/"{version}"' if isinstance(version, str) and version else None
