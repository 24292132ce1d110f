"""FHIR REST calls shared by source and sink: addresses, credentials, and what an answer means.

Only codes leave an OperationOutcome. Its diagnostics and texts quote the record, so they are never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit

from connector_runner.connectors.base import Reveal
from connector_runner.connectors.classification.evidence import ISSUE_TYPES
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.rate_headers import retry_after_s
from connector_runner.infra.http import HTTP, Answer
from connector_runner.kernel.errors import (
    Forbidden,
    Misconfigured,
    RateLimited,
    RunnerError,
    TokenExpired,
    Unavailable,
)

Kind = Literal["read", "write"]
FHIR_JSON: Final = "application/fhir+json"
_PORTS = {"http": 80, "https": 443}
_TRANSIENT = frozenset({408, 425, 500, 502, 503, 504})
_VENDOR_CODE = re.compile(r"\d{3,6}")


class FHIRClient:
    """Requests to one FHIR server, with the credential of one direction."""

    def __init__(self, http: HTTP, settings: FHIRSettings, reveal: Reveal) -> None:
        self._http = http
        self._settings = settings
        self._reveal = reveal
        self._base = settings.base_url + "/"
        self._origin = _origin(self._base)

    @property
    def settings(self) -> FHIRSettings:
        """The settings that this client was made with."""
        return self._settings

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        kind: Kind = "read",
        max_bytes: int | None = None,
    ) -> Answer:
        """Send one request and return whatever the server answered.

        An absolute URL (a ``next`` link) is followed as it is, but only on the server's own origin. ``kind``
        chooses the credential; ``max_bytes`` bounds the answer where a page's bound is too wide. Raises
        Misconfigured (``foreign_link``, or a secret that cannot be read), Unavailable (``not_sent``) and AnswerLost
        (``answer_lost``: a write may have happened).
        """
        sent = {"Accept": FHIR_JSON, **self._authorization(kind), **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", f"{FHIR_JSON}; charset=utf-8")
        return self._http.request(
            method,
            self.address(path_or_url),
            headers=sent,
            params=params,
            data=body,
            timeout_s=self._settings.request_timeout_s,
            deadline_s=self._settings.request_timeout_s,
            max_bytes=max_bytes or self._settings.max_page_bytes,
        )

    def address(self, path_or_url: str) -> str:
        """The absolute URL of a path below the base, or of a link; Misconfigured when it leaves the origin."""
        url = urljoin(self._base, path_or_url)
        try:
            same = _origin(url) == self._origin
        except ValueError:
            same = False
        if not same:
            raise Misconfigured(
                "the server links to another origin, where its credential may not go", code="foreign_link"
            )
        return url

    def _authorization(self, kind: Kind) -> dict[str, str]:
        auth = self._settings.auth
        sink = self._settings.sink
        if kind == "write" and sink is not None and sink.write_auth is not None:
            auth = sink.write_auth
        if auth.token is None:
            return {}
        return {"Authorization": f"Bearer {self._reveal(auth.token)}"}


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)


def outcome_codes(body: bytes) -> tuple[str, ...]:
    """The issue codes of an OperationOutcome, read leniently: servers leave out required parts of it."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    issues = document.get("issue") if isinstance(document, dict) else None
    codes: list[str] = []
    for issue in issues if isinstance(issues, list) else ():
        if not isinstance(issue, dict):
            continue
        if isinstance(issue.get("code"), str) and issue["code"] in ISSUE_TYPES:
            codes.append(issue["code"])
        details = issue.get("details")
        codings = details.get("coding") if isinstance(details, dict) else None
        for coding in codings if isinstance(codings, list) else ():
            code = coding.get("code") if isinstance(coding, dict) else None
            if isinstance(code, str) and _VENDOR_CODE.fullmatch(code):
                codes.append(code)
    return tuple(dict.fromkeys(codes))


def read_failure(answer: Answer, what: str, now: datetime) -> RunnerError:
    """The error that an answer to a read stands for, when it is not what was asked for."""
    status, codes = answer.status, outcome_codes(answer.body)
    said = f" ({', '.join(codes[:5])})" if codes else ""
    if status == 429 or "throttled" in codes:
        wait = retry_after_s(answer.headers, now)
        return RateLimited(f"the server asks to slow down{said}", where=what, retry_after_s=wait)
    if status == 401:
        return TokenExpired(f"the server refuses the credential: 401{said}", code="unauthorized", where=what)
    if status == 403:
        return Forbidden(f"the credential may not read this: 403{said}", code="forbidden", where=what)
    if status in _TRANSIENT or status >= 500:
        wait = retry_after_s(answer.headers, now)
        return Unavailable(f"the server answers {status}{said}", code=f"http_{status}", where=what, retry_after_s=wait)
    return Misconfigured(f"the server answers {status}{said}", code=f"http_{status}", where=what)
