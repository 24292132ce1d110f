"""The kinds of authentication that get tokens from a server of OAuth's or one like it: what each sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from connector_runner.auth import answers, scopes
from connector_runner.auth.answers import Asked
from connector_runner.auth.assertions import ALGORITHMS, SigningKey, client_assertion, read_private_key, signed
from connector_runner.auth.certificates import certificate_files
from connector_runner.auth.minting import Means, OAuthMint, Pairs, Site, Wanted
from connector_runner.auth.settings import (
    ClientCredentialsAuth,
    Direction,
    GoogleServiceAccountAuth,
    JsonTokenExchangeAuth,
    MutualTlsAuth,
    RefreshTokenAuth,
    SmartBackendAuth,
)
from connector_runner.auth.tokens import Known, Minted
from connector_runner.kernel.errors import Misconfigured

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE_LASTS_S: Final = 3600


def _basic(client_id: str, secret: str) -> tuple[str, str]:
    """RFC 6749, section 2.3.1: both are form-encoded first."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return "Authorization", "Basic " + base64.b64encode(pair.encode()).decode()


class ClientCredentials(OAuthMint):
    """Client id and secret, as Basic or in the form."""

    auth: ClientCredentialsAuth

    def form(self, wanted: Wanted) -> tuple[Pairs, Pairs]:
        """RFC 6749, section 4.4.2."""
        secret = self.means.reveal(self.auth.client_secret)
        form = [("grant_type", "client_credentials"), *([("scope", wanted.scope)] if wanted.scope else [])]
        form += self.auth.parameters.items()
        if self.auth.method == "basic":
            return [_basic(self.auth.client_id, secret)], form
        return [], [*form, ("client_id", self.auth.client_id), ("client_secret", secret)]

    def material(self) -> str:
        """The client's secret."""
        return self.means.reveal(self.auth.client_secret)


class RefreshToken(OAuthMint):
    """A refresh token, the first or the one that the last answer gave in its place."""

    auth: RefreshTokenAuth

    def form(self, wanted: Wanted) -> tuple[Pairs, Pairs]:
        """RFC 6749, section 6."""
        form = [("grant_type", "refresh_token"), ("refresh_token", wanted.known.refresh_token or "")]
        form += [("scope", wanted.scope)] if wanted.scope else []
        if self.auth.client_secret is None:
            return [], [*form, ("client_id", self.auth.client_id)]
        secret = self.means.reveal(self.auth.client_secret)
        if self.auth.method == "basic":
            return [_basic(self.auth.client_id, secret)], form
        return [], [*form, ("client_id", self.auth.client_id), ("client_secret", secret)]

    def material(self) -> str:
        """The client's secret, and the first refresh token."""
        secret = self.means.reveal(self.auth.client_secret) if self.auth.client_secret else ""
        return f"{secret}|{self.first_refresh_token()}"

    def first_refresh_token(self) -> str:
        """As the settings refer to it."""
        return self.means.reveal(self.auth.refresh_token)

    def describe(self) -> Asked:
        """For words about the answer."""
        return Asked(self.where, client=self.auth.client_id, refreshed=True)


class SmartBackend(OAuthMint):
    """An assertion signed anew for each attempt: servers refuse an id that they have seen."""

    auth: SmartBackendAuth
    asserts = True
    _kid = ""

    def form(self, wanted: Wanted) -> tuple[Pairs, Pairs]:
        """SMART App Launch 2.2, "Obtain access token"."""
        key = self._key(wanted.algorithms)
        self._kid = key.kid
        now = self.means.clock().timestamp() + wanted.offset_s
        made = client_assertion(self.auth.client_id, self.auth.audience or wanted.url, key, now=now, jku=self.auth.jku)
        form = [("grant_type", "client_credentials"), *([("scope", wanted.scope)] if wanted.scope else [])]
        return [], [*form, ("client_assertion_type", _ASSERTION_TYPE), ("client_assertion", made)]

    def _key(self, algorithms: Sequence[str]) -> SigningKey:
        """The key of the settings; else the workspace's, of an algorithm that the server states."""
        if self.auth.private_key is not None:
            text = self.means.reveal(self.auth.private_key)
            return read_private_key(text, kid=self.auth.kid, algorithm=self.auth.algorithm)
        wanted = (self.auth.algorithm,) if self.auth.algorithm else tuple(algorithms) or ALGORITHMS
        return self.means.signing_key(wanted, self.auth.key)

    def material(self) -> str:
        """The key that signs."""
        key = self._key(())
        return f"{key.kid}|{key.pem}"

    def describe(self) -> Asked:
        """For words about the answer."""
        return Asked(self.where, client=self.auth.client_id, kid=self._kid, asserted=True)

    def _scope(self, discovered: dict[str, Any] | None) -> str:
        if self.auth.scopes:
            return super()._scope(discovered)
        known = scopes.versions_of((discovered or {}).get("capabilities", ()))
        return " ".join(scopes.usual(self.site.types, write=self.direction == "write", known=known))


class MutualTls(OAuthMint):
    """The certificate is the client's proof."""

    auth: MutualTlsAuth

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Its files. Raises Misconfigured (``client_certificate``)."""
        return certificate_files(self.means.reveal(self.auth.certificate), self.means.reveal(self.auth.private_key))

    def form(self, wanted: Wanted) -> tuple[Pairs, Pairs]:
        """RFC 8705, section 2."""
        form = [("grant_type", "client_credentials"), ("client_id", self.auth.client_id or "")]
        return [], [*form, *([("scope", wanted.scope)] if wanted.scope else [])]

    def material(self) -> str:
        """Certificate and key."""
        return self.means.reveal(self.auth.certificate) + self.means.reveal(self.auth.private_key)


class GoogleServiceAccount(OAuthMint):
    """A service account's key file, and an assertion that is the grant itself (RFC 7523, section 2.1)."""

    auth: GoogleServiceAccountAuth
    asserts = True
    _email = _kid = ""

    def __call__(self, known: Known) -> Minted:
        """Ask at the address of the settings, else of the key file."""
        if self.auth.token_url is None:
            url = self._file().get("token_uri") or _GOOGLE_TOKEN_URL
            self.auth = self.auth.model_copy(update={"token_url": url})
        return super().__call__(known)

    def form(self, wanted: Wanted) -> tuple[Pairs, Pairs]:
        """Claims as Google documents them for service accounts."""
        file = self._file()
        self._email, self._kid = file["client_email"], file["private_key_id"]
        moment = int(self.means.clock().timestamp() + wanted.offset_s)
        claims = {
            "iss": self._email,
            "scope": wanted.scope,
            "aud": wanted.url,
            "iat": moment,
            "exp": moment + _GOOGLE_LASTS_S,
        }
        if self.auth.subject is not None:
            claims["sub"] = self.auth.subject
        made = signed(claims, SigningKey(self._kid, "RS256", file["private_key"]))
        return [], [("grant_type", _JWT_BEARER), ("assertion", made)]

    def material(self) -> str:
        """The key file."""
        return self.means.reveal(self.auth.credentials)

    def describe(self) -> Asked:
        """For words about the answer."""
        return Asked(self.where, client=self._email, kid=self._kid, asserted=True)

    def _file(self) -> dict[str, str]:
        try:
            file = json.loads(self.means.reveal(self.auth.credentials))
            needed = {name: str(file[name]) for name in ("client_email", "private_key", "private_key_id")}
        except (ValueError, TypeError, KeyError):
            raise Misconfigured(
                "this is not the JSON key file of a service account", code="private_key", where="auth.credentials"
            ) from None
        return needed | ({"token_uri": str(file["token_uri"])} if file.get("token_uri") else {})


class JsonTokenExchange:
    """Client id and secret as JSON."""

    def __init__(self, auth: JsonTokenExchangeAuth, site: Site, direction: Direction, means: Means) -> None:
        self.auth = auth
        self.means = means

    def __call__(self, known: Known) -> Minted:
        """Ask, and take the token from where the settings say."""
        body: dict[str, Any] = json.loads(json.dumps(self.auth.body))
        put(body, self.auth.client_id_field, self.auth.client_id)
        put(body, self.auth.client_secret_field, self.means.reveal(self.auth.client_secret))
        headers = {"Content-Type": "application/json"}
        answer = self.means.post(self.auth.token_url, headers, json.dumps(body).encode(), None)
        asked = Asked("auth", client=self.auth.client_id)
        document = answers.checked(answer, asked, self.means.clock())
        token = answers.token_at(document, self.auth.token_path, "auth.token_path")
        life, notes = answers.life_s(answers.at(document, self.auth.expires_in_path), self.auth.token_life_s)
        return Minted(token, life, notes=notes)

    def material(self) -> str:
        """The client's secret."""
        return self.means.reveal(self.auth.client_secret)

    def first_refresh_token(self) -> str | None:
        """None."""
        return None


def put(document: dict[str, Any], path: str, value: str) -> None:
    """Put ``value`` at a dotted path, making objects on the way."""
    *steps, last = path.split(".")
    for step in steps:
        inner = document.get(step)
        if not isinstance(inner, dict):
            inner = document[step] = {}
        document = inner
    document[last] = value
