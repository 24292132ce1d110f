"""A FHIR server that answers exactly what a test tells it to, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LATER = "Thu, 31 Dec 2026 23:59:59 GMT"
"""The server's time where a script does not say: real servers always state one."""
Query = dict[str, list[str]]
Script = Callable[[str, Query], "tuple[int, Any] | tuple[int, Any, dict[str, str]]"]


class ScriptedServer:
    """``script`` gets path (below the base) and query, and gives status, body and perhaps headers."""

    def __init__(self) -> None:
        self.script: Script = lambda path, query: (404, {})
        self.asked: list[tuple[str, Query]] = []
        self.authorizations: list[str | None] = []
        self.origin = ""

    @property
    def base_url(self) -> str:
        """Where its FHIR API begins."""
        return f"{self.origin}/fhir"


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running server, stopped at the end."""
    server = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path, query = parts.path.removeprefix("/fhir/"), parse_qs(parts.query)
            server.asked.append((path, query))
            server.authorizations.append(self.headers.get("Authorization"))
            status, body, *more = server.script(path, query)
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers = {"Date": LATER, **(more[0] if more else {})}
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.origin = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def patient(record_id: str, updated: str | None = "2026-01-01T00:00:00.000Z", **more: Any) -> dict[str, Any]:
    """A small Patient."""
    meta = {"versionId": "1", "lastUpdated": updated} if updated else {}
    return {"resourceType": "Patient", "id": record_id, "meta": meta, **more}


def bundle(*resources: dict[str, Any], next_link: str | None = None, self_link: str | None = None) -> dict[str, Any]:
    """A searchset of resources; a dict with the key ``entry`` stands for a whole entry."""
    links = [{"relation": "self", "url": self_link}] if self_link else []
    links += [{"relation": "next", "url": next_link}] if next_link else []
    entries = [
        item["entry"] if isinstance(item, dict) and "entry" in item else {"resource": item} for item in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}
