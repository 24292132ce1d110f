"""The token endpoint and what a test sees and turns of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..messages import Answer
from . import scopes
from .assertions import Assertions, Refused, named_client
from .clients import Client, KeysUnreachable

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PAGE = b"<!doctype html><html><body><h1>Sign in</h1></body></html>"


@dataclass(slots=True)
class Conduct:
    """How the server behaves.

    ``life_s`` of tokens, ``told_s`` what is said of it (-1: the truth, 0: nothing). ``permissions``: the versions
    of scopes that it knows. ``strict_scopes`` refuses what it does not know, else it is dropped; ``grant`` is granted
    whatever is asked. ``refusal_status`` answers an invalid client; ``words`` false: ``error_description`` is null.
    ``clock_s``: how far its clock is ahead. ``discovery``: ``well-known``, ``metadata`` or ``none``.
    ``fault`` befalls the ``next`` requests (-1: all): ``html``, ``html_error``, ``status`` (``status``), ``slow``
    (``seconds``), ``no_token``, ``mac``.
    """

    life_s: float = 300.0
    told_s: float = -1.0
    permissions: str = "v1 v2"
    strict_scopes: bool = False
    grant: str = ""
    refusal_status: int = 401
    words: bool = True
    clock_s: float = 0.0
    discovery: str = "well-known"
    fault: str = ""
    next: int = -1
    status: int = 503
    seconds: float = 1.0


@dataclass(slots=True)
class Issued:
    """A token that is out."""

    client_id: str
    scope: str
    until: float


@dataclass(slots=True)
class Authorization:
    """Everything of one authorization server."""

    conduct: Conduct = field(default_factory=Conduct)
    clients: dict[str, Client] = field(default_factory=dict)
    tokens: dict[str, Issued] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    assertions: Assertions = field(default_factory=Assertions)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """As at the start: no clients, no tokens."""
        self.conduct = Conduct()
        self.clients.clear()
        self.tokens.clear()
        self.asked.clear()
        self.assertions = Assertions()

    async def answer(self, method: str, path: str, headers: dict[str, str], body: bytes, origin: str) -> Answer:
        """Answer a request below ``/auth``."""
        entry = {"at": time.time(), "path": path, "status": 0, "client_id": "", "kid": "", "grant": "", "error": ""}
        self.asked.append(entry)
        fault = self._fault()
        if fault == "slow":
            await asyncio.sleep(self.conduct.seconds)
        # Key sets are read over the network.
        found = await asyncio.to_thread(self._answer, method, path, headers, body, origin, entry, fault)
        found.headers.setdefault("Date", formatdate(time.time() + self.conduct.clock_s, usegmt=True))
        found.headers.setdefault("Cache-Control", "no-store")
        entry["status"] = found.status
        return found

    def _fault(self) -> str:
        conduct = self.conduct
        if not conduct.fault or conduct.next == 0:
            return ""
        conduct.next -= conduct.next > 0
        return conduct.fault

    def _answer(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        origin: str,
        entry: dict[str, Any],
        fault: str,
    ) -> Answer:
        if fault in ("html", "html_error"):
            return Answer(200 if fault == "html" else 400, _PAGE, content_type="text/html")
        if fault == "status":
            return _said(self.conduct.status, {"error": "server_error"})
        if method != "POST":
            return _said(405, {"error": "invalid_request"})
        with self.lock:
            if path == "/auth/token":
                answer = self._token(headers, body, origin + path, entry)
            elif path == "/auth/json":
                answer = self._json(body)
            elif path == "/auth/exchange":
                answer = self._exchange(headers)
            else:
                return _said(404, {"error": "invalid_request"})
        if answer.status == 200 and fault in ("no_token", "mac"):
            document = json.loads(answer.body)
            document |= {"token_type": "mac"} if fault == "mac" else {"access_token": None}
            return _said(200, document)
        return answer

    def _token(self, headers: dict[str, str], body: bytes, url: str, entry: dict[str, Any]) -> Answer:
        form = dict(parse_qsl(body.decode("latin-1")))
        grant = entry["grant"] = form.get("grant_type", "")
        try:
            client, kid = self._client(headers, form, url)
            entry |= {"client_id": client.client_id, "kid": kid}
        except Refused as refused:
            entry["error"] = str(refused)
            return self._refusal(self.conduct.refusal_status, "invalid_client", str(refused))
        if grant == "refresh_token":
            if not client.refresh_token or form.get("refresh_token") != client.refresh_token:
                return self._refusal(400, "invalid_grant", "the refresh token is not valid")
            client.refresh_token = secrets.token_urlsafe(16)
        elif grant != "client_credentials":
            return self._refusal(400, "unsupported_grant_type", "")
        known = [scope for scope in form.get("scope", "").split() if self._known(scope, client)]
        if self.conduct.strict_scopes and len(known) != len(form.get("scope", "").split()):
            return self._refusal(400, "invalid_scope", "a scope is not known")
        more = {"refresh_token": client.refresh_token} if grant == "refresh_token" else {}
        return self._issue(client.client_id, self.conduct.grant or " ".join(known), more)

    def _client(self, headers: dict[str, str], form: dict[str, str], url: str) -> tuple[Client, str]:
        """Who asks, and with which key; Refused when that is not proved."""
        kid = ""
        if form.get("client_assertion_type") == ASSERTION_TYPE:
            client = self._registered(named_client(form.get("client_assertion", "")))
            try:
                now = time.time() + self.conduct.clock_s
                kid = self.assertions.check(form["client_assertion"], client, url, now)
            except KeysUnreachable:
                raise Refused("the JWKS could not be fetched") from None
        else:
            name, secret = _basic(headers) or (form.get("client_id", ""), form.get("client_secret", ""))
            client = self._registered(name)
            if not client.secret or client.secret != secret:
                raise Refused("the client secret is wrong")
        if client.ended:
            raise Refused("the client registration has expired")
        return client, kid

    def _registered(self, name: str) -> Client:
        if name not in self.clients:
            raise Refused("unknown client")
        return self.clients[name]

    def _known(self, scope: str, client: Client) -> bool:
        fits = scopes.access(scope) is None or scopes.version(scope) in self.conduct.permissions.split()
        return fits and any(scopes.within(scope, registered) for registered in client.scopes.split())

    def _issue(self, client_id: str, scope: str, more: dict[str, Any]) -> Answer:
        token = secrets.token_urlsafe(24)
        self.tokens[token] = Issued(client_id, scope, time.time() + self.conduct.life_s)
        told = self.conduct.life_s if self.conduct.told_s < 0 else self.conduct.told_s
        life = {"expires_in": int(told)} if told else {}
        return _said(200, {"access_token": token, "token_type": "Bearer", "scope": scope, **life, **more})

    def _json(self, body: bytes) -> Answer:
        document = json.loads(body)
        name = document.get("client_id")
        if name not in self.clients or self.clients[name].secret != document.get("client_secret"):
            return _said(401, {"message": "no"})
        issued = json.loads(self._issue(name, self.clients[name].scopes, {}).body)
        return _said(200, {"data": {"token": issued["access_token"], "ttl": issued["expires_in"]}})

    def _exchange(self, headers: dict[str, str]) -> Answer:
        """A token for the user named in ``x-user``, to whoever has the secret of the client ``exchange``."""
        client = self.clients.get("exchange")
        if client is None or headers.get("x-api-key") != client.secret:
            return _said(401, {"message": "no"})
        if headers.get("x-user", "").startswith("unknown"):
            return _said(404, {"message": "no such user"})
        issued = json.loads(self._issue(f"exchange {headers.get('x-user')}", client.scopes, {}).body)
        return _said(200, {"token": issued["access_token"], "expires_in": issued["expires_in"]})

    def _refusal(self, status: int, error: str, words: str) -> Answer:
        return _said(status, {"error": error, "error_description": words if self.conduct.words else None})

    def seen(self) -> dict[str, Any]:
        """What was asked so far, and how the server behaves."""
        return {"asked": self.asked, "tokens": len(self.tokens), "conduct": asdict(self.conduct)}

    def behave(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Change how it behaves; ValueError for what there is not."""
        for name, value in wanted.items():
            if name not in Conduct.__dataclass_fields__ or type(value) not in (int, type(getattr(self.conduct, name))):
                raise ValueError(f"{name}: unknown, or of the wrong type")
            setattr(self.conduct, name, value)
        return asdict(self.conduct)

    def register(self, wanted: list[dict[str, Any]]) -> list[str]:
        """Put these clients in place of those of the same name."""
        made = [Client(**each) for each in wanted]
        self.clients.update({client.client_id: client for client in made})
        return sorted(self.clients)

    def revoke(self) -> int:
        """Let all tokens that are out end now; how many those were."""
        count = len(self.tokens)
        self.tokens.clear()
        return count


def _basic(headers: dict[str, str]) -> tuple[str, str] | None:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return unquote(name), unquote(secret)


def _said(status: int, document: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(document).encode(), content_type="application/json")
