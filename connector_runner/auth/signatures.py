"""Whether a delivery to us was made by who shares a secret with us. Pure; schemes are values.

Verified are the raw bytes as they came, before anybody parses them. Several secrets may be active at once, so that
one can be changed while both sides still use the other. A missing header is a refusal, never a reason to skip; what
is compared is compared in constant time. Where a scheme signs the time of sending, it must be near ours, both ways.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

TOLERANCE_S: Final = 300.0
_MOST_SIGNATURES: Final = 16
_STAMP = re.compile(r"\d{1,16}")
_HUB_DIGESTS: Final = ("sha256", "sha384", "sha512")
_STANDARD_PREFIX: Final = "whsec_"
# What HubSpot decodes in the URI before it signs it.
_HUBSPOT_DECODED: Final = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
    "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
_HUBSPOT_ESCAPE = re.compile("|".join(_HUBSPOT_DECODED), re.IGNORECASE)

Code = Literal[
    "signature_missing", "signature_malformed", "signature_wrong", "timestamp_missing", "timestamp_outside_window"
]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request as it came. ``url`` is the one that the sender called; header names are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """Who signed knows a secret of ours. ``delivery_id`` is the sender's name for the delivery, where it is signed.

    ``stamp`` is the time of sending where that is signed, so that an old delivery cannot be played again.
    """

    delivery_id: str | None = None
    stamp: str = ""

    @property
    def timed(self) -> bool:
        """Whether the time of sending is signed."""
        return self.stamp != ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The delivery is not believed. ``code`` is ours; nothing of the request is in it."""

    code: Code


class Scheme(Protocol):
    """A way to sign deliveries."""

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """Whether one of ``secrets`` made this delivery; ``now_s`` is our clock, seconds since 1970."""


def matches(given: str | bytes, made: str | bytes) -> bool:
    """Whether two texts are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(_bytes(given), _bytes(made))


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _any(given: Sequence[str | bytes], made: Iterator[str | bytes]) -> bool:
    """Every pair is compared, whichever matches."""
    found = False
    for expected in made:
        for one in given:
            found = matches(one, expected) or found
    return found


def _in_window(stamp: str, unit_s: float, now_s: float, tolerance_s: float) -> bool:
    return abs(int(stamp) * unit_s - now_s) <= tolerance_s


@dataclass(frozen=True, slots=True)
class Body:
    """HMAC of the raw body in one header: GitHub and WebSub (``prefix``: the digest's name and ``=``), Shopify.

    WebSub 1.0, section 8 (``X-Hub-Signature: method=signature``); GitHub docs, Validating webhook deliveries;
    athenahealth event subscriptions sign in the same way. SHA-1 is refused: what is signed with it also is with 256.
    """

    header: str = "x-hub-signature-256"
    encoding: Literal["hex", "base64"] = "hex"
    named_digest: bool = True

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """As Scheme."""
        text = delivery.headers.get(self.header)
        if text is None:
            return Refused("signature_missing")
        digest = "sha256"
        if self.named_digest:
            digest, separator, text = text.strip().partition("=")
            digest = digest.lower()
            if not separator or digest not in _HUB_DIGESTS:
                return Refused("signature_malformed")
        given = text.strip().lower() if self.encoding == "hex" else text.strip()
        made = (_encoded(hmac.new(_bytes(s), delivery.body, digest).digest(), self.encoding) for s in secrets)
        return Verified() if _any([given], made) else Refused("signature_wrong")


def _encoded(raw: bytes, encoding: str) -> str:
    return raw.hex() if encoding == "hex" else base64.b64encode(raw).decode()


@dataclass(frozen=True, slots=True)
class Pairs:
    """``t=<seconds>,v1=<hex>[,v1=<hex>]`` over ``{t}.{body}``, as Stripe signs (docs, Verify webhook signatures)."""

    header: str = "stripe-signature"

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """As Scheme."""
        text = delivery.headers.get(self.header)
        if text is None:
            return Refused("signature_missing")
        pairs = [part.strip().partition("=") for part in text.split(",")]
        stamps = [value for name, _, value in pairs if name == "t"]
        given = [value.lower() for name, _, value in pairs if name == "v1"]
        if not stamps:
            return Refused("timestamp_missing")
        if len(stamps) > 1 or not _STAMP.fullmatch(stamps[0]) or not 0 < len(given) <= _MOST_SIGNATURES:
            return Refused("signature_malformed")
        signed = stamps[0].encode() + b"." + delivery.body
        if not _any(given, (hmac.new(_bytes(s), signed, "sha256").hexdigest() for s in secrets)):
            return Refused("signature_wrong")
        if not _in_window(stamps[0], 1, now_s, tolerance_s):
            return Refused("timestamp_outside_window")
        return Verified(stamp=stamps[0])


@dataclass(frozen=True, slots=True)
class Stamped:
    """A signature and a time in headers of their own, as Slack and HubSpot v3 sign.

    ``slack``: hex with ``v0=`` over ``v0:{t}:{body}``, seconds (docs, Verifying requests from Slack).
    ``hubspot_v3``: base64 over method, URI, body and time, milliseconds (docs, Validating requests: some escapes of
    the URI are decoded first, and the URI is the public one, whatever proxies make of it).
    """

    kind: Literal["slack", "hubspot_v3"]
    header: str
    stamp_header: str

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """As Scheme."""
        given, stamp = delivery.headers.get(self.header), delivery.headers.get(self.stamp_header)
        if given is None:
            return Refused("signature_missing")
        if stamp is None:
            return Refused("timestamp_missing")
        if not _STAMP.fullmatch(stamp):
            return Refused("signature_malformed")
        if not _any([given.strip()], (self._made(delivery, stamp, secret) for secret in secrets)):
            return Refused("signature_wrong")
        unit_s = 0.001 if self.kind == "hubspot_v3" else 1.0
        if not _in_window(stamp, unit_s, now_s, tolerance_s):
            return Refused("timestamp_outside_window")
        return Verified(stamp=stamp)

    def _made(self, delivery: Delivery, stamp: str, secret: str) -> str:
        if self.kind == "slack":
            signed = b"v0:" + stamp.encode() + b":" + delivery.body
            return "v0=" + hmac.new(_bytes(secret), signed, "sha256").hexdigest()
        uri = hubspot_uri(delivery.url)
        signed = _bytes(delivery.method + uri) + delivery.body + stamp.encode()
        return base64.b64encode(hmac.new(_bytes(secret), signed, "sha256").digest()).decode()


def hubspot_uri(url: str) -> str:
    """A URL as HubSpot signs it."""
    return _HUBSPOT_ESCAPE.sub(lambda found: _HUBSPOT_DECODED[found[0].upper()], url)


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard Webhooks 1.0: ``v1,<base64>`` (a list, by spaces) over ``{id}.{seconds}.{body}``.

    The secret is ``whsec_`` and base64, and its bytes are the key.
    """

    prefix: str = "webhook"

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """As Scheme. Raises ValueError for a secret that is not of this form."""
        text, stamp = delivery.headers.get(f"{self.prefix}-signature"), delivery.headers.get(f"{self.prefix}-timestamp")
        name = delivery.headers.get(f"{self.prefix}-id")
        if text is None:
            return Refused("signature_missing")
        if stamp is None:
            return Refused("timestamp_missing")
        given = [value for kind, _, value in (part.partition(",") for part in text.split()) if kind == "v1"]
        if not name or not _STAMP.fullmatch(stamp) or not 0 < len(given) <= _MOST_SIGNATURES:
            return Refused("signature_malformed")
        signed = _bytes(f"{name}.{stamp}.") + delivery.body
        made = (_encoded(hmac.new(standard_key(secret), signed, "sha256").digest(), "base64") for secret in secrets)
        if not _any(given, made):
            return Refused("signature_wrong")
        if not _in_window(stamp, 1, now_s, tolerance_s):
            return Refused("timestamp_outside_window")
        return Verified(name, stamp)


def standard_key(secret: str) -> bytes:
    """The key of a Standard Webhooks secret; ValueError when it is none (24 to 64 bytes in base64)."""
    try:
        key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("a Standard Webhooks secret is whsec_ and base64 of 24 to 64 bytes")
    return key


@dataclass(frozen=True, slots=True)
class Static:
    """The secret itself in a header, as a rest-hook subscription has it sent (R4, Subscription.channel.header)."""

    header: str = "authorization"
    prefix: str = "Bearer "

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """As Scheme."""
        text = delivery.headers.get(self.header)
        if text is None:
            return Refused("signature_missing")
        head, rest = text[: len(self.prefix)], text[len(self.prefix) :]
        # The name of an authentication scheme is case-insensitive (RFC 9110, section 11.1).
        if head.lower() != self.prefix.lower() or not rest.strip():
            return Refused("signature_malformed")
        # Digests are of one length: how long a secret is does not show either.
        given = hashlib.sha256(_bytes(rest.strip())).digest()
        made = (hashlib.sha256(_bytes(secret)).digest() for secret in secrets)
        return Verified() if _any([given], made) else Refused("signature_wrong")


@dataclass(frozen=True, slots=True)
class Basic:
    """User and password (RFC 7617); a secret is ``user:password``."""

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
    ) -> Verified | Refused:
        """As Scheme."""
        text = delivery.headers.get("authorization")
        if text is None:
            return Refused("signature_missing")
        kind, _, encoded = text.strip().partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
        if kind.lower() != "basic" or b":" not in given:
            return Refused("signature_malformed")
        made = (hashlib.sha256(_bytes(secret)).digest() for secret in secrets)
        return Verified() if _any([hashlib.sha256(given).digest()], made) else Refused("signature_wrong")


Name = Literal[
    "x_hub_signature", "x_hub_signature_256", "stripe", "standard_webhooks", "slack", "hubspot_v3", "shopify",
    "static_header", "basic",
]  # fmt: skip


def scheme(
    name: Name, *, header: str | None = None, stamp_header: str | None = None, prefix: str = "Bearer "
) -> Scheme:
    """The scheme of a name; ``header`` and ``stamp_header`` where a sender calls them otherwise than usual.

    For ``standard_webhooks`` ``header`` is what its three headers begin with; ``prefix`` is what stands before a
    static secret.
    """
    given = header.lower() if header else None
    stamp = stamp_header.lower() if stamp_header else None
    match name:
        case "x_hub_signature":
            return Body(given or "x-hub-signature")
        case "x_hub_signature_256":
            return Body(given or "x-hub-signature-256")
        case "shopify":
            return Body(given or "x-shopify-hmac-sha256", encoding="base64", named_digest=False)
        case "stripe":
            return Pairs(given or "stripe-signature")
        case "standard_webhooks":
            return Standard(given or "webhook")
        case "slack":
            return Stamped("slack", given or "x-slack-signature", stamp or "x-slack-request-timestamp")
        case "hubspot_v3":
            return Stamped("hubspot_v3", given or "x-hubspot-signature-v3", stamp or "x-hubspot-request-timestamp")
        case "static_header":
            return Static(given or "authorization", prefix)
        case "basic":
            return Basic()
