"""FHIR REST calls shared by source and sink: addresses, credentials, and what an answer means.

Only codes leave an OperationOutcome. Its diagnostics and texts quote the record, so they are never read.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urljoin, urlsplit

from connector_runner.auth.credentials import Credential
from connector_runner.auth.settings import Direction
from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.access import access_of
from connector_runner.connectors.fhir.outcomes import issue_codes
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.gate import through
from connector_runner.connectors.rate_headers import retry_after_s
from connector_runner.infra.http import Answer
from connector_runner.kernel.errors import (
    Forbidden,
    Misconfigured,
    RateLimited,
    RunnerError,
    TokenExpired,
    Unavailable,
)

FHIR_JSON: Final = "application/fhir+json"
_PORTS = {"http": 80, "https": 443}
_TRANSIENT = frozenset({408, 425, 500, 502, 503, 504})
# What urljoin would put after the base as it is, whatever the base: segments without dots alone, colons, query.
_BELOW_BASE = re.compile(r"(?!\.)[A-Za-z0-9_$.-]+(?:/(?!\.)[A-Za-z0-9_$.-]+)*")
_INVALID_TOKEN = re.compile(r"\bBearer\b.*\berror\s*=\s*\"?invalid_token\b", re.IGNORECASE | re.DOTALL)


class FHIRClient:
    """Requests to one FHIR server, with the credential of one direction."""

    def __init__(self, opening: Opening, settings: FHIRSettings) -> None:
        self._opening = opening
        self._settings = settings
        self._base = settings.base_url + "/"
        self._origin = _origin(self._base)
        self._credentials: dict[Direction, Credential] = {}
        self._lock = threading.Lock()

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
        kind: Direction = "read",
        max_bytes: int | None = None,
    ) -> Answer:
        """Send one request and return whatever the server answered.

        An absolute URL (a ``next`` link) is followed as it is, but only on the server's own origin. ``kind``
        chooses the credential, which is renewed once when the server refuses it; ``max_bytes`` bounds the answer
        where a page's bound is too wide. Raises Misconfigured (``foreign_link``, or a credential that cannot be had),
        Forbidden (``scope_not_granted``), RateLimited (``read_paced``: not sent), Unavailable (``not_sent``) and
        AnswerLost (``answer_lost``: a write may have happened).
        """
        url = self.address(path_or_url)
        sent = {"Accept": FHIR_JSON, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", f"{FHIR_JSON}; charset=utf-8")
        credential = self._credential(kind)
        limit = max_bytes or self._settings.max_page_bytes
        answer = self._send(credential, method, url, dict(sent), list(params or ()), body, limit)
        if refuses_credential(answer) and credential.renew():
            answer = self._send(credential, method, url, dict(sent), list(params or ()), body, limit)
        return answer

    def shows_all(self, resource_type: str) -> bool:
        """Whether its credential may read all records of a type, as far as is known."""
        return self._credential("read").shows_all(resource_type)

    def _send(
        self,
        credential: Credential,
        method: str,
        url: str,
        headers: dict[str, str],
        params: list[tuple[str, str]],
        body: bytes | None,
        max_bytes: int,
    ) -> Answer:
        credential.apply(headers, params)
        access = access_of(method, url.removeprefix(self._base)) if url.startswith(self._base) else None
        if access is not None and not credential.grants(*access):
            raise Forbidden(
                "the server did not grant this access: widen the scopes of the client's registration",
                code="scope_not_granted",
                where=f"{access[0]}.{access[1]}",
            )
        hidden = credential.secret_parameters
        answer = through(
            self._opening.gate,
            lambda: self._opening.http.request(
                method,
                _without(url, hidden),
                headers=headers,
                params=params,
                data=body,
                timeout_s=self._settings.request_timeout_s,
                deadline_s=self._settings.request_timeout_s,
                max_bytes=max_bytes,
                certificate=credential.certificate,
            ),
        )
        return _silent(answer, [value for name, value in params if name in hidden]) if hidden else answer

    def address(self, path_or_url: str) -> str:
        """The absolute URL of a path below the base, or of a link; Misconfigured when it leaves the origin."""
        if _BELOW_BASE.fullmatch(path_or_url):
            return self._base + path_or_url
        try:
            url = urljoin(self._base, path_or_url)
            same = _origin(url) == self._origin
        except ValueError:
            same = False
        if not same:
            raise Misconfigured(
                "the server links to another origin, where its credential may not go", code="foreign_link"
            )
        return url

    def _credential(self, kind: Direction) -> Credential:
        with self._lock:
            found = self._credentials.get(kind)
            if found is None:
                sink = self._settings.sink
                write_auth = sink.write_auth if kind == "write" and sink is not None else None
                found = self._opening.credential(write_auth or self._settings.auth, kind)
                self._credentials[kind] = found
            return found


def refuses_credential(answer: Answer) -> bool:
    """Whether the credential itself is refused: 401, or another refusal that says so.

    RFC 6750 (section 3.1) names the error in the header; R4's issue types ``login`` and ``expired`` mean the same, and
    some servers send them under 400.
    """
    if answer.status == 401:
        return True
    if answer.status not in (400, 403):
        return False
    if _INVALID_TOKEN.search(answer.headers.get("WWW-Authenticate") or ""):
        return True
    return answer.status == 400 and not {"login", "expired"}.isdisjoint(outcome_codes(answer.body))


def _without(url: str, names: frozenset[str]) -> str:
    """The URL without these query parameters."""
    if not names or "?" not in url:
        return url
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in names]
    return parts._replace(query=urlencode(kept)).geturl()


def _silent(answer: Answer, secrets: list[str]) -> Answer:
    """The answer without secrets that it repeats: servers write the whole query into the links of a page."""
    forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    body, url = answer.body, answer.url
    for form in sorted(forms, key=len, reverse=True):
        body, url = body.replace(form.encode(), b""), url.replace(form, "")
    return Answer(answer.status, answer.headers, body, url)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)


def outcome_codes(body: bytes) -> tuple[str, ...]:
    """The issue codes of an OperationOutcome, read leniently: servers leave out required parts of it."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    return issue_codes(document)


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
