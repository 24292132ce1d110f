"""A server of sockets, to answer as no HTTP server would."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import closing

CANARY = "Quatermass"


Script = Callable[[socket.socket, bytes, int], None]


class Server:
    """Speaks raw HTTP as a script tells it to."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection):
            while True:
                request = read_request(connection)
                if not request:
                    return
                self.requests.append(request)
                try:
                    self.script(connection, request, len(self.requests))
                except OSError:
                    return
                if connection.fileno() == -1:
                    return

    def close(self) -> None:
        self.listener.close()


def read_request(connection: socket.socket) -> bytes:
    """A request with its whole body; empty when the other side went away."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next((int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
        while len(body) < length:
            body += connection.recv(65536)
    except OSError:
        return b""
    return head + b"\r\n\r\n" + body


def answer(connection: socket.socket, body: bytes = b"{}", status: str = "200 OK", *headers: str) -> None:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
