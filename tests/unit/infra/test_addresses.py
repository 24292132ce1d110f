"""Which addresses are public, also when they carry another one inside."""

from __future__ import annotations

import ipaddress

import pytest

from connector_runner.infra.addresses import AddressGuard, is_public
from connector_runner.kernel.errors import Misconfigured


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
        "2001:0:808:808:0:0:f7f7:f7f7",
    ],
)  # fmt: skip
def test_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1",  # noqa: S104
        "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.31.0.1",
        "192.0.0.9", "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::1", "2002:a00:1::1",
        "2001:0:7f00:1::1", "2001:0:808:808:0:0:80ff:fffe", "2001:db8::1", "3fff::1", "fc00::1", "fd12::1", "fe80::1",
        "fec0::1", "ff02::1", "2606:4700::5efe:7f00:1", "100::1", "5f00::1",
    ],
)  # fmt: skip
def test_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


def test_entries_name_a_host_or_a_host_and_port() -> None:
    guard = AddressGuard(("ehr.internal", "10.0.0.5:8443", "[::1]:9000", "fd00::1"))
    assert guard.is_allowed("EHR.internal.", 80)
    assert guard.is_allowed("10.0.0.5", 8443)
    assert not guard.is_allowed("10.0.0.5", 443)
    assert guard.is_allowed("[::1]", 9000)
    assert not guard.is_allowed("::1", 80)
    assert guard.is_allowed("fd00::1", 80)
    assert not guard.is_allowed("x.ehr.internal", 80)


@pytest.mark.parametrize("entry", ["", ":80", "host:port", "host:0", "host:70000"])
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(Misconfigured, match="HTTP_ALLOW"):
        AddressGuard((entry,))


def test_an_allowed_literal_may_even_be_link_local() -> None:
    assert AddressGuard(("169.254.1.1",)).resolve("169.254.1.1", 80)
