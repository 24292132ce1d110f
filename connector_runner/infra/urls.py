"""Which URLs may be asked at all: those that every parser reads alike.

A URL that two programs read differently is how a guard is walked past (one checks one host, the other calls another),
so what is not plainly written is refused and not repaired: blanks and control characters (which Python's parser drops),
backslashes, credentials, hosts that are not ASCII or are percent-encoded, numbers that only some systems take for an
address. A host with other letters is to be written in its ``xn--`` form.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from connector_runner.kernel.errors import Misconfigured

PORTS: Final = {"http": 80, "https": 443}
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_MOST: Final = 16_384


def checked(url: str) -> SplitResult:
    """The parts of an absolute http(s) URL that can be read in one way only.

    Raises Misconfigured, without quoting it: ``bad_url``, or ``address_refused`` for an address in disguise.
    """
    parts = _split(url)
    if parts is None:
        raise Misconfigured("an address must be an absolute http or https URL", code="bad_url", where="url")
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise Misconfigured("a URL may not hold credentials", code="bad_url", where="url")
    if ":" in host:
        _check_literal(host)
    elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        _check_number(host)
    elif not _NAME.fullmatch(host) or len(host) > 254:
        raise Misconfigured(
            "a host is written in ASCII letters, digits, hyphens and dots (others in their xn-- form)",
            code="bad_url",
            where="url",
        )
    return parts


def _split(url: str) -> SplitResult | None:
    if len(url) > _MOST or _UNSAFE.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        return None
    # urlsplit also takes digits of other scripts and an empty port.
    after = parts.netloc.rpartition("]")[2] if "]" in parts.netloc else parts.netloc.rpartition("@")[2]
    _, colon, text = after.partition(":")
    return None if colon and not _PORT.fullmatch(text) else parts


def _check_literal(host: str) -> None:
    """An IPv6 literal without a zone, which would name an interface of this machine."""
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        usable = False
    else:
        usable = "%" not in host
    if not usable:
        raise Misconfigured("not an address that may be called", code="address_refused", where="url")


def _check_number(host: str) -> None:
    """Four decimal numbers without leading zeros: octal, hexadecimal and shorter forms hide an address."""
    try:
        ipaddress.IPv4Address(host.removesuffix("."))
    except ValueError:
        raise Misconfigured(
            "an IPv4 address is written as four decimal numbers", code="address_refused", where="url"
        ) from None
