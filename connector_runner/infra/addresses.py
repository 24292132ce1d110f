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
        "168.63.129.16/32",  # a cloud's own services, on a public address
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
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)

# What even a named host may not resolve to, unless the address itself was named.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "fe80::/10",
        "ff00::/8",
        # metadata and credentials of the machine itself, in clouds that do not keep them on link-local addresses
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
    )
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
    if address in _NAT64_LOCAL:
        # By RFC 6052 (section 2.2) for prefixes of 48, 56, 64 and 96 bits; the octet of bits 64 to 71 is left out.
        octets = address.packed
        places = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
        return [ipaddress.IPv4Address(bytes(octets[n] for n in place)) for place in places]
    if address in _NAT64 or (address in _COMPATIBLE and bits > 1):
        return [low]
    if (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        return [low]
    return []


_BAD_PORTS = frozenset({
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})  # fmt: skip
"""Ports of other protocols, whose servers take a request for commands (Fetch standard, bad ports; and Redis)."""


def is_public(address: Address) -> bool:
    """Whether ``address``, and every IPv4 address it embeds, is on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    embedded = _embedded(address)
    if address in _NAT64_LOCAL or not all(is_public(inner) for inner in embedded):
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
        named = self.is_allowed(host, port)
        if port in _BAD_PORTS and not named:
            raise Misconfigured("the port is another protocol's", code="address_refused", where=f"{name}:{port}")
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
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
