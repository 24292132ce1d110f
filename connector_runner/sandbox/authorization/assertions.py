"""Checking a client's assertion: SMART App Launch 2.2, "Signature Verification", to the letter."""

from __future__ import annotations

from typing import Any

from jose import jwt
from jose.exceptions import JOSEError

from .clients import Client, KeySets

_LONGEST_S = 300
_LEEWAY_S = 5
_ALGORITHMS = ("RS384", "ES384")


class Refused(Exception):
    """Not a valid assertion; the text says why, as some servers do."""


class Assertions:
    """Checks assertions, and remembers the ids of those that it has seen."""

    def __init__(self) -> None:
        self.keys = KeySets()
        self.seen: set[tuple[str, str]] = set()

    def check(self, assertion: str, client: Client, audience: str, now: float) -> str:
        """The name of the key that signed. Raises Refused and KeysUnreachable."""
        header, claims = _read(assertion)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in _ALGORITHMS or header.get("typ") != "JWT":
            raise Refused("the signing algorithm or type is not accepted")
        if not isinstance(kid, str):
            raise Refused("the header has no kid")
        key = next((key for key in self.keys.of(client) if key.get("kid") == kid), None)
        if key is None:
            raise Refused("no key with that kid")
        if key.get("alg") not in (None, algorithm):
            raise Refused("the key is for another algorithm")
        try:
            jwt.decode(
                assertion,
                key,
                algorithms=[algorithm],
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except JOSEError:
            raise Refused("signature verification failed") from None
        self._claims(claims, client, audience, now)
        return kid

    def _claims(self, claims: dict[str, Any], client: Client, audience: str, now: float) -> None:
        if claims.get("iss") != client.client_id or claims.get("sub") != client.client_id:
            raise Refused("iss and sub must be the client")
        if claims.get("aud") != audience:
            raise Refused("aud is not this token endpoint")
        expires = claims.get("exp")
        if not isinstance(expires, int):
            raise Refused("exp must be a whole number")
        if expires <= now - _LEEWAY_S:
            raise Refused("the assertion has expired (exp)")
        if expires > now + _LONGEST_S + _LEEWAY_S:
            raise Refused("exp is more than five minutes in the future")
        identity = claims.get("jti")
        if not isinstance(identity, str) or not identity:
            raise Refused("there is no jti")
        if (client.client_id, identity) in self.seen:
            raise Refused("the jti was used before")
        self.seen.add((client.client_id, identity))


def named_client(assertion: str) -> str:
    """Who an assertion says it is from, unchecked."""
    try:
        return str(_read(assertion)[1].get("iss"))
    except Refused:
        return ""


def _read(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return jwt.get_unverified_header(assertion), jwt.get_unverified_claims(assertion)
    except JOSEError:
        raise Refused("not a JWT") from None
