"""Assertions as SMART App Launch 2.2 has them, and the keys that sign them."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk, jwt

from connector_runner.auth.assertions import (
    client_assertion,
    new_private_key,
    public_jwk,
    read_private_key,
    signed,
    thumbprint,
)
from connector_runner.kernel.errors import Misconfigured

RSA_PEM = new_private_key("RS384")
EC_PEM = new_private_key("ES384")


@pytest.mark.parametrize(("pem", "algorithm"), [(RSA_PEM, "RS384"), (EC_PEM, "ES384")])
def test_an_assertion_is_verified_by_the_published_half(pem: str, algorithm: str) -> None:
    key = read_private_key(pem, kid="k1")
    made = [client_assertion("runner", "https://x/token", key, now=1_000_000.7, jku="https://x/jwks") for _ in range(2)]
    header, claims = jwt.get_unverified_header(made[0]), jwt.get_unverified_claims(made[0])
    assert header == {"alg": algorithm, "typ": "JWT", "kid": "k1", "jku": "https://x/jwks"}
    assert claims["iss"] == claims["sub"] == "runner"
    assert claims["exp"] == 1_000_240
    assert isinstance(claims["exp"], int)
    assert claims["jti"] != jwt.get_unverified_claims(made[1])["jti"]
    public = public_jwk(pem, "k1")
    assert not {"d", "p", "q", "dp", "dq", "qi"} & public.keys()
    verified = {"verify_exp": False}
    assert jwt.decode(made[0], public, algorithms=[algorithm], audience="https://x/token", options=verified) == claims


@pytest.mark.parametrize(("pem", "algorithm"), [(RSA_PEM, "RS384"), (EC_PEM, "ES384")])
def test_a_key_is_read_in_each_form(pem: str, algorithm: str) -> None:
    private = jwk.construct(pem, algorithm).to_dict()
    private = {name: value.decode() if isinstance(value, bytes) else value for name, value in private.items()}
    public = {name: value for name, value in public_jwk(pem, "k9").items() if name != "key_ops"}
    assert read_private_key(pem).kid == thumbprint(public)
    given = read_private_key(json.dumps({**private, "kid": "k9"}))
    assert (given.kid, given.algorithm) == ("k9", algorithm)
    in_set = read_private_key(json.dumps({"keys": [public, {**private, "kid": "k9"}]}), kid="mine")
    assert in_set.kid == "mine"
    assert public_jwk(in_set.pem, "") == public_jwk(pem, "")


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock).decode()


@pytest.mark.parametrize(
    "text",
    [
        "CANARY", "", "{", '{"kty": "RSA"}', '{"keys": []}', '{"keys": [5]}', '{"kty":"EC","crv":"P-384","d":"CANARY"}',
        _pem(ec.generate_private_key(ec.SECP256R1())),
        _pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - to be refused
        _pem(ec.generate_private_key(ec.SECP384R1()), b"locked"),
    ],
)  # fmt: skip
def test_what_is_no_usable_key_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_private_key(text)
    assert caught.value.code == "private_key"
    assert "CANARY" not in str(caught.value)


def test_the_algorithm_of_the_settings_must_be_the_keys() -> None:
    with pytest.raises(Misconfigured, match="RS384, not with ES384"):
        read_private_key(RSA_PEM, algorithm="ES384")


def test_a_key_never_shows_in_what_is_printed_of_it() -> None:
    key = read_private_key(EC_PEM)
    assert "PRIVATE" not in repr(key)
    assert signed({}, key).count(".") == 2
