"""What an answer of a FHIR server to a request of the sink means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from connector_runner.connectors.fhir_store.client import outcome_codes, retry_after_s
from connector_runner.connectors.sinks import Json, Outcome, Reply
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

_LOCATION = re.compile(r"(?:^|/)([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(?:/_history/([^/?#]+))?$")

Purpose = Literal["read", "check", "create", "update", "transaction"]
"""What a request is for; the last three may have been done when their answer is lost."""


def classify(answer: Answer, ref: str | None, *, now: datetime, purpose: Purpose) -> Reply:
    """What an answer to a request for ``ref`` (None: the server chooses the id) means.

    Statuses as in R4, http.html#summary and RFC 9110, section 15. What a write's answer leaves open is UNKNOWN.
    """
    status, reading = answer.status, purpose == "read"
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
    etag = version_of(answer.headers, body)
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


def version_of(headers: Mapping[str, str], body: Mapping[str, Any] | None) -> str | None:
    """The version to state in If-Match: the header's, else that of ``meta`` (R4, http.html#versioning)."""
    etag = headers.get("ETag")
    if etag:
        return etag
    meta = (body or {}).get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return f'W/"{version}"' if isinstance(version, str) and version else None
