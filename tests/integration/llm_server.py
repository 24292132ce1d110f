"""A server that speaks the OpenAI protocol on 127.0.0.1, and misbehaves as a test orders."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], str]


@dataclass
class Model:
    """What the server does and what it was asked. ``answer``: the content of its message for a request."""

    base_url: str = ""
    answer: Reply = lambda request: json.dumps({"code": "none-of-these"})
    status: int = 200
    raw: bytes | None = None
    location: str | None = None
    hangs: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def says(self, code: Any) -> None:
        """Answer with this code from now on."""
        self.answer = lambda request: json.dumps({"code": code})

    def body(self, request: dict[str, Any]) -> bytes:
        """The answer on the wire."""
        if self.raw is not None:
            return self.raw
        message = {"role": "assistant", "content": self.answer(request)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(
            {"id": "c", "object": "chat.completion", "created": 1, "model": request["model"], "choices": [choice]}
        ).encode()


@contextmanager
def serving() -> Iterator[Model]:
    """A running server; it ends with the block, whoever hangs."""
    model = Model()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.asked.append(request)
            model.headers.append({name.lower(): value for name, value in self.headers.items()})
            if model.hangs:
                model.release.wait(30)
                return
            body = model.body(request)
            self.send_response(model.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if model.location is not None:
                self.send_header("Location", model.location)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    model.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield model
    finally:
        model.release.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
