"""From settings to a credential that every worker shares the tokens of."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from connector_runner.auth import client_keys, exchange, scopes
from connector_runner.auth.assertions import SigningKey
from connector_runner.auth.certificates import certificate_files
from connector_runner.auth.credentials import Credential, Open, OpenCredential, Reveal, simple
from connector_runner.auth.kinds import (
    ClientCredentials,
    GoogleServiceAccount,
    JsonTokenExchange,
    MutualTls,
    RefreshToken,
    SmartBackend,
)
from connector_runner.auth.minting import Means, OAuthMint, Passage, Site
from connector_runner.auth.settings import (
    Auth,
    BearerTokenExchangeAuth,
    Direction,
    MutualTlsAuth,
    RefreshTokenAuth,
)
from connector_runner.auth.tokens import Held, Mint, Slot, Tokens
from connector_runner.infra.database import Database
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured

_MOST_HELD: Final = 1000
_MINTS: Final[dict[str, type[OAuthMint] | type[JsonTokenExchange]]] = {
    "client_credentials": ClientCredentials,
    "refresh_token": RefreshToken,
    "smart_backend": SmartBackend,
    "google_service_account": GoogleServiceAccount,
    "mutual_tls": MutualTls,
    "json_token_exchange": JsonTokenExchange,
}


class Credentials:
    """Opens credentials of data sources. Cheap to make; share one between threads."""

    def __init__(self, database: Database, http: HTTP, sealer: Sealer, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._http = http
        self._sealer = sealer
        self._clock = clock
        self._tokens = Tokens(database, sealer)

    def opener(self, site: Site, reveal: Reveal, *, passage: Passage | None = None) -> OpenCredential:
        """Opens the credentials of one data source. ``passage`` is given where token requests count.

        It is what each of them goes through.
        """

        def signing_key(algorithms: Sequence[str], kid: str | None) -> SigningKey:
            with self._database.begin(site.workspace_id) as tx:
                return client_keys.signing_key(
                    tx, site.workspace_id, self._sealer, now=self._clock(), algorithms=algorithms, kid=kid
                )

        means = Means(self._http, reveal, signing_key, passage, self._clock)

        def open_credential(auth: Auth, direction: Direction) -> Credential:
            found = simple(auth, reveal)
            return found or Minting(self._tokens, auth, site, direction, means)

        return open_credential


class Minting(Open):
    """A bearer token that is asked for, held for all workers, and renewed before it ends or when it is refused."""

    def __init__(self, tokens: Tokens, auth: Any, site: Site, direction: Direction, means: Means) -> None:
        self._tokens = tokens
        self._auth = auth
        self._site = site
        self._direction = direction
        self._means = means
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._lock = threading.Lock()
        self._used = threading.local()

    @property
    def certificate(self) -> tuple[str, str] | None:
        """That of mutual TLS: a token may be bound to it (RFC 8705, section 3)."""
        if not isinstance(self._auth, MutualTlsAuth):
            return None
        return certificate_files(self._means.reveal(self._auth.certificate), self._means.reveal(self._auth.private_key))

    def apply(self, headers: dict[str, str], params: list[tuple[str, str]]) -> None:
        """Add ``Authorization``; parameters that only the token exchange wants are taken off."""
        slot, mint = self._slot(params)
        with self._lock:
            held = self._held.get(slot.key)
        if held is None or not held.fresh:
            held = self._tokens.current(slot, mint)
            self._remember(slot, held)
        self._used.last = (slot, mint, held)
        headers["Authorization"] = f"Bearer {held.access_token}"

    def renew(self) -> bool:
        """Another token in the place of the one that this thread applied last; False when that was fresh."""
        last: tuple[Slot, Mint, Held] | None = getattr(self._used, "last", None)
        if last is None:
            return False
        slot, mint, held = last
        with self._lock:
            self._held.pop(slot.key, None)
        renewed = self._tokens.renewed(slot, mint, held.serial)
        if renewed is None:
            return False
        self._remember(slot, renewed)
        return True

    def grants(self, resource_type: str, interaction: str) -> bool:
        """By the scopes that the token came with."""
        last: tuple[Slot, Mint, Held] | None = getattr(self._used, "last", None)
        return last is None or last[2].granted.allows(resource_type, interaction)

    def shows_all(self, resource_type: str) -> bool:
        """By the scopes that the token was asked with and came with."""
        last: tuple[Slot, Mint, Held] | None = getattr(self._used, "last", None)
        return last is None or scopes.shows_all(*last[2].scopes, resource_type)

    def _remember(self, slot: Slot, held: Held) -> None:
        with self._lock:
            self._held[slot.key] = held
            self._held.move_to_end(slot.key)
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)

    def _slot(self, params: list[tuple[str, str]]) -> tuple[Slot, Mint]:
        if isinstance(self._auth, BearerTokenExchangeAuth):
            values = exchange.taken(self._auth, params)
            mint: Mint = exchange.Exchange(self._auth, values, self._means)
            return self._named(exchange.identity(values)), mint
        made = _MINTS.get(self._auth.kind)
        if made is None:
            raise Misconfigured("tokens of this kind cannot be had", code="auth_kind", where="auth.kind")
        return self._named(""), made(self._auth, self._site, self._direction, self._means)

    def _named(self, values: str) -> Slot:
        site = self._site
        text = json.dumps([_identity(self._auth, site, self._direction), values])
        key = self._tokens.digest(site.workspace_id, text)
        return Slot(site.workspace_id, key, site.data_source_id, self._direction, self._auth.kind)


def _identity(auth: Any, site: Site, direction: Direction) -> list[object]:
    """What a token is for. A refresh token is good for one use, so all who refer to it share what comes of it."""
    if isinstance(auth, RefreshTokenAuth):
        return [auth.kind, auth.client_id, auth.token_url or site.base_url, auth.refresh_token]
    scoped = [direction, list(site.types)] if not getattr(auth, "scopes", ()) else []
    return [site.data_source_id, site.base_url, auth.model_dump(mode="json"), scoped]
