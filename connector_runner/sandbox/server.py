"""The HTTP application of a simulated system: its API (``/fhir`` or ``/api``), its switchboard under ``/_sandbox``."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote

from .authorization import granted_access
from .authorization.resource import WELL_KNOWN, configuration, is_open
from .faults import Fault
from .fhir_json import dumps, loads
from .journal import Entry
from .messages import Answer, Request
from .outcomes import CODE_OF_STATUS, FhirError
from .switchboard import Switchboard
from .system import System
from .wire import hang_up

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HANG_S = 120.0
_MAX_BODY = 64 * 1024 * 1024
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_PRIVATE = "http://169.254.169.254/latest/meta-data/"
_ENDLESS_START = b'{"resourceType":"Patient",'
log = logging.getLogger(__name__)


class Server:
    """An ASGI application."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._api = system.api
        self._switchboard = Switchboard(system)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = unquote(scope["raw_path"].decode("ascii").partition("?")[0])
        if path.startswith("/_sandbox"):
            body = await _body(receive)
            await _send(send, scope, self._switchboard.answer(scope["method"], path, _pairs(scope), body or b""))
        elif path.startswith("/auth/"):
            body = await _body(receive)
            headers = _headers(scope)
            origin = f"http://{headers.get('host', 'localhost')}"
            authorization = self._system.authorization
            answer = await authorization.answer(scope["method"], path, headers, body or b"", origin)
            await _send(send, scope, answer)
        elif (base := self._base(path)) is not None:
            await self._serve(scope, receive, send, base, path[len(base) :].strip("/"))
        else:
            await _send(send, scope, self._api.refusal(FhirError(404, f"the API is under {self._api.base}")))

    def _base(self, path: str) -> str | None:
        bases = (self._api.base, *self._system.quirks.routes)
        return next((base for base in bases if path == base or path.startswith(base + "/")), None)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, base: str, path: str) -> None:
        query = scope["query_string"].decode("latin-1")
        asked = f"{base}/{path}?{query}".rstrip("?/")
        entry = self._system.journal.arrived(scope["method"], asked, self._api.subject(path))
        try:
            body = await _body(receive)
            answer = None
            if body is not None:
                request = _request(scope, path, body, base, "" if base == self._api.base else base)
                answer = await self._answer(request, entry, scope["client"], receive)
            if answer is not None:
                entry.status = answer.status
        finally:
            self._system.journal.keep(entry)
        if answer is not None:
            await _send(send, scope, answer, receive)

    async def _answer(self, request: Request, entry: Entry, client: Any, receive: Receive) -> Answer | None:
        token = self._system.behaviour.token
        if token and request.headers.get("authorization") != f"Bearer {token}":
            return self._said(Fault(request.method, "expired_token"))
        try:
            configured = self._smart(request)
        except FhirError as error:
            return self._without_access(error)
        if configured is not None:
            return configured
        wait_s = self._system.limit.take()
        early = None if wait_s else self._system.quirks.before(request, entry)
        if isinstance(early, Request):
            request = early
            entry.resource = self._api.subject(request.path)
        if self._system.behaviour.auth and not is_open(request):
            try:
                granted_access(self._system.authorization, request)
            except FhirError as error:
                return self._without_access(error)
        if wait_s:
            entry.fault = "limit"
            answer: Answer | None = self._api.refusal(FhirError(429, "too many requests"))
            if answer is not None:
                answer.headers["Retry-After"] = str(math.ceil(wait_s))
        elif isinstance(early, Answer):
            answer = early
        else:
            answer = await self._allowed(request, entry, client, receive)
        if answer is not None:
            self._api.finish(answer, self._system.limit)
        return answer

    def _smart(self, request: Request) -> Answer | None:
        """The SMART configuration, where that is asked for and the system asks for tokens."""
        if not self._system.behaviour.auth or not request.path.endswith(WELL_KNOWN):
            return None
        return configuration(self._system.authorization, request.base_url.removesuffix(self._api.base))

    def _without_access(self, error: FhirError) -> Answer:
        answer = self._api.refusal(error)
        if error.status == 401:
            answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return answer

    async def _allowed(self, request: Request, entry: Entry, client: Any, receive: Receive) -> Answer | None:
        fault = self._system.faults.take(request.method, request.path)
        if fault is None:
            if len(request.body) > _MAX_BODY:
                return self._api.refusal(FhirError(413, "the body is too large"))
            return self._perform(request, entry)
        entry.fault = fault.kind
        if fault.kind in ("slow", "stale", "wrong_etag", "no_id"):
            return await self._odd(fault, request, entry)
        return await self._faulty(fault, request, entry, client, receive)

    def _perform(self, request: Request, entry: Entry) -> Answer:
        try:
            answer = self._system.perform(request)
        except Exception:
            log.exception("a request failed")
            answer = self._api.refusal(FhirError(500, "the system failed; its log says why", code="exception"))
        entry.committed = bool(answer.committed)
        entry.resources = list(answer.committed)
        entry.resource = answer.resource or entry.resource
        return answer

    async def _odd(self, fault: Fault, request: Request, entry: Entry) -> Answer:
        """It is done, and something about the answer is not as it should be."""
        if fault.kind == "slow":
            epoch = self._system.store.epoch
            await asyncio.sleep(5.0 if fault.seconds is None else fault.seconds)
            if epoch != self._system.store.epoch:
                return self._api.refusal(FhirError(503, "the system was reset meanwhile"))
            return self._perform(request, entry)
        if fault.kind == "stale":
            reading = request.method in ("GET", "HEAD") or request.path.endswith("/_search")
            return self._perform(request.stale(fault.seconds or 0.0) if reading else request, entry)
        answer = self._perform(request, entry)
        if fault.kind == "wrong_etag":
            answer.headers["ETag"] = 'W/"0"'
        elif answer.body and answer.status < 300:
            content = loads(answer.body)
            answer.body = dumps(
                {name: value for name, value in content.items() if name not in ("id", "meta", "version")}
            )
            answer.headers = {}
        return answer

    async def _faulty(
        self, fault: Fault, request: Request, entry: Entry, client: Any, receive: Receive
    ) -> Answer | None:
        if fault.kind == "late":
            task = asyncio.create_task(self._late(request, entry, 3.0 if fault.seconds is None else fault.seconds))
            self._system.late.add(task)
            task.add_done_callback(self._system.late.discard)
        elif fault.kind == "drop_answer" or fault.commit:
            self._perform(request, entry)
        answer = self._said(fault)
        if answer is None:
            if fault.kind == "hang":
                await _until_closed(receive, _HANG_S)
            await hang_up(client)
        return answer

    def _said(self, fault: Fault) -> Answer | None:
        """The answer that takes the place of the true one; None when there is none."""
        status = fault.status
        match fault.kind:
            case "status":
                code = fault.code or CODE_OF_STATUS.get(status or 503, "exception")
                answer = self._api.refusal(FhirError(status or 503, "a fault to order", code=code, where=fault.where))
                if fault.retry_after is not None:
                    answer.headers["Retry-After"] = str(math.ceil(fault.retry_after))
                return answer
            case "expired_token":
                answer = self._api.refusal(FhirError(401, "the token has expired", code="expired"))
                answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
                return answer
            case "entry_fails":
                where = None if fault.entry is None else f"Bundle.entry[{fault.entry}].resource"
                return self._api.refusal(FhirError(status or 422, "an entry is refused", code=fault.code, where=where))
            case "error_in_200":
                error = FhirError(status or 422, "refused after all", code=fault.code, where=fault.where)
                answer = self._api.refusal(error)
                answer.status = 200
                return answer
            case "redirect":
                return Answer(status or 307, headers={"Location": _PRIVATE})
            case "html":
                return Answer(status or 502, _PAGE, content_type="text/html; charset=utf-8")
            case "empty":
                return Answer(status or 200)
            case "infinite_body":
                return Answer(status or 200, _ENDLESS_START, endless=True)
        return None

    async def _late(self, request: Request, entry: Entry, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._perform(request, entry)
        self._system.journal.keep(entry)


async def _until_closed(receive: Receive, most_s: float) -> None:
    try:
        async with asyncio.timeout(most_s):
            while (await receive())["type"] != "http.disconnect":
                continue
    except TimeoutError:
        log.warning("a client waited %s s for an answer that never comes", most_s)


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when the client went away before it was all there."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _pairs(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _request(scope: Scope, path: str, body: bytes, base: str, route: str) -> Request:
    headers = _headers(scope)
    base_url = f"http://{headers.get('host', 'localhost')}{base}"
    return Request(scope["method"], path, _pairs(scope), headers, body, base_url, route=route)


async def _send(send: Send, scope: Scope, answer: Answer, receive: Receive | None = None) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    if "Date" not in answer.headers:
        headers.append((b"date", formatdate(usegmt=True).encode()))
    bodiless = answer.status in (204, 304)
    if answer.body:
        headers.append((b"content-type", answer.content_type.encode()))
    if not bodiless and not answer.endless:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if bodiless or scope["method"] == "HEAD" else answer.body
    if answer.endless and receive is not None:
        await _send_endlessly(send, receive, body)
    else:
        await send({"type": "http.response.body", "body": body})


async def _send_endlessly(send: Send, receive: Receive, start: bytes) -> None:
    """A body that goes on until the client has had enough, or two minutes are over."""
    await send({"type": "http.response.body", "body": start, "more_body": True})
    closed = asyncio.create_task(_until_closed(receive, _HANG_S))
    while not closed.done():
        await send({"type": "http.response.body", "body": b" " * 65_536, "more_body": True})
        await asyncio.sleep(0.001)
    await send({"type": "http.response.body", "body": b""})
