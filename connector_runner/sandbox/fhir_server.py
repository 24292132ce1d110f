"""The HTTP application of a simulated system: FHIR under ``/fhir``, its switchboard under ``/_sandbox``."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from .faults import Fault
from .journal import Entry
from .messages import Answer, Request, error_answer
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
log = logging.getLogger(__name__)


class FhirServer:
    """An ASGI application."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._switchboard = Switchboard(system)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = unquote(scope["raw_path"].decode("ascii").partition("?")[0])
        if path.startswith("/_sandbox"):
            body = await _body(receive)
            await _send(send, scope, self._switchboard.answer(scope["method"], path, _pairs(scope), body or b""))
        elif path == "/fhir" or path.startswith("/fhir/"):
            await self._fhir(scope, receive, send, path[len("/fhir") :].strip("/"))
        else:
            await _send(send, scope, error_answer(FhirError(404, "FHIR is under /fhir")))

    async def _fhir(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        query = scope["query_string"].decode("latin-1")
        entry = self._system.journal.arrived(scope["method"], f"/fhir/{path}?{query}".rstrip("?/"), _subject(path))
        try:
            body = await _body(receive)
            answer = None
            if body is not None:
                answer = await self._answer(_request(scope, path, body), entry, scope["client"], receive)
            if answer is not None:
                entry.status = answer.status
        finally:
            self._system.journal.keep(entry)
        if answer is not None:
            await _send(send, scope, answer)

    async def _answer(self, request: Request, entry: Entry, client: Any, receive: Receive) -> Answer | None:
        wait_s = self._system.limit.take()
        if wait_s:
            entry.fault = "limit"
            error = error_answer(FhirError(429, "too many requests"))
            error.headers["Retry-After"] = str(math.ceil(wait_s))
            return error
        fault = self._system.faults.take(request.method, request.path)
        if fault is None:
            if len(request.body) > _MAX_BODY:
                return error_answer(FhirError(413, "the body is too large"))
            return self._perform(request, entry)
        entry.fault = fault.kind
        return await self._faulty(fault, request, entry, client, receive)

    def _perform(self, request: Request, entry: Entry) -> Answer:
        try:
            answer = self._system.perform(request)
        except Exception:
            log.exception("a request failed")
            answer = error_answer(FhirError(500, "the system failed; its log says why", code="exception"))
        entry.committed = bool(answer.committed)
        entry.resources = list(answer.committed)
        entry.resource = answer.resource or entry.resource
        return answer

    async def _faulty(
        self, fault: Fault, request: Request, entry: Entry, client: Any, receive: Receive
    ) -> Answer | None:
        seconds = fault.seconds
        if fault.kind == "slow":
            epoch = self._system.store.epoch
            await asyncio.sleep(5.0 if seconds is None else seconds)
            if epoch != self._system.store.epoch:
                return error_answer(FhirError(503, "the system was reset meanwhile"))
            return self._perform(request, entry)
        if fault.kind == "stale":
            reading = request.method in ("GET", "HEAD") or request.path.endswith("/_search")
            return self._perform(request.stale(seconds or 0.0) if reading else request, entry)
        if fault.kind == "status":
            return _refusal(fault)
        if fault.kind == "late":
            task = asyncio.create_task(self._late(request, entry, 3.0 if seconds is None else seconds))
            self._system.late.add(task)
            task.add_done_callback(self._system.late.discard)
        elif fault.kind == "drop_answer" or fault.commit:
            self._perform(request, entry)
        if fault.kind == "html":
            return Answer(fault.status or 502, _PAGE, content_type="text/html; charset=utf-8")
        if fault.kind == "empty":
            return Answer(fault.status or 200)
        if fault.kind == "hang":
            await _until_closed(receive, _HANG_S)
        await hang_up(client)
        return None

    async def _late(self, request: Request, entry: Entry, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._perform(request, entry)
        self._system.journal.keep(entry)


def _subject(path: str) -> str | None:
    parts = path.split("/")
    if len(parts) > 1 and parts[1][:1] not in ("_", "$"):
        return f"{parts[0]}/{parts[1]}"
    return parts[0] if parts[0][:1].isupper() else None


def _refusal(fault: Fault) -> Answer:
    status = fault.status or 503
    answer = error_answer(FhirError(status, "a fault to order", code=CODE_OF_STATUS.get(status, "exception")))
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(math.ceil(fault.retry_after))
    return answer


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


def _request(scope: Scope, path: str, body: bytes) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    base_url = f"http://{headers.get('host', 'localhost')}/fhir"
    return Request(scope["method"], path, _pairs(scope), headers, body, base_url)


async def _send(send: Send, scope: Scope, answer: Answer) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    bodiless = answer.status in (204, 304)
    if answer.body:
        headers.append((b"content-type", answer.content_type.encode()))
    if not bodiless:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if bodiless or scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})
