"""The one way out over HTTP: guarded against private addresses, bounded in time and size, never retried.

A caller learns which of two things happened when there is no answer: the request never left (Unavailable,
code ``not_sent``), or it may have been acted upon (AnswerLost). Messages name the host and a template of the
path; query, headers and bodies are never in them.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import requests
import urllib3
from requests.utils import check_header_validity
from urllib3.response import BaseHTTPResponse

from connector_runner.infra import metrics
from connector_runner.infra.addresses import AddressGuard
from connector_runner.infra.transport import Attempt, GuardedAdapter, current_attempt
from connector_runner.infra.urls import PORTS, checked
from connector_runner.kernel.errors import Misconfigured, TryAgain, Unavailable
from connector_runner.settings import Settings

MAX_REDIRECTS: Final = 5
_CHUNK = 65_536
_LOOKED_AT = 12
_USER_AGENT = "connector-runner"
_CROSS_ORIGIN_HEADERS = frozenset({"accept", "accept-language", "user-agent", "prefer"})
_PLAIN_SEGMENT = re.compile(r"[$_]?[A-Za-z][A-Za-z_.$-]{0,30}|[rv]?\d{1,2}|R4B?|STU\d")
# What requests would leave as it is: unreserved characters (RFC 3986, section 2.3), no segment of dots, no query.
_PLAIN_URL = re.compile(r"https?://[a-z0-9][a-z0-9.-]*(?::[1-9]\d*)?(?:/(?!\.)[A-Za-z0-9_.~$-]*)+")
_TYPE_SEGMENT = re.compile(r"[A-Z][A-Za-z]+")

Params = Mapping[str, str | int | Sequence[str]] | Sequence[tuple[str, str]]
Taker = Callable[[bytes], None]
"""Takes a body in decoded pieces."""
Into = Callable[[int, Mapping[str, str]], Taker | None]
"""Asked with status and headers, when they have come, who takes the body; None: it is to stand in the answer."""


class AnswerLost(TryAgain):
    """The request left and its answer did not come: it may have been acted upon.

    After a read, try again; after a write, look first.
    """

    default_code = "answer_lost"


class BadAnswer(AnswerLost):
    """The answer came and cannot be used: too long (``answer_too_long``) or not decodable (``answer_not_decodable``).

    ``status`` is what it said before that.
    """

    default_code = "bad_answer"

    def __init__(self, message: str, *, code: str, where: str, status: int) -> None:
        super().__init__(message, code=code, where=where)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer. ``headers`` ignores case; ``url`` is the last one asked."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Headers(Mapping[str, str]):
    """The headers of an answer, found whatever their case."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, str]) -> None:
        # Not by ``items``: there several of one name are several.
        self._held = {name.lower(): (name, held[name]) for name in held}

    def __getitem__(self, name: str) -> str:
        return self._held[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header, several of one name joined by commas."""
        found = self._held.get(name.lower())
        return default if found is None else found[1]


def path_template(path: str) -> str:
    """The path with everything that may name a record replaced: ``/fhir/Patient/{id}``."""
    parts: list[str] = []
    after_type = False
    for segment in path.split("/"):
        operation = segment[:1] in ("_", "$")
        plain = not segment or (_PLAIN_SEGMENT.fullmatch(segment) is not None and (operation or not after_type))
        parts.append(segment if plain else "{id}")
        after_type = bool(segment) and plain and _TYPE_SEGMENT.fullmatch(segment) is not None
    return "/".join(parts)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or PORTS[parts.scheme]


class HTTP:
    """Sends requests. Share one between threads; a forked child opens connections of its own."""

    def __init__(self, settings: Settings, *, ca_file: Path | None = None, allow: Iterable[str] = ()) -> None:
        """``ca_file``: trusted in place of the bundled certificates; ``allow``: entries beside those of the settings.

        Raises Misconfigured on a bad allow entry.
        """
        self._guard = AddressGuard((*settings.http_allow, *allow))
        self._verify: str | bool = str(ca_file) if ca_file else True
        self._connections = max(settings.io_threads, settings.llm_concurrency, 4)
        self._lock = threading.Lock()
        self._adapter: GuardedAdapter | None = None
        self._pid = 0

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        data: bytes | None = None,
        timeout_s: float = 15.0,
        deadline_s: float | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        allow_redirects: bool = False,
        certificate: tuple[str, str] | None = None,
        into: Into | None = None,
    ) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        ``timeout_s`` bounds connecting and each silence, ``deadline_s`` (default four times that) everything
        together save a slow name resolver, ``max_bytes`` the decoded body. Redirects are returned as they are
        unless ``allow_redirects``; then GET and HEAD follow up to five, each checked anew, and headers that
        may hold credentials stay with the first origin, as does ``certificate`` (the files of a client
        certificate and of its key, both PEM). With ``into`` a body of any length passes in bounded memory.

        Raises Unavailable (``not_sent``), AnswerLost, BadAnswer, Misconfigured (``address_refused``,
        ``bad_url``, ``bad_header``, ``bad_redirect``).
        """
        attempt = Attempt(time.monotonic() + (deadline_s or timeout_s * 4), timeout_s)
        sent = _merged({"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip, deflate"}, headers)
        first = parts = checked(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(method, url, parts, sent, params, data, attempt, max_bytes, certificate, into)
            location = answer.headers.get("Location")
            follows = allow_redirects and method in ("GET", "HEAD") and answer.status in (301, 302, 303, 307, 308)
            if not follows or location is None:
                return answer
            parts = _redirected(answer.url, location)
            url, params = parts.geturl(), None
            if _origin(parts) != _origin(first):
                sent = {name: value for name, value in sent.items() if name.lower() in _CROSS_ORIGIN_HEADERS}
                certificate = None
        raise Misconfigured("more than five redirects", code="bad_redirect", where=_place(method, first))

    def check(self, url: str) -> None:
        """Raise Misconfigured (``bad_url``, ``address_refused``) for a URL that a request would be refused to.

        For settings, when they are saved; the request is checked again, on the addresses that it goes to. A name that
        does not resolve now passes.
        """
        parts = checked(url)
        try:
            self._guard.resolve(parts.hostname or "", parts.port or PORTS[parts.scheme])
        except (OSError, UnicodeError):
            return

    def close(self) -> None:
        """Close idle connections; the next request opens new ones."""
        with self._lock:
            if self._adapter is not None and self._pid == os.getpid():
                self._adapter.close()
            self._adapter = None

    def _transport(self) -> GuardedAdapter:
        with self._lock:
            if self._adapter is None or self._pid != os.getpid():
                self._adapter = GuardedAdapter(self._guard, pools=64, connections=self._connections)
                self._pid = os.getpid()
            return self._adapter

    def _once(
        self,
        method: str,
        url: str,
        parts: SplitResult,
        headers: Mapping[str, str],
        params: Params | None,
        data: bytes | None,
        attempt: Attempt,
        max_bytes: int,
        certificate: tuple[str, str] | None,
        into: Into | None,
    ) -> Answer:
        prepared = _prepare(method, url, parts, headers, params, data)
        attempt.sent = False
        token = current_attempt.set(attempt)
        try:
            response = self._transport().open(
                prepared,
                parts if prepared.url == url else urlsplit(prepared.url or url),
                timeout_s=attempt.read_timeout_s,
                verify=self._verify,
                certificate=certificate,
            )
            answered = Headers(response.headers)
            try:
                taker = into(response.status, answered) if into is not None else None
                body = _read(response, attempt, max_bytes, method, parts, taker)
            finally:
                response.close()
                response.release_conn()
            metrics.HTTP_REQUESTS.labels(method=method, outcome=f"{response.status // 100}xx").inc()
            return Answer(response.status, answered, body, prepared.url or url)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            failure = _named(exc, attempt, _place(method, parts))
            metrics.HTTP_REQUESTS.labels(method=method, outcome=failure.code).inc()
            raise failure from None
        finally:
            current_attempt.reset(token)


def _merged(ours: Mapping[str, str], theirs: Mapping[str, str] | None) -> dict[str, str]:
    """Headers of both, each name once, whatever its case; theirs count."""
    held = {name.lower(): (name, value) for name, value in ours.items()}
    held |= {name.lower(): (name, value) for name, value in (theirs or {}).items()}
    return dict(held.values())


def _place(method: str, parts: SplitResult) -> str:
    port = f":{parts.port}" if parts.port else ""
    return f"{method} {parts.hostname}{port}{path_template(parts.path)}"


def _prepare(
    method: str,
    url: str,
    parts: SplitResult,
    headers: Mapping[str, str],
    params: Params | None,
    data: bytes | None,
) -> requests.PreparedRequest:
    """As ``requests.Request.prepare`` does it for bytes, without what there is none of: cookies, hooks, auth."""
    prepared = requests.PreparedRequest()
    prepared.method = method.upper()
    # Names come once, whatever their case.
    written = dict(headers)
    prepared.headers = cast(Any, written)
    prepared.body = data or None
    try:
        for header in headers.items():
            check_header_validity(header)
        if not _PLAIN_URL.fullmatch(url):
            prepared.prepare_url(url, params)
        else:
            query = _query(params) if params else ""
            prepared.url = f"{url}?{query}" if query else url
    except (requests.RequestException, UnicodeError) as exc:
        code = "bad_header" if isinstance(exc, requests.exceptions.InvalidHeader) else "bad_url"
        raise Misconfigured("the request cannot be written", code=code, where=_place(method, parts)) from None
    if data or prepared.method not in ("GET", "HEAD"):
        written["Content-Length"] = str(len(data or b""))
    return prepared


def _query(params: Params) -> str:
    """As requests writes it, which looks at each value for much that none of ours is."""
    pairs = params.items() if isinstance(params, Mapping) else params
    return urlencode([(name, one) for name, held in pairs for one in ([held] if isinstance(held, str | int) else held)])


def _redirected(url: str, location: str) -> SplitResult:
    before = urlsplit(url)
    parts = checked(urljoin(url, location))
    if before.scheme == "https" and parts.scheme != "https":
        raise Misconfigured("a redirect leaves TLS", code="bad_redirect", where=parts.hostname or "")
    return parts


def _read(
    response: BaseHTTPResponse,
    attempt: Attempt,
    max_bytes: int,
    method: str,
    parts: SplitResult,
    taker: Taker | None = None,
) -> bytes:
    """The decoded body, whole; empty when somebody takes it."""
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in response.stream(_CHUNK, decode_content=True):
            size += len(piece)
            if size > max_bytes:
                raise BadAnswer(
                    f"the answer is longer than {max_bytes} bytes",
                    code="answer_too_long",
                    where=_place(method, parts),
                    status=response.status,
                )
            (taker or pieces.append)(piece)
            attempt.remaining()
    except urllib3.exceptions.DecodeError:
        raise BadAnswer(
            "the answer's content encoding is broken",
            code="answer_not_decodable",
            where=_place(method, parts),
            status=response.status,
        ) from None
    return b"".join(pieces)


def _named(exc: Exception, attempt: Attempt, place: str) -> TryAgain:
    """Our error for what requests, urllib3 or the socket reported; the report itself may quote the URL."""
    kind = _kind(exc)
    if attempt.sent:
        return AnswerLost(f"the request left and no complete answer came ({kind})", where=place)
    return Unavailable(f"the request was not sent ({kind})", code="not_sent", where=place)


_KINDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((urllib3.exceptions.NameResolutionError,), "the name does not resolve"),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError), "TLS failed"),
    ((ConnectionRefusedError,), "connection refused"),
    ((TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError), "timed out"),
    ((ConnectionResetError, BrokenPipeError), "connection reset"),
    ((urllib3.exceptions.IncompleteRead,), "the body was cut short"),
)


def _kind(exc: BaseException | None) -> str:
    """A few words for the cause, chosen from ours."""
    seen: list[BaseException] = []
    queue: list[object] = [exc]
    while queue and len(seen) < _LOOKED_AT:
        found = queue.pop(0)
        if not isinstance(found, BaseException) or any(found is other for other in seen):
            continue
        seen.append(found)
        # NewConnectionError is a ConnectTimeoutError by inheritance only: its cause says what happened.
        named = type(found) is not urllib3.exceptions.NewConnectionError
        for types, words in _KINDS if named else ():
            if isinstance(found, types):
                return words
        queue += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
    return "connection failed"
