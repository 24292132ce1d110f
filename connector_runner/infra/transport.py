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
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager

from connector_runner.infra.addresses import AddressGuard

_SEND_PIECE = 65_536


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
        super().__init__(pool_connections=pools, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Build the pool manager with guarded connections."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs)
        plain = type("GuardedHTTPConnection", (_Guarded, HTTPConnection), {"guard": self._guard})
        tls = type("GuardedHTTPSConnection", (_Guarded, HTTPSConnection), {"guard": self._guard})
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("GuardedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("GuardedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
