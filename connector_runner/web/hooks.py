"""``POST|PUT /hooks/{workspace}/{source}[/Type/id]``: where systems push to us.

A delivery is read up to a megabyte and within ten seconds, verified, stored, and answered with an empty 200: that,
or a FHIR resource, is what FHIR servers take for an answer. The work on it is hinted afterwards. Nothing of the URL,
a header or the body is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from connector_runner.auth.signatures import Delivery
from connector_runner.bootstrap import Runner
from connector_runner.infra.database import Database
from connector_runner.infra.logging import get_logger
from connector_runner.infra.queue import RECEIVE
from connector_runner.intake.push.receiving import MAX_BYTES, Door, Fresh, Received, Receiver
from connector_runner.kernel.errors import RunnerError, Unavailable
from connector_runner.web.room import Full, Place, Room

THREADS: Final = 4
BODY_DEADLINE_S: Final = 10.0
STATEMENT_TIMEOUT_S: Final = 5.0
_METHODS = ["POST", "PUT"]
_MOST_SEGMENTS = 8
_LONGEST_TARGET = 512
_STATUS: Final = {"stored": 200, "known": 200, "refused": 401, "malformed": 400}
_HINTS_WAITING = 10_000
_HINT_PAUSE_S = 0.01

_COMMITTERS = 2
_BATCH = 100
_SHORT = 32_768
"""Bodies to this length are read between other requests; longer ones in a thread."""

_Waiting = tuple[Fresh, asyncio.AbstractEventLoop, "asyncio.Future[Received]"]
P = ParamSpec("P")
T = TypeVar("T")

log = get_logger(__name__)


class _Refused(Exception):
    """The request cannot be taken; the connection is closed, for its body may still be on its way."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Hinter:
    """Sends hints beside the answers, so that Redis never holds one up. Hints of one source fall together."""

    def __init__(self, send: Callable[..., bool]) -> None:
        self._send = send
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(_HINTS_WAITING)
        self._known: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._run, name="push-hints", daemon=True)
        self._thread.start()

    def hint(self, received: Received) -> None:
        """Work waits for a source. When too many hints wait, the sweep does their work."""
        ids = (received.workspace_id, received.data_source_id)
        if ids in self._known:
            return
        self._known.add(ids)
        try:
            self._waiting.put_nowait(ids)
        except queue.Full:
            self._known.discard(ids)

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            # Deliveries come in bursts, and one hint tells of all that are there when it is read.
            time.sleep(_HINT_PAUSE_S)
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while (following := self._waiting.get_nowait()) is not None:
                    batch.append(following)
                self._waiting.put(None)
            for ids in batch:
                # What comes from now on is hinted anew: it may be too late for the worker that this hint wakes.
                self._known.discard(ids)
                self._tell(ids)

    def _tell(self, ids: tuple[str, str]) -> None:
        try:
            self._send(RECEIVE, workspace_id=ids[0], data_source_id=ids[1])
        except RunnerError as error:
            log.warning("push.hint_failed", code=error.code)

    def close(self) -> None:
        """Send what waits, and end."""
        self._waiting.put(None)
        self._thread.join(5)


class Committing:
    """Stores what came while the last transaction was under way in the next one.

    A commit costs the same for one delivery as for fifty, so a burst, or a slow disk, makes larger transactions and
    not a longer queue. An answer waits for its own commit.
    """

    def __init__(self, store: Callable[[Sequence[Fresh]], list[Received]]) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"push-commit-{n}", daemon=True) for n in range(_COMMITTERS)
        ]
        for thread in self._threads:
            thread.start()

    async def store(self, fresh: Fresh) -> Received:
        """Wait until a delivery is stored; raises what storing it raised."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Received] = loop.create_future()
        self._waiting.put((fresh, loop, answer))
        return await answer

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < _BATCH:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._waiting.put(None)
                    break
                batch.append(following)
            self._commit(batch)

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            received: Sequence[Received | Exception] = self._store([fresh for fresh, _, _ in batch])
        except Exception as error:
            # What is wrong with one must not be the others' trouble; without Postgres it is the trouble of all.
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for one in batch:
                    self._commit([one])
                return
            received = [error] * len(batch)
        loop = batch[0][1]
        answers = [answer for _, _, answer in batch]
        try:
            loop.call_soon_threadsafe(_settle, answers, received)
        except RuntimeError:
            log.info("push.closed", waiting=len(answers))  # the server ends: nobody waits any more

    def close(self) -> None:
        """Store what waits, and end."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(10)


def _settle(answers: Sequence[asyncio.Future[Received]], received: Sequence[Received | Exception]) -> None:
    for answer, outcome in zip(answers, received, strict=True):
        if answer.done():  # who asked has gone
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


class Hooks:
    """The receiver in a web process: connections to Postgres and threads of its own."""

    def __init__(self, runner: Runner) -> None:
        self._database = Database(
            runner.addresses.database_url, pool_size=THREADS, statement_timeout_s=STATEMENT_TIMEOUT_S
        )
        self._receiver = Receiver(self._database, runner.sealer)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="push")
        self._committing = Committing(self._receiver.store)
        self._hinter = Hinter(lambda task, **ids: runner.publisher.hint(task, **ids))
        self._room = Room()

    def register(self, app: FastAPI) -> None:
        """Add the routes."""
        for path in ("/hooks/{workspace}/{source}", "/hooks/{workspace}/{source}/{target:path}"):
            app.router.routes.append(Route(path, self._answer, methods=_METHODS))

    async def _answer(self, request: Request) -> Response:
        try:
            received = await self._take(request)
        except _Refused as refused:
            return _closing(refused.status, refused.code)
        except Full:
            return _closing(503, "busy", retry=True)
        except ClientDisconnect:
            return Response(status_code=400)
        except RunnerError as error:
            # Misconfigured too: what cannot be verified now may be when the operator has mended it.
            log.warning("push.not_taken", code=error.code)
            return _closing(503, "unavailable", retry=True)
        if received.outcome == "stored":
            self._hinter.hint(received)
        status = _STATUS[received.outcome]
        return Response(received.code, status_code=status, media_type="text/plain" if received.code else None)

    async def _take(self, request: Request) -> Received:
        workspace, source = request.path_params["workspace"], request.path_params["source"]
        target = request.path_params.get("target", "").strip("/")
        if len(target) > _LONGEST_TARGET or target.count("/") >= _MOST_SEGMENTS or not target.isprintable():
            raise _Refused(404, "unknown")
        door = self._receiver.known_door(workspace, source)
        if door is None:
            door = await self._in_thread(self._receiver.door, workspace, source)
        if door is None:
            raise _Refused(404, "unknown")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise _Refused(415, "content_encoding")
        with self._room.reading() as place:
            body = await _body(request, place)
            with self._room.storing():
                return await self._taken(request, door, target, body)

    async def _taken(self, request: Request, door: Door, target: str, body: bytes) -> Received:
        delivery = Delivery(request.method, _url(request, door), _headers(request), body)
        if len(body) <= _SHORT:
            read = self._receiver.read(door, delivery, target)
        else:
            read = await self._in_thread(self._receiver.read, door, delivery, target)
        return read if isinstance(read, Received) else await self._committing.store(read)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._committing.close()
        self._hinter.close()
        self._database.dispose()


async def _body(request: Request, place: Place) -> bytes:
    """The whole body. What is said to be too long is not read at all, what turns out to be no further than that."""
    length = request.headers.get("content-length")
    if length is not None and (not length.isdecimal() or len(length) > 12 or int(length) > MAX_BYTES):
        raise _Refused(413, "too_large")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BYTES:
                    raise _Refused(413, "too_large")
                place.take(len(part))
                parts.append(part)
    except TimeoutError:
        raise _Refused(408, "too_slow") from None
    return b"".join(parts)


def _headers(request: Request) -> dict[str, str]:
    """By lower-case name; one that is there twice is joined, and then fits no signature."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _url(request: Request, door: Door) -> str:
    """The URL that the sender called: the public one, whatever proxies made of it."""
    path = request.scope["raw_path"].decode("latin-1") if request.scope.get("raw_path") else request.url.path
    query = request.scope["query_string"].decode("latin-1")
    base = door.settings.public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"
    return base.rstrip("/") + path.partition("?")[0] + (f"?{query}" if query else "")


def _closing(status: int, code: str, *, retry: bool = False) -> Response:
    headers = {"Connection": "close"} | ({"Retry-After": "5"} if retry else {})
    return Response(code, status_code=status, headers=headers, media_type="text/plain")
