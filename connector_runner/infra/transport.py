"""The sockets under ``infra.http``: each connection goes to an address that was checked.

The check is made where the socket is opened, on the addresses that it is opened to, so a name that answers
differently the second time gains nothing. Host header, SNI and certificate check keep the name.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry, Timeout

from connector_runner.infra.addresses import AddressGuard

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


class _Lines(io.BufferedReader):
    """Remembers the last line read."""

    last = b""

    def readline(self, size: int | None = -1) -> bytes:
        self.last = super().readline(size)
        return self.last


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._lines = _Lines(_BoundedReader(self.fp.detach(), sock, current_attempt.get()))
        self.fp = self._lines

    def begin(self) -> None:
        super().begin()
        # The standard library takes an interim answer (RFC 9110, section 15.2) for the final one, and the final one,
        # when it comes, for that to the connection's next request.
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise http.client.BadStatusLine("another protocol")
        # The standard library takes a head that the end of the connection cut short for a whole one.
        if self._lines.last not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(b"")


class _Guarded:
    """What both kinds of connection add: a checked address, and a note that bytes have left."""

    guard: AddressGuard
    response_class = _BoundedResponse
    _waits_for_body = False
    _head = b""

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        self._head = b""
        self._waits_for_body = isinstance(body, bytes) and 0 < len(body) <= _SEND_PIECE
        super().request(method, url, body, *args, **kwargs)  # type: ignore[misc]

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

    def send(self, data: Any) -> None:
        if self._waits_for_body:
            # One message: the other side, too, is woken once for the two.
            self._head, self._waits_for_body = data, False
            return
        if self._head:
            data, self._head = self._head + data, b""
        connection: Any = self
        if connection.sock is None:
            connection.connect()
        attempt = current_attempt.get()
        view = memoryview(data.encode("latin-1") if isinstance(data, str) else data)
        for start in range(0, len(view), _SEND_PIECE):
            connection.sock.settimeout(min(attempt.read_timeout_s, attempt.remaining()))
            attempt.sent = True
            super().send(view[start : start + _SEND_PIECE])  # type: ignore[misc]


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
