"""A simulated system that asks for tokens, and a workspace with keys: what tests of tokens work with."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pydantic import TypeAdapter

from connector_runner.auth import client_keys, token_store
from connector_runner.auth.credentials import Credential
from connector_runner.auth.minting import Site
from connector_runner.auth.opening import Credentials
from connector_runner.auth.settings import Auth, Direction
from connector_runner.infra.database import Database, execute, rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.ids import new_id
from connector_runner.sandbox import launch
from connector_runner.settings import Settings

CACHE = timedelta(seconds=3600)
AUTH: TypeAdapter[Any] = TypeAdapter(Auth)
KEY = b"k" * 32
EXCHANGE = {
    "kind": "bearer_token_exchange", "exchange_secret": "env:S", "exchange_secret_format": "{secret}",
    "exchange_expires_in_field": "expires_in",
    "exchange_param_headers": [{"header_name": "X-User", "param_name": "user_id"}],
}  # fmt: skip


def call(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """One request to a server of the test's own; its JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
        return json.loads(answer.read() or b"null")


class Answering(BaseHTTPRequestHandler):
    """Answers every GET with the key set."""

    def do_GET(self) -> None:
        """The key set, which may be kept for as long as the bench says."""
        body = json.dumps(self.server.document()).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Cache-Control", f"public, max-age={self.server.max_age}")  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@dataclass
class TokenBench:
    """One workspace and one data source of it, at one simulated system."""

    database: Database
    sealer: Sealer
    http: HTTP
    workspace: str
    system: launch.Running
    source_id: str = ""
    clock: Clock = utc_now

    def __post_init__(self) -> None:
        self.source_id = self.source_id or new_id()
        call("POST", f"{self.system.switchboard}/reset", {"empty": True})

    def register(self, *clients: dict[str, Any]) -> None:
        """Register clients at the system."""
        call("PUT", f"{self.system.switchboard}/clients", list(clients))

    def behave(self, **how: Any) -> None:
        """Change how the authorization server behaves."""
        call("PUT", f"{self.system.switchboard}/authorization", how)

    def revoke(self) -> None:
        """Let all tokens end now."""
        call("POST", f"{self.system.switchboard}/revoke", {})

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The token requests so far."""
        return list(call("GET", f"{self.system.switchboard}/authorization")["asked"])

    def new_key(self, algorithm: str = "ES384", **more: Any) -> dict[str, Any]:
        """A key of the workspace."""
        with self.database.begin(self.workspace) as tx:
            return client_keys.add(
                tx, self.workspace, self.sealer, actor="test", now=self.clock(), cache_life=CACHE,
                algorithm=algorithm, **more,
            )  # fmt: skip

    def jwks(self) -> dict[str, Any]:
        """The published set."""
        with self.database.begin(self.workspace) as tx:
            return client_keys.published(tx, self.workspace, self.clock())

    def smart(self, *, scopes: str = "system/*.cruds", algorithm: str = "ES384", **client: Any) -> dict[str, Any]:
        """Settings of a client that is registered with the workspace's published keys."""
        self.new_key(algorithm)
        self.register({"client_id": "runner", "scopes": scopes, "jwks": self.jwks(), **client})
        return {"kind": "smart_backend", "client_id": "runner", "scopes": scopes}

    def credential(
        self, auth: dict[str, Any], direction: Direction = "read", *, types: tuple[str, ...] = (), **secrets: str
    ) -> Credential:
        """A credential as one worker opens it; ``env:NAME`` is the argument ``NAME``."""
        site = Site(self.workspace, self.source_id, self.system.base_url, types)
        credentials = Credentials(self.database, self.http, self.sealer, clock=self.clock)
        opened = credentials.opener(site, lambda reference: secrets[reference.removeprefix("env:")])
        return opened(AUTH.validate_python(auth), direction)

    def token(self, credential: Credential, *params: tuple[str, str]) -> str:
        """The token that a request would be given."""
        headers: dict[str, str] = {}
        credential.apply(headers, list(params))
        return headers["Authorization"].removeprefix("Bearer ")

    def end_tokens(self, *, renew_only: bool = False) -> None:
        """Let time pass until all tokens have ended, or until they are to be renewed."""
        what = "renew_at = now()" + ("" if renew_only else ", expires_at = now()")
        self.change(what)

    def end_pauses(self) -> None:
        """Let time pass until tokens may be asked for again."""
        self.change("retry_at = NULL")

    def change(self, what: str) -> None:
        """Change the rows of tokens."""
        with self.database.begin(self.workspace) as tx:
            execute(tx, f"UPDATE access_token SET {what} WHERE workspace_id = :ws", ws=self.workspace)

    def shown(self) -> list[dict[str, Any]]:
        """How the tokens of the source are."""
        with self.database.begin(self.workspace) as tx:
            return token_store.of_source(tx, self.workspace, self.source_id)

    def everything_kept(self) -> str:
        """All that the table of tokens holds, as text."""
        with self.database.begin(self.workspace) as tx:
            found = rows(tx, "SELECT * FROM access_token WHERE workspace_id = :ws", ws=self.workspace)
        return " ".join(
            bytes(value).decode("latin-1") if isinstance(value, memoryview) else str(value)
            for row in found
            for value in row.values()
        )

    @contextmanager
    def published(self, max_age: int = 0) -> Iterator[str]:
        """The workspace's key set at an address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        server.document, server.max_age = self.jwks, max_age  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            server.shutdown()
            server.server_close()


def http() -> HTTP:
    """A way out that may call this machine."""
    return HTTP(Settings(http_allow=("127.0.0.1",)))


def race(url: str, workspace: str, source_id: str, base_url: str, auth: dict[str, Any], out: Any) -> None:
    """One process of several, each with ten workers."""
    database = Database(url, pool_size=10)
    credentials = Credentials(database, http(), Sealer(KEY))

    def work(_: int) -> str:
        opened = credentials.opener(Site(workspace, source_id, base_url), str)(AUTH.validate_python(auth), "read")
        headers: dict[str, str] = {}
        opened.apply(headers, [])
        return headers["Authorization"]

    with ThreadPoolExecutor(10) as pool:
        out.put(sorted(set(pool.map(work, range(10)))))
