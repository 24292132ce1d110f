"""An API that takes nothing, and quotes what it was sent wherever an answer has room for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Gossip(BaseHTTPRequestHandler):
    def _quote(self) -> None:
        name: str = self.server.name  # type: ignore[attr-defined]
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        found = self.command == "GET"
        search = found and "?" in self.path
        quoted = {"results": [], "next": f"{name} {sent}"} if search else {
            "error": {"code": name, "message": f"{name} {sent}", "field": name},
            "resourceType": name, "id": name, "version": name, "results": [],
            "issue": [{"severity": "error", "code": name, "diagnostics": sent, "expression": [f"{name} {sent}"]}],
        }  # fmt: skip
        answer = json.dumps(quoted).encode()
        self.send_response_only(200 if search else 404 if found else 422, name)
        for header in ("Location", "ETag", "Retry-After", "RateLimit", "X-RateLimit-Reset", "WWW-Authenticate"):
            self.send_header(header, name)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_PATCH = _quote  # noqa: N815 - as http.server wants them

    def log_message(self, format: str, *args: object) -> None:
        """What it was asked is in the data of the product."""


@contextmanager
def a_gossip(name: str) -> Iterator[str]:
    """Its address; it names ``name`` in each answer."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gossip)
    server.name = name  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
