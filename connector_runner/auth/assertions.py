"""Signed assertions (RFC 7523), and the private keys that sign them."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk, jwt
from jose.exceptions import JOSEError

from connector_runner.kernel.errors import Misconfigured

ALGORITHMS: Final = ("RS384", "ES384")
_LEAST_BITS: Final = 2048
_P384_BYTES: Final = 48
_LASTS_S: Final = 240
"""SMART App Launch allows 300; the rest is for clocks that differ."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its name. ``pem`` is PKCS#8."""

    kid: str
    algorithm: str
    pem: str = field(repr=False)


def client_assertion(client_id: str, audience: str, key: SigningKey, *, now: float, jku: str | None = None) -> str:
    """An assertion that this client asks, with an id never used before; ``now`` in seconds since the epoch.

    SMART App Launch 2.2, "Backend Services": ``iss`` and ``sub`` are the client, ``exp`` at most five minutes on.
    """
    moment = int(now)
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": moment,
        "exp": moment + _LASTS_S,
        "jti": uuid.uuid4().hex,
    }
    return signed(claims, key, {"jku": jku} if jku else {})


def signed(claims: Mapping[str, Any], key: SigningKey, headers: Mapping[str, str] | None = None) -> str:
    """Claims as a compact JWS. Raises Misconfigured (``private_key``) when the key cannot sign."""
    try:
        named = {"kid": key.kid, **(headers or {})}
        return str(jwt.encode(dict(claims), key.pem, algorithm=key.algorithm, headers=named))
    except JOSEError:
        raise _unusable("the private key cannot sign with this algorithm") from None


def new_private_key(algorithm: str) -> str:
    """A new key as PKCS#8 PEM: RSA of 3072 bits, or P-384."""
    key = ec.generate_private_key(ec.SECP384R1()) if algorithm == "ES384" else rsa.generate_private_key(65537, 3072)
    return _as_pem(key)


def read_private_key(text: str, *, kid: str | None = None, algorithm: str | None = None) -> SigningKey:
    """A private key given as PEM, as JWK, or as a JWK set with one private key.

    ``kid`` and ``algorithm`` may be in a JWK; one that is neither there nor given is derived. Raises Misconfigured
    (``private_key``) without a word of the content.
    """
    stated_kid: str | None = None
    if text.lstrip().startswith("{"):
        text, stated_kid = _from_jwk(text)
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        raise _unusable("the private key must be PEM without a password, or a JWK") from None
    fitting = _algorithm(key)
    if algorithm not in (None, fitting):
        raise _unusable(f"the private key signs with {fitting}, not with {algorithm}")
    pem = _as_pem(key)
    return SigningKey(kid or stated_kid or thumbprint(public_jwk(pem, "")), fitting, pem)


def public_jwk(pem: str, kid: str) -> dict[str, Any]:
    """The public half as a JWK (RFC 7517): nothing of the private one is in it."""
    public = serialization.load_pem_private_key(pem.encode(), None).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        named = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e), "alg": "RS384"}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        named = {"kty": "EC", "crv": "P-384", "x": _number(point.x, _P384_BYTES), "y": _number(point.y, _P384_BYTES)}
        named["alg"] = "ES384"
    else:
        raise _unusable("the key is neither RSA nor P-384")
    return {**named, "kid": kid, "use": "sig", "key_ops": ["verify"]}


def thumbprint(public: Mapping[str, Any]) -> str:
    """RFC 7638: a name that follows from the key."""
    names = ("e", "kty", "n") if public["kty"] == "RSA" else ("crv", "kty", "x", "y")
    text = json.dumps({name: public[name] for name in names}, separators=(",", ":"), sort_keys=True)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(text.encode())
    return base64.urlsafe_b64encode(digest.finalize()).rstrip(b"=").decode()


def _from_jwk(text: str) -> tuple[str, str | None]:
    try:
        document = json.loads(text)
        keys = document["keys"] if isinstance(document.get("keys"), list) else [document]
        private = [each for each in keys if isinstance(each, dict) and "d" in each]
        if len(private) != 1:
            raise _unusable("the JWK set must hold exactly one private key")
        fitting = "ES384" if private[0].get("kty") == "EC" else "RS384"
        pem = jwk.construct(private[0], fitting).to_pem()
    except (JOSEError, ValueError, TypeError, KeyError, AttributeError):
        raise _unusable("the JWK cannot be read") from None
    name = private[0].get("kid")
    return pem.decode(), name if isinstance(name, str) and name else None


def _algorithm(key: object) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _LEAST_BITS:
            raise _unusable(f"an RSA key needs {_LEAST_BITS} bits at least")
        return "RS384"
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1):
        return "ES384"
    raise _unusable("the key is neither RSA (RS384) nor P-384 (ES384)")


def _as_pem(key: Any) -> str:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem: bytes = key.private_bytes(*form)
    return pem.decode()


def _number(value: int, size: int | None = None) -> str:
    raw = value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unusable(message: str) -> Misconfigured:
    return Misconfigured(message, code="private_key", where="auth.private_key")
