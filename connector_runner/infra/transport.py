"""The sockets under ``infra.http``: each connection goes to an address that was checked.

The check is made where the socket is opened, on the addresses that it is opened to, so a name that answers
differently the second time gains nothing. Host header, SNI and certificate check keep the name.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util import Retry, Timeout

from connector_runner.infra.addresses import AddressGuard
from connector_runner.infra.wire import head_of, host_of, read_headers

_SEND_PIECE = 65_536
_NO_RETRIES = Retry(0, read=False)


@dataclass(slots=True)
class Attempt:
    """One request on the wire: when it must be over, and whether any byte of it has left."""

    deadline: float
    """On the monotonic clock, in seconds."""
    read_timeout_s: float
    sent: bool = False

    def remaining(self) -> float:
        """Seconds left. Raises TimeoutError when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


current_attempt: ContextVar[Attempt] = ContextVar("current_attempt")


class _BoundedReader(io.RawIOBase):
    """Reads a socket without outliving the attempt, however slowly the other side trickles."""

    def __init__(self, raw: Any, sock: socket.socket, attempt: Attempt) -> None:
        super().__init__()
        self._raw, self._sock, self._attempt = raw, sock, attempt

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(min(self._attempt.read_timeout_s, self._attempt.remaining()))
        count: int = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer whose head is read without the standard library's parser of mails."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp: Any = io.BufferedReader(_BoundedReader(self.fp.detach(), sock, current_attempt.get()))
        self.fields = HTTPHeaderDict()

    def begin(self) -> None:
        """Read the head; interim answers (RFC 9110, section 15.2) are passed over.

        The standard library takes one for the final answer, and that, when it comes, for the answer to the
        connection's next request.
        """
        connection: Any = self
        while True:
            version, status, reason = connection._read_status()
            self.fields = HTTPHeaderDict(read_headers(self.fp))
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.BadStatusLine("another protocol")
            if status >= 200:
                break
        if not version.startswith("HTTP/1.") and version != "HTTP/0.9":
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = cast(Any, self.fields)
        self.chunk_left: int | None = None
        self.chunked = self.fields.get("Transfer-Encoding", "").lower() == "chunked"
        self.length = self._told_length()
        self.will_close = connection._check_close() or (not self.chunked and self.length is None)

    def _told_length(self) -> int | None:
        """Of the body, None where its end tells it (RFC 9112, section 6.3)."""
        connection: Any = self
        if self.status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED) or connection._method == "HEAD":
            return 0
        told = self.fields.getlist("Content-Length")
        if self.chunked or not told:
            return None
        try:
            length = int(told[0])
        except ValueError:
            return None
        return length if length >= 0 else None


class _Guarded:
    """What both kinds of connection add: a checked address, and a note that bytes have left."""

    guard: AddressGuard
    _answer: _BoundedResponse | None = None
    _asked = ("", "")

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> None:
        """Send a request, its head and a body that is not long as one message: the other side is woken once."""
        connection: Any = self
        if self._answer is not None and not self._answer.isclosed():
            raise http.client.CannotSendRequest("the answer before this one was not read")
        self._answer, self._asked = None, (method, url)
        host = host_of(connection.host, connection.port, connection.default_port)
        head = head_of(method, url, headers or {}, host, None if body is None else len(body))
        if body is None or len(body) > _SEND_PIECE:
            self.send(head)
        if body is not None:
            self.send(head + body if len(body) <= _SEND_PIECE else body)

    def getresponse(self) -> HTTPResponse:
        """The answer, its body unread."""
        connection: Any = self
        method, url = self._asked
        sock = connection.sock
        raw = _BoundedResponse(sock, method=method)
        try:
            raw.begin()
        except BaseException as exc:
            if isinstance(exc, ConnectionError):
                connection.close()
            raw.close()
            raise
        if raw.will_close:
            # The answer keeps the socket until it is read.
            connection.close()
        else:
            self._answer = raw
        return HTTPResponse(
            body=cast(Any, raw),
            headers=raw.fields,
            status=raw.status,
            version=raw.version,
            version_string="HTTP/1.1" if raw.version == 11 else "HTTP/1.0",
            reason=raw.reason,
            preload_content=False,
            decode_content=False,
            original_response=cast(Any, raw),
            request_method=method,
            request_url=url,
            sock_shutdown=sock.shutdown,
        )

    def _new_conn(self) -> socket.socket:
        connection: Any = self
        attempt = current_attempt.get()
        host, port = connection.host, connection.port
        try:
            endpoints = self.guard.resolve(host, port)
        except (socket.gaierror, UnicodeError) as exc:
            problem = exc if isinstance(exc, socket.gaierror) else socket.gaierror("not a host name")
            raise NameResolutionError(host, connection, problem) from exc
        failure: OSError = OSError("no address")
        for family, place in endpoints:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(min(connection.timeout or attempt.read_timeout_s, attempt.remaining()))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.connect(place)
            except OSError as exc:
                sock.close()
                failure = exc
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(connection, "connecting timed out") from failure
        raise NewConnectionError(connection, "connecting failed") from failure

    def send(self, data: bytes) -> None:
        """Send bytes, within the attempt's time."""
        connection: Any = self
        if connection.sock is None:
            connection.connect()
        attempt = current_attempt.get()
        view = memoryview(data)
        for start in range(0, len(view), _SEND_PIECE):
            connection.sock.settimeout(min(attempt.read_timeout_s, attempt.remaining()))
            attempt.sent = True
            connection.sock.sendall(view[start : start + _SEND_PIECE])


class GuardedAdapter(HTTPAdapter):
    """A requests transport whose connections pass ``guard``; pooled, shared between threads, without retries."""

    def __init__(self, guard: AddressGuard, *, pools: int, connections: int) -> None:
        """``pools``: hosts whose connections are kept; ``connections``: how many are kept a host."""
        self._guard = guard
        self._pools: dict[tuple[str, str, str | bool, tuple[str, str] | None], HTTPConnectionPool] = {}
        self._most_pools = pools
        super().__init__(pool_connections=pools, pool_maxsize=connections, max_retries=0)

    def open(
        self,
        request: PreparedRequest,
        parts: SplitResult,
        *,
        timeout_s: float,
        verify: str | bool,
        certificate: tuple[str, str] | None,
    ) -> BaseHTTPResponse:
        """Send a request whose URL has these parts; the answer as it comes from the wire, its body unread.

        As ``send``, without what that does for sessions: cookies, hooks, a response of its own. Raises what requests,
        urllib3 or the socket do.
        """
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return self._pool(request, parts, verify, certificate).urlopen(
            request.method or "GET",
            target,
            body=request.body,
            headers=request.headers,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(connect=timeout_s, read=timeout_s),
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        """Let go of all connections."""
        self._pools.clear()
        super().close()

    def _pool(
        self, request: PreparedRequest, parts: SplitResult, verify: str | bool, certificate: tuple[str, str] | None
    ) -> HTTPConnectionPool:
        """The connections to a server, found again without asking requests anew what goes with them."""
        key = (parts.scheme, parts.netloc, verify, certificate)
        pool = self._pools.get(key)
        if pool is None:
            found: Any = self.get_connection_with_tls_context(request, verify, cert=certificate)
            self.cert_verify(found, request.url, verify, certificate)  # type: ignore[no-untyped-call]
            if len(self._pools) >= self._most_pools:
                self._pools.clear()
            self._pools[key] = pool = cast(HTTPConnectionPool, found)
        return pool

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Build the pool manager with guarded connections."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs)
        plain = type("GuardedHTTPConnection", (_Guarded, HTTPConnection), {"guard": self._guard})
        tls = type("GuardedHTTPSConnection", (_Guarded, HTTPSConnection), {"guard": self._guard})
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("GuardedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("GuardedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
