"""What a sink would send, exactly, without sending it: the sink itself, over a way out that only writes down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from connector_runner.auth.credentials import Bearer, Credential, Open, simple
from connector_runner.auth.settings import Auth, Direction, MutualTlsAuth
from connector_runner.connectors import directory, registry
from connector_runner.connectors.base import Opening
from connector_runner.infra.database import Tx
from connector_runner.infra.http import HTTP, Answer, Into, Params
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound.lanes.intents import CREATE, Intent

_HIDDEN: Final = "(hidden)"
_CREDENTIALS: Final = ("authorization", "cookie", "token", "secret", "api-key", "apikey", "x-auth")
_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it would leave. ``path`` has no host; headers that may hold credentials are hidden."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Rehearsal(HTTP):
    """A way out that answers nothing and remembers what it was asked to send."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        data: bytes | None = None,
        timeout_s: float = 15.0,
        deadline_s: float | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        allow_redirects: bool = False,
        certificate: tuple[str, str] | None = None,
        into: Into | None = None,
    ) -> Answer:
        """Write it down. The answer is an empty success, so that a sink which asks twice goes on."""
        parts = urlsplit(url)
        query = urlencode([*parse_qsl(parts.query), *_pairs(params)])
        shown = {name: _HIDDEN if _may_tell(name) else value for name, value in (headers or {}).items()}
        self.asked.append(Request(method, parts.path + (f"?{query}" if query else ""), shown, _body(data)))
        return Answer(200, {}, b"{}", url)


def rehearsed(tx: Tx, workspace_id: str, sink_id: str, intent: Intent, client_ref: str) -> Request | None:
    """The request that would carry ``intent``; no credential is read. None where the sink asks for nothing.

    Raises Misconfigured when the data source is no sink.
    """
    http = Rehearsal()
    sink = registry.open_sink(
        directory.load(tx, workspace_id, sink_id), Opening(http, _hidden, open_credential=_stand_in)
    )
    if intent.operation == CREATE:
        sink.create(intent.body, client_ref)
    else:
        sink.update(intent.target or "", intent.body, intent.precondition or None, before=intent.before)
    writes = [asked for asked in http.asked if asked.method not in _READS]
    asked = writes or http.asked
    return asked[-1] if asked else None


def _hidden(reference: str) -> str:
    return _HIDDEN


def _stand_in(auth: Auth, direction: Direction) -> Credential:
    """Shows where a credential goes; no token is asked for, no certificate read."""
    if isinstance(auth, MutualTlsAuth) and auth.client_id is None:
        return Open()
    return simple(auth, _hidden) or Bearer("", _hidden)


def _pairs(params: Params | None) -> list[tuple[str, str]]:
    if params is None:
        return []
    return [(name, str(value)) for name, value in (params.items() if isinstance(params, Mapping) else params)]


def _may_tell(name: str) -> bool:
    return any(word in name.lower() for word in _CREDENTIALS)


def _body(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return exact_json.loads(data)
    except BadRecord:
        return data.decode("utf-8", "replace")
