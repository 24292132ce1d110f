"""Asking for a token, each kind in its way. One request is one attempt; when to try again is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from connector_runner.auth import answers, scopes
from connector_runner.auth.answers import Asked
from connector_runner.auth.assertions import ALGORITHMS, SigningKey
from connector_runner.auth.credentials import Reveal
from connector_runner.auth.discovery import discover
from connector_runner.auth.settings import (
    Direction,
)
from connector_runner.auth.tokens import Known, Minted
from connector_runner.infra.http import HTTP, Answer
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError

REQUEST_S: Final = 10.0
_MOST_BYTES: Final = 1024 * 1024
_FORM: Final = "application/x-www-form-urlencoded"
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE_LASTS_S: Final = 3600
_CLOCK_CODES: Final = frozenset({"clock_skew", "client_refused"})

Passage = Callable[[Callable[[], Answer]], Answer]
"""Waits until a request may be sent, and sends it. Raises RateLimited (``read_paced``) where it is not sent now."""
Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Site:
    """Whose requests a token is for. ``types`` are the record types that are polled there."""

    workspace_id: str
    data_source_id: str
    base_url: str | None = None
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Means:
    """What a token is asked for with. ``passage``, where token requests count against a quota, lets each through."""

    http: HTTP
    reveal: Reveal
    signing_key: Callable[[Sequence[str], str | None], SigningKey]
    passage: Passage | None = None
    clock: Clock = utc_now

    def post(self, url: str, headers: Mapping[str, str], body: bytes, certificate: tuple[str, str] | None) -> Answer:
        """One request for a token."""

        def send() -> Answer:
            return self.http.request(
                "POST",
                url,
                headers={"Accept": "application/json", **headers},
                data=body,
                timeout_s=REQUEST_S,
                deadline_s=REQUEST_S,
                max_bytes=_MOST_BYTES,
                certificate=certificate,
            )

        return send() if self.passage is None else self.passage(send)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request for a token: ``offset_s`` is what is added to our clock to have the server's."""

    url: str
    scope: str
    known: Known
    offset_s: float
    algorithms: tuple[str, ...]


class OAuthMint:
    """A token endpoint of OAuth 2.0: the form differs by kind, what is around it does not."""

    asserts = False
    """Whether our clock is part of what is sent."""
    where = "auth"

    def __init__(self, auth: Any, site: Site, direction: Direction, means: Means) -> None:
        self.auth = auth
        self.site = site
        self.direction = direction
        self.means = means

    def form(self, wanted: Wanted) -> tuple[Pairs, Pairs]:
        """Headers and form of the request."""
        raise NotImplementedError

    def material(self) -> str:
        """The secrets that are used."""
        raise NotImplementedError

    def first_refresh_token(self) -> str | None:
        """None: most kinds have none."""
        return None

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Files of a client certificate, for the connection."""
        return None

    def describe(self) -> Asked:
        """For words about the answer."""
        return Asked(self.where, client=getattr(self.auth, "client_id", ""), asserted=self.asserts)

    def __call__(self, known: Known) -> Minted:
        """Ask, and by the server's clock once more where that is the trouble."""
        discovered = None
        if self.auth.token_url is None:
            discovered = known.discovered or self._discover()
        url = self.auth.token_url or str((discovered or {})["token_url"])
        scope = self._scope(discovered)
        algorithms = tuple(name for name in (discovered or {}).get("algorithms", ()) if name in ALGORITHMS)
        wanted = Wanted(url, scope, known, known.clock_offset_s, algorithms)
        found, skew = self._ask(wanted)
        if isinstance(found, RunnerError) and self.asserts and found.code in _CLOCK_CODES:
            other = skew if skew is not None and abs(skew - wanted.offset_s) > answers.SKEW_S else 0.0
            if other != wanted.offset_s:
                # Refused again, it is not the clock: the second answer has the reason.
                wanted = replace(wanted, offset_s=other)
                found, _ = self._ask(wanted)
        if isinstance(found, RunnerError):
            raise found
        return self._minted(found, scope, discovered, wanted.offset_s)

    def _ask(self, wanted: Wanted) -> tuple[dict[str, Any] | RunnerError, float | None]:
        """The document of the answer, or what is wrong with it; and how far the server's clock is from ours."""
        headers, form = self.form(wanted)
        body = urlencode(form).encode()
        answer = self.means.post(wanted.url, {"Content-Type": _FORM, **dict(headers)}, body, self.certificate)
        now = self.means.clock()
        skew = answers.skew_of(answer, now)
        try:
            return answers.checked(answer, replace(self.describe(), skew_s=skew), now), skew
        except RunnerError as error:
            return error, skew

    def _minted(self, document: dict[str, Any], scope: str, discovered: dict[str, Any] | None, offset: float) -> Minted:
        token = answers.token_at(document, "access_token", self.where)
        kind = document.get("token_type")
        if isinstance(kind, str) and kind.lower() != "bearer":
            raise Misconfigured(
                "the token server gives tokens of a type other than bearer", code="token_type", where=self.where
            )
        life, notes = answers.life_s(document.get("expires_in"), self.auth.token_life_s)
        granted = _scopes_of(document)
        if scopes.nothing_left(scope, granted):
            raise Misconfigured(
                "the token server granted none of the scopes that were asked: widen the client's registration, or"
                " correct auth.scopes",
                code="scope_refused",
                where=self.where,
            )
        if scopes.missing(scope, granted):
            notes = (*notes, "scope_narrowed")
        if offset:
            notes = (*notes, "clock_skew")
        refresh = document.get("refresh_token")
        refresh = refresh if isinstance(refresh, str) and refresh else None
        return Minted(token, life, scope or None, granted, refresh, notes, discovered, offset)

    def _discover(self) -> dict[str, Any]:
        if self.site.base_url is None:
            raise Misconfigured("say where tokens are had", code="no_token_url", where="auth.token_url")
        return discover(self.means.http, self.site.base_url, self.certificate)

    def _scope(self, discovered: dict[str, Any] | None) -> str:
        known = scopes.versions_of((discovered or {}).get("capabilities", ()))
        return " ".join(scopes.asked(self.auth.scopes, known))


def _scopes_of(document: dict[str, Any]) -> str | None:
    """The granted scopes, also where a server sends them as a list; None where it does not say."""
    found = document.get("scope")
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        found = " ".join(found)
    return found if isinstance(found, str) and found.strip() else None
