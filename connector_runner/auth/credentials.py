"""What a request is given so that the other side takes it: the protocol, and the kinds that need no token server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from connector_runner.auth.certificates import certificate_files
from connector_runner.auth.settings import ApiKeyAuth, Auth, BearerAuth, Direction, MutualTlsAuth, NoAuth
from connector_runner.kernel.errors import Misconfigured

Reveal = Callable[[str], str]
"""From a secret reference to its value; raises Misconfigured naming the reference."""


class Credential(Protocol):
    """The credential of one data source in one direction. Share one between threads."""

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Files of a client certificate and its key, for the connection; None without. Raises Misconfigured."""

    @property
    def secret_parameters(self) -> frozenset[str]:
        """Query parameters that hold a secret once ``apply`` has run: nothing with them is kept or logged."""

    def apply(self, headers: dict[str, str], params: list[tuple[str, str]]) -> None:
        """Add what authenticates a request to its headers or parameters.

        Raises Misconfigured when it cannot be had until somebody changes something, Unavailable and RateLimited
        when it cannot be had now.
        """

    def renew(self) -> bool:
        """The other side refused what this thread applied last: get another, once.

        False when there is no other to get. Raises as ``apply`` does.
        """

    def grants(self, resource_type: str, interaction: str) -> bool:
        """Whether the access was granted, as far as is known: ``interaction`` is one letter of ``cruds``."""

    def shows_all(self, resource_type: str) -> bool:
        """Whether all records of a type that were asked for may be read: else one that is not shown may be there."""


OpenCredential = Callable[[Auth, Direction], Credential]
"""From settings and direction to the credential. Raises Misconfigured."""


class Open:
    """No credential: requests go out as they are."""

    @property
    def certificate(self) -> tuple[str, str] | None:
        """None."""
        return None

    @property
    def secret_parameters(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def apply(self, headers: dict[str, str], params: list[tuple[str, str]]) -> None:
        """Nothing is added."""

    def renew(self) -> bool:
        """There is no other."""
        return False

    def grants(self, resource_type: str, interaction: str) -> bool:
        """Nothing is known of what is not."""
        return True

    def shows_all(self, resource_type: str) -> bool:
        """Nothing is known of what is not."""
        return True


class Static(Open):
    """A secret that somebody else renews: read anew when it is refused, for it may have been exchanged meanwhile."""

    def __init__(self, reference: str, reveal: Reveal) -> None:
        self._reference = reference
        self._reveal = reveal
        self._used = threading.local()

    def secret(self) -> str:
        """The value as it is now."""
        value: str = self._reveal(self._reference)
        self._used.value = value
        return value

    def renew(self) -> bool:
        """Whether the reference has another value by now."""
        return getattr(self._used, "value", None) not in (None, self._reveal(self._reference))


class Bearer(Static):
    """``Authorization: Bearer`` (RFC 6750, section 2.1)."""

    def apply(self, headers: dict[str, str], params: list[tuple[str, str]]) -> None:
        """Add the header."""
        headers["Authorization"] = f"Bearer {self.secret()}"


class ApiKey(Static):
    """A key in a header or a query parameter."""

    def __init__(self, auth: ApiKeyAuth, reveal: Reveal) -> None:
        super().__init__(auth.key, reveal)
        self._auth = auth

    @property
    def secret_parameters(self) -> frozenset[str]:
        """The parameter that the key goes into."""
        return frozenset(() if self._auth.query is None else (self._auth.query,))

    def apply(self, headers: dict[str, str], params: list[tuple[str, str]]) -> None:
        """Add the header, or the parameter in place of one of that name."""
        if self._auth.header is not None:
            headers[self._auth.header] = filled(self._auth.format, self.secret())
        elif self._auth.query is not None:
            params[:] = [(name, value) for name, value in params if name != self._auth.query]
            params.append((self._auth.query, self.secret()))


class MutualTls(Open):
    """A client certificate, and nothing in the request itself."""

    def __init__(self, auth: MutualTlsAuth, reveal: Reveal) -> None:
        self._auth = auth
        self._reveal = reveal

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Its files. Raises Misconfigured (``client_certificate``)."""
        return certificate_files(self._reveal(self._auth.certificate), self._reveal(self._auth.private_key))


_ONE_PLACE: Final = "{secret}"


def filled(template: str, secret: str) -> str:
    """``template`` with its one ``{secret}`` replaced; what the secret holds is never read as a template."""
    before, _, after = template.partition(_ONE_PLACE)
    return before + secret + after


def simple(auth: Auth, reveal: Reveal) -> Credential | None:
    """The credential of a kind that asks no server for tokens; None for the others."""
    if isinstance(auth, NoAuth):
        return Open()
    if isinstance(auth, BearerAuth):
        return Bearer(auth.token, reveal)
    if isinstance(auth, ApiKeyAuth):
        return ApiKey(auth, reveal)
    if isinstance(auth, MutualTlsAuth) and auth.client_id is None:
        return MutualTls(auth, reveal)
    return None


def without_tokens(reveal: Reveal) -> OpenCredential:
    """Opens the kinds that ask no server for tokens; Misconfigured (``no_token_store``) for the others."""

    def open_credential(auth: Auth, direction: Direction) -> Credential:
        found = simple(auth, reveal)
        if found is None:
            raise Misconfigured("tokens of this kind cannot be had here", code="no_token_store", where=auth.kind)
        return found

    return open_credential
