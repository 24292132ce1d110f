"""Typed settings of how requests to an external system are authenticated: one kind each, told apart by ``kind``.

Every secret is a reference (``env:NAME``, ``file:/path``, ``secret:name``); no field takes its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

_REFERENCE = re.compile(r"(env|file|secret):\S+")
_HEADER: Final = r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}$"
_FIELD_PATH: Final = r"^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*$"
_FORMAT: Final = r"^[^{}\r\n]*\{secret\}[^{}\r\n]*$"

Direction = Literal["read", "write"]
"""Reading and writing may have credentials of their own."""


def _secret_reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise ValueError("must be a reference to a secret (env:NAME, file:/path or secret:name), never its value")
    return text


SecretReference = Annotated[str, AfterValidator(_secret_reference)]


def _endpoint(text: str) -> str:
    """An address that secrets are posted to."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be an absolute http or https URL")
    if parts.username is not None or parts.fragment:
        raise ValueError("must hold neither credentials nor a fragment")
    return text


Endpoint = Annotated[str, Field(max_length=2048), AfterValidator(_endpoint)]


class Strict(BaseModel):
    """A part of settings: an unknown key is an error, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoAuth(Strict):
    """Requests go out as they are."""

    kind: Literal["none"] = "none"


class BearerAuth(Strict):
    """A token that somebody else renews, sent as ``Authorization: Bearer``."""

    kind: Literal["bearer"]
    token: SecretReference


class ApiKeyAuth(Strict):
    """A key in a header or in a query parameter; ``format`` is what the header holds around it."""

    kind: Literal["api_key"]
    key: SecretReference
    header: str | None = Field(None, pattern=_HEADER)
    query: str | None = Field(None, pattern=r"^[A-Za-z0-9_.~-]{1,128}$")
    format: str = Field("{secret}", pattern=_FORMAT, max_length=128)

    @model_validator(mode="after")
    def _one_place(self) -> ApiKeyAuth:
        if (self.header is None) == (self.query is None):
            raise ValueError("say either the header or the query parameter that the key goes into")
        if self.query is not None and self.format != "{secret}":
            raise ValueError("format is for a header")
        return self


class _Minted(Strict):
    """Tokens that are asked for. ``token_life_s`` holds where the server does not say how long a token lives."""

    token_life_s: float | None = Field(None, ge=10, le=86400, allow_inf_nan=False)


class _Scoped(_Minted):
    """Without ``token_url`` the FHIR server's own statement of it is looked up."""

    token_url: Endpoint | None = None
    scopes: tuple[str, ...] = ()

    @field_validator("scopes", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("scopes")
    @classmethod
    def _plain(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # RFC 6749, section 3.3.
        if not all(re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) for scope in value):
            raise ValueError("a scope has neither spaces nor quotes nor backslashes")
        return value


class ClientCredentialsAuth(_Scoped):
    """OAuth 2.0 client credentials (RFC 6749, section 4.4); ``parameters`` are sent beside the usual ones."""

    kind: Literal["client_credentials"]
    client_id: str = Field(min_length=1, max_length=512)
    client_secret: SecretReference
    method: Literal["basic", "post"] = "basic"
    parameters: dict[str, str] = Field(default_factory=dict)


class RefreshTokenAuth(_Scoped):
    """OAuth 2.0 refresh (RFC 6749, section 6) of a grant that a person gave once.

    ``refresh_token`` refers to the first token; those that the server gives in its place are kept encrypted.
    """

    kind: Literal["refresh_token"]
    client_id: str = Field(min_length=1, max_length=512)
    client_secret: SecretReference | None = None
    refresh_token: SecretReference
    method: Literal["basic", "post"] = "basic"


class SmartBackendAuth(_Scoped):
    """SMART Backend Services (SMART App Launch 2.2): an assertion signed with a key of ours.

    The key is one that ``key create`` or ``key import`` put into the workspace, the newest of ``algorithm`` or the
    one named by ``key``; or a PEM or JWK that ``private_key`` refers to, with its ``kid``. ``jku`` is the registered
    address of our public keys, for servers that want it stated. Without ``scopes`` those of the polled types are asked.
    """

    kind: Literal["smart_backend"]
    client_id: str = Field(min_length=1, max_length=512)
    algorithm: Literal["RS384", "ES384"] | None = None
    key: str | None = Field(None, min_length=1, max_length=128)
    private_key: SecretReference | None = None
    kid: str | None = Field(None, min_length=1, max_length=128)
    jku: Endpoint | None = None
    audience: str | None = Field(None, min_length=1, max_length=2048)

    @model_validator(mode="after")
    def _one_key(self) -> SmartBackendAuth:
        if self.private_key is not None and self.key is not None:
            raise ValueError("key names one of the workspace's keys, private_key refers to another; say one of them")
        if self.private_key is None and self.kid is not None:
            raise ValueError("kid belongs to private_key; a key of the workspace has its own")
        return self


class GoogleServiceAccountAuth(_Minted):
    """A Google service account (RFC 7523 with RS256); ``credentials`` refers to its JSON key file."""

    kind: Literal["google_service_account"]
    credentials: SecretReference
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/cloud-healthcare",)
    subject: str | None = Field(None, min_length=1, max_length=512)
    token_url: Endpoint | None = None


class MutualTlsAuth(_Scoped):
    """A client certificate on every connection; with ``client_id`` it also gets tokens (RFC 8705, section 2)."""

    kind: Literal["mutual_tls"]
    certificate: SecretReference
    private_key: SecretReference
    client_id: str | None = Field(None, min_length=1, max_length=512)

    @model_validator(mode="after")
    def _whole(self) -> MutualTlsAuth:
        if self.client_id is None and (self.scopes or self.token_url is not None):
            raise ValueError("scopes and token_url need a client_id")
        return self


class JsonTokenExchangeAuth(_Minted):
    """Client id and secret as JSON for a token in a JSON answer; the ``*_path`` are dotted."""

    kind: Literal["json_token_exchange"]
    token_url: Endpoint
    client_id: str = Field(min_length=1, max_length=512)
    client_secret: SecretReference
    client_id_field: str = Field("client_id", pattern=_FIELD_PATH, max_length=256)
    client_secret_field: str = Field("client_secret", pattern=_FIELD_PATH, max_length=256)
    body: dict[str, Any] = Field(default_factory=dict)
    token_path: str = Field("access_token", pattern=_FIELD_PATH, max_length=512)
    expires_in_path: str = Field("expires_in", pattern=_FIELD_PATH, max_length=512)


class ExchangeHeader(Strict):
    """One parameter of a request that feeds one header of the exchange call; ``consume`` takes it off the request."""

    header_name: str = Field(pattern=_HEADER)
    param_name: str = Field(min_length=1, max_length=256)
    required: bool = True
    consume: bool = True


class BearerTokenExchangeAuth(Strict):
    """A workspace secret and parameters of each request for a short-lived token, one for each set of parameters."""

    kind: Literal["bearer_token_exchange"]
    exchange_url: Endpoint
    exchange_secret: SecretReference
    exchange_secret_header: str = Field("X-API-KEY", pattern=_HEADER)
    exchange_secret_format: str = Field("{secret}", pattern=_FORMAT, min_length=8, max_length=128)
    exchange_token_field: str = Field("token", pattern=_FIELD_PATH, max_length=256)
    exchange_expires_in_field: str | None = Field(None, pattern=_FIELD_PATH, max_length=256)
    exchange_default_ttl_seconds: int = Field(3600, ge=120, le=31 * 86400)
    exchange_param_headers: tuple[ExchangeHeader, ...] = Field((), max_length=20)

    @model_validator(mode="after")
    def _each_once(self) -> BearerTokenExchangeAuth:
        names = [self.exchange_secret_header, *(each.header_name for each in self.exchange_param_headers)]
        if len({name.lower() for name in names}) != len(names):
            raise ValueError("exchange_param_headers: a header is fed once, and never the one of the secret")
        return self


_KINDS = (
    NoAuth | BearerAuth | ApiKeyAuth | ClientCredentialsAuth | RefreshTokenAuth | SmartBackendAuth
    | GoogleServiceAccountAuth | MutualTlsAuth | JsonTokenExchangeAuth | BearerTokenExchangeAuth
)  # fmt: skip
KINDS: Final[tuple[str, ...]] = tuple(get_args(each.model_fields["kind"].annotation)[0] for each in get_args(_KINDS))


def _kind(value: Any) -> str | None:
    kind = value.get("kind", "none") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if kind in KINDS else None


Auth = Annotated[
    Annotated[NoAuth, Tag("none")]
    | Annotated[BearerAuth, Tag("bearer")]
    | Annotated[ApiKeyAuth, Tag("api_key")]
    | Annotated[ClientCredentialsAuth, Tag("client_credentials")]
    | Annotated[RefreshTokenAuth, Tag("refresh_token")]
    | Annotated[SmartBackendAuth, Tag("smart_backend")]
    | Annotated[GoogleServiceAccountAuth, Tag("google_service_account")]
    | Annotated[MutualTlsAuth, Tag("mutual_tls")]
    | Annotated[JsonTokenExchangeAuth, Tag("json_token_exchange")]
    | Annotated[BearerTokenExchangeAuth, Tag("bearer_token_exchange")],
    Discriminator(_kind, custom_error_type="auth_kind", custom_error_message=f"kind must be one of {', '.join(KINDS)}"),
]
"""Any kind of authentication."""
