"""Which network addresses may be called: public ones, and those an operator named.

``ipaddress``'s ``is_global`` differs between Python releases and says yes to addresses that embed a private
one, so the ranges are written out here (IANA special-purpose address registries) and embedded IPv4
addresses are unwrapped first.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from connector_runner.kernel.errors import Misconfigured

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Endpoint = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
"""Address family and socket address."""

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "3fff::/20")  # protocol assignments, documentation
)
_TEREDO = ipaddress.IPv6Network("2001::/32")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)

# What even a named host may not resolve to, unless the address itself was named.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "fe80::/10", "ff00::/8")
)


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that packets to ``address`` may end at."""
    bits = int(address)
    low = ipaddress.IPv4Address(bits & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _TEREDO:
        server = ipaddress.IPv4Address((bits >> 64) & 0xFFFFFFFF)
        return [server, ipaddress.IPv4Address(~bits & 0xFFFFFFFF)]
    if address in _SIX_TO_FOUR:
        return [ipaddress.IPv4Address((bits >> 80) & 0xFFFFFFFF)]
    if address in _NAT64 or (address in _COMPATIBLE and bits > 1):
        return [low]
    if (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        return [low]
    return []


def is_public(address: Address) -> bool:
    """Whether ``address``, and every IPv4 address it embeds, is on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    embedded = _embedded(address)
    if not all(is_public(inner) for inner in embedded):
        return False
    if embedded and address not in _GLOBAL_V6:
        return True
    in_tunnel = address in _TEREDO
    return address in _GLOBAL_V6 and (in_tunnel or not any(address in network for network in _REFUSED_V6))


def _is_never(address: Address) -> bool:
    inner: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner += _embedded(address)
    return any(one.version == network.version and one in network for one in inner for network in _NEVER)


def _parse_entry(entry: str) -> tuple[str, int | None]:
    text = entry.strip().lower()
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise Misconfigured("an entry is host or host:port", code="http_allow", where="CONNECTOR_RUNNER_HTTP_ALLOW")
    return host.rstrip("."), int(port) if port else None


class AddressGuard:
    """Resolves a host and refuses it unless every address it has may be called."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """``allow``: ``host`` or ``host:port`` entries that may be private; Misconfigured when one is neither."""
        self._allowed = frozenset(_parse_entry(entry) for entry in allow)

    def is_allowed(self, host: str, port: int) -> bool:
        """Whether an operator named this host, for this port or for all."""
        name = host.strip("[]").rstrip(".").lower()
        return (name, None) in self._allowed or (name, port) in self._allowed

    def resolve(self, host: str, port: int) -> list[Endpoint]:
        """The endpoints of ``host``, all of them checked.

        Raises Misconfigured (code ``address_refused``) when one may not be called, OSError when the name
        has none.
        """
        name = host.strip("[]").rstrip(".")
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        named = self.is_allowed(host, port)
        endpoints: list[Endpoint] = []
        for family, _, _, _, place in found:
            if family not in (socket.AF_INET, socket.AF_INET6):
                continue
            text = str(place[0])
            address = ipaddress.ip_address(text.partition("%")[0])
            literal = named and text == name.lower()
            if not (literal or (named and not _is_never(address)) or is_public(address)):
                raise Misconfigured(
                    "the host has an address that may not be called; CONNECTOR_RUNNER_HTTP_ALLOW can name"
                    " private hosts",
                    code="address_refused",
                    where=f"{name}:{port}",
                )
            endpoints.append((family, place))  # type: ignore[arg-type]
        if not endpoints:
            raise OSError("the name has no address")
        return endpoints
