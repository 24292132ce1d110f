"""Signatures of deliveries: known answers, windows both ways, several secrets, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

from connector_runner.auth.signatures import (
    Code,
    Delivery,
    Name,
    Refused,
    Verified,
    hubspot_uri,
    scheme,
    standard_key,
)
from connector_runner.settings import PROJECT_ROOT

SHARED = PROJECT_ROOT.parent / "shared" / "data" / "webhooks"
NOW = 1_700_000_000.0
BODY = '{"a": "grüße",\n "b": 1.00} \n'.encode()
STANDARD = "whsec_" + base64.b64encode(b"k" * 32).decode()
URL = "https://hooks.example.com/hooks/clinic/crm?x=%3A1"


def _hex(secret: str, content: bytes, digest: str = "sha256") -> str:
    return hmac.new(secret.encode(), content, digest).hexdigest()


def _b64(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, "sha256").digest()).decode()


def signed(name: Name, secret: str, *, at: float = NOW, body: bytes = BODY) -> Delivery:
    """A delivery signed by this test's own reading of each scheme."""
    t = str(int(at)).encode()
    match name:
        case "x_hub_signature":
            headers = {"x-hub-signature": "sha256=" + _hex(secret, body)}
        case "x_hub_signature_256":
            headers = {"x-hub-signature-256": "sha256=" + _hex(secret, body)}
        case "shopify":
            headers = {"x-shopify-hmac-sha256": _b64(secret.encode(), body)}
        case "stripe":
            headers = {"stripe-signature": f"t={int(at)},v1={'0' * 64},v1={_hex(secret, t + b'.' + body)},v0=x"}
        case "standard_webhooks":
            made = _b64(base64.b64decode(secret.removeprefix("whsec_")), b"msg_1." + t + b"." + body)
            headers = {"webhook-id": "msg_1", "webhook-timestamp": t.decode(), "webhook-signature": f"v1a,x v1,{made}"}
        case "slack":
            headers = {
                "x-slack-request-timestamp": t.decode(),
                "x-slack-signature": "v0=" + _hex(secret, b"v0:" + t + b":" + body),
            }
        case "hubspot_v3":
            ms = str(int(at * 1000))
            made = _b64(secret.encode(), b"POST" + URL.replace("%3A", ":").encode() + body + ms.encode())
            headers = {"x-hubspot-request-timestamp": ms, "x-hubspot-signature-v3": made}
        case "static_header":
            headers = {"authorization": f"Bearer {secret}"}
        case "basic":
            headers = {"authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
    return Delivery("POST", URL, headers, body)


TIMED: list[Name] = ["stripe", "standard_webhooks", "slack", "hubspot_v3"]
OVER_BODY: list[Name] = ["x_hub_signature", "x_hub_signature_256", "shopify", *TIMED]
ALL: list[Name] = [*OVER_BODY, "static_header", "basic"]
HEADER = {
    "x_hub_signature": "x-hub-signature", "x_hub_signature_256": "x-hub-signature-256",
    "shopify": "x-shopify-hmac-sha256", "stripe": "stripe-signature", "standard_webhooks": "webhook-signature",
    "slack": "x-slack-signature", "hubspot_v3": "x-hubspot-signature-v3", "static_header": "authorization",
    "basic": "authorization",
}  # fmt: skip


def secret_of(name: Name, n: int = 0) -> str:
    if name == "standard_webhooks":
        return "whsec_" + base64.b64encode(bytes([n]) * 32).decode()
    return f"user:secret{n}" if name == "basic" else f"secret{n}"


@pytest.mark.parametrize("name", ALL)
def test_each_scheme_takes_what_was_signed_with_any_active_secret(name: Name) -> None:
    delivery = signed(name, secret_of(name, 1))
    for secrets in ([secret_of(name, 1)], [secret_of(name, 0), secret_of(name, 1)]):
        found = scheme(name).verify(delivery, secrets, now_s=NOW)
        assert isinstance(found, Verified)
        assert found.timed == (name in TIMED)
    assert scheme(name).verify(delivery, [secret_of(name, 0)], now_s=NOW) == Refused("signature_wrong")
    assert scheme(name).verify(delivery, [], now_s=NOW) == Refused("signature_wrong")


@pytest.mark.parametrize("name", ALL)
def test_a_missing_header_is_refused(name: Name) -> None:
    delivery = signed(name, secret_of(name))
    without = replace(delivery, headers={k: v for k, v in delivery.headers.items() if k != HEADER[name]})
    assert scheme(name).verify(without, [secret_of(name)], now_s=NOW) == Refused("signature_missing")


@pytest.mark.parametrize("name", OVER_BODY)
def test_one_byte_of_the_body_changes_everything(name: Name) -> None:
    delivery = signed(name, secret_of(name))
    for body in (BODY.rstrip(), BODY + b" ", BODY.replace(b"1.00", b"1.0"), b""):
        changed = replace(delivery, body=body)
        assert scheme(name).verify(changed, [secret_of(name)], now_s=NOW) == Refused("signature_wrong")


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("off_s", [-301, -299, 299, 301])
def test_the_window_holds_both_ways(name: Name, off_s: int) -> None:
    delivery = signed(name, secret_of(name), at=NOW + off_s)
    found = scheme(name).verify(delivery, [secret_of(name)], now_s=NOW)
    assert isinstance(found, Verified) == (abs(off_s) <= 300)
    if abs(off_s) > 300:
        assert found == Refused("timestamp_outside_window")


@pytest.mark.parametrize("name", TIMED)
def test_the_time_is_signed_too(name: Name) -> None:
    """An old delivery under a new time is no delivery of theirs."""
    old, new = signed(name, secret_of(name), at=NOW - 4000), signed(name, secret_of(name), at=NOW)
    if name == "stripe":
        made = old.headers["stripe-signature"].replace(f"t={int(NOW - 4000)}", f"t={int(NOW)}")
        forged = replace(old, headers={"stripe-signature": made})
    else:
        forged = replace(old, headers={**new.headers, HEADER[name]: old.headers[HEADER[name]]})
    assert scheme(name).verify(forged, [secret_of(name)], now_s=NOW) == Refused("signature_wrong")


MALFORMED: list[tuple[Name, dict[str, str], Code]] = [
    ("x_hub_signature", {"x-hub-signature": "abc"}, "signature_malformed"),
    ("x_hub_signature", {"x-hub-signature": "sha1=" + _hex("secret0", BODY, "sha1")}, "signature_malformed"),
    ("x_hub_signature", {"x-hub-signature": "md5=00"}, "signature_malformed"),
    ("x_hub_signature", {"x-hub-signature": "sha256=\udcff"}, "signature_wrong"),
    ("stripe", {"stripe-signature": "v1=00"}, "timestamp_missing"),
    ("stripe", {"stripe-signature": "t=,v1=00"}, "signature_malformed"),
    ("stripe", {"stripe-signature": "t=1,t=2,v1=00"}, "signature_malformed"),
    ("stripe", {"stripe-signature": f"t={int(NOW)}" + ",v1=00" * 17}, "signature_malformed"),
    ("slack", {"x-slack-signature": "v0=00"}, "timestamp_missing"),
    ("slack", {"x-slack-signature": "v0=00", "x-slack-request-timestamp": "1e9"}, "signature_malformed"),
    ("slack", {"x-slack-signature": "v0=00", "x-slack-request-timestamp": "9" * 400}, "signature_malformed"),
    ("standard_webhooks", {"webhook-signature": "v1,x", "webhook-timestamp": "1"}, "signature_malformed"),
    ("static_header", {"authorization": "secret0"}, "signature_malformed"),
    ("static_header", {"authorization": "Bearer "}, "signature_malformed"),
    ("static_header", {"authorization": "Bearer secret"}, "signature_wrong"),
    ("static_header", {"authorization": "Bearer secret00"}, "signature_wrong"),
    ("basic", {"authorization": "Basic !!!"}, "signature_malformed"),
    ("basic", {"authorization": "Bearer dXNlcjpzZWNyZXQw"}, "signature_malformed"),
]


@pytest.mark.parametrize(("name", "headers", "code"), MALFORMED)
def test_what_is_malformed_is_refused(name: Name, headers: dict[str, str], code: Code) -> None:
    delivery = Delivery("POST", URL, headers, BODY)
    assert scheme(name).verify(delivery, [secret_of(name)], now_s=NOW) == Refused(code)


def test_the_name_of_an_authentication_scheme_ignores_case() -> None:
    delivery = Delivery("POST", URL, {"authorization": "bearer s3"}, b"")
    assert scheme("static_header").verify(delivery, ["s3"], now_s=NOW) == Verified()


def test_headers_may_be_called_otherwise() -> None:
    delivery = Delivery("POST", URL, {"x-hook": "s3"}, b"")
    assert scheme("static_header", header="X-Hook", prefix="").verify(delivery, ["s3"], now_s=NOW) == Verified()
    svix = signed("standard_webhooks", STANDARD)
    renamed = replace(svix, headers={k.replace("webhook", "svix"): v for k, v in svix.headers.items()})
    found = scheme("standard_webhooks", header="svix").verify(renamed, [STANDARD], now_s=NOW)
    assert found == Verified("msg_1", str(int(NOW)))


def test_standard_webhooks_known_answer() -> None:
    """The vector of the specification's reference libraries."""
    delivery = Delivery(
        "POST",
        URL,
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
    )
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert scheme("standard_webhooks").verify(delivery, [secret], now_s=1614265330) == Verified(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
    )


@pytest.mark.parametrize("secret", ["whsec_abc", "not base64", "", "whsec_" + base64.b64encode(b"x" * 65).decode()])
def test_a_standard_secret_must_be_one(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        standard_key(secret)


def test_hubspot_decodes_some_escapes_and_no_others() -> None:
    assert hubspot_uri("https://a/b?c=%3a%2F%20%26%3D") == "https://a/b?c=:/%20%26%3D"


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize("path", sorted(SHARED.glob("athena-*-with-signature.json")), ids=lambda p: Path(p).stem)
def test_athenahealth_signed_bundles(path: Path) -> None:
    """Recorded with their secret; the signature covers the trailing blank and line break."""
    sample = json.loads(path.read_text())
    headers = {name.lower(): value for name, value in sample["headers"].items()}
    delivery = Delivery("POST", URL, headers, sample["body_raw"].encode())
    secrets = ["another", sample["secret_in_vendor_docs_screenshot"]]
    assert scheme("x_hub_signature").verify(delivery, secrets, now_s=NOW) == Verified()
    stripped = replace(delivery, body=delivery.body.rstrip())
    assert scheme("x_hub_signature").verify(stripped, secrets, now_s=NOW) == Refused("signature_wrong")


def test_sha1_is_no_way_in() -> None:
    headers = {"x-hub-signature": "sha1=" + hmac.new(b"s", BODY, hashlib.sha1).hexdigest()}
    found = scheme("x_hub_signature").verify(Delivery("POST", URL, headers, BODY), ["s"], now_s=NOW)
    assert found == Refused("signature_malformed")
