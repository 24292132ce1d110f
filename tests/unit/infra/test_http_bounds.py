"""Where requests may go, with what, and what of it is told."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from connector_runner.infra.http import HTTP, path_template
from connector_runner.kernel.errors import Misconfigured
from connector_runner.settings import Settings
from tests.unit.infra.raw_server import CANARY, Script, Server, answer


def test_redirects_are_off_unless_asked(serve: Callable[[Script], Server], http: HTTP) -> None:
    target = serve(lambda c, r, n: answer(c, b"there"))
    here = serve(lambda c, r, n: answer(c, b"", "302 Found", f"Location: {target.url}/x"))
    assert http.request("GET", here.url).status == 302
    headers = {"Authorization": f"Bearer {CANARY}", "X-API-Key": CANARY, "Accept": "application/fhir+json"}
    got = http.request("GET", here.url, headers=headers, params={"a": "b"}, allow_redirects=True)
    assert (got.body, got.url) == (b"there", f"{target.url}/x")
    assert CANARY.encode() not in target.requests[0]
    assert b"application/fhir+json" in target.requests[0]
    assert http.request("POST", here.url, data=b"{}", allow_redirects=True).status == 302


def test_credentials_stay_within_one_origin(serve: Callable[[Script], Server], http: HTTP) -> None:
    def hop(connection: socket.socket, request: bytes, n: int) -> None:
        if n == 1:
            answer(connection, b"", "307 Moved", "Location: /next")
        else:
            answer(connection, b"there")

    server = serve(hop)
    http.request("GET", f"{server.url}/first", headers={"Authorization": "Bearer t"}, allow_redirects=True)
    assert b"Authorization: Bearer t" in server.requests[1]


def test_each_hop_is_checked(serve: Callable[[Script], Server], http: HTTP) -> None:
    for location in ("http://169.254.169.254/latest", "http://10.0.0.1/", "file:///etc/passwd", "http://127.0.0.2/"):
        here = serve(lambda c, r, n, to=location: answer(c, b"", "302 Found", f"Location: {to}"))  # type: ignore[misc]
        with pytest.raises(Misconfigured):
            http.request("GET", here.url, allow_redirects=True)
    loop = serve(lambda c, r, n: answer(c, b"", "302 Found", "Location: /"))
    with pytest.raises(Misconfigured) as caught:
        http.request("GET", loop.url, allow_redirects=True)
    assert caught.value.code == "bad_redirect"
    assert len(loop.requests) == 6


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://2130706433:1/", "http://0x7f.1:1/",
        "http://169.254.169.254/", "http://10.1.2.3/", "http://[::ffff:127.0.0.1]:1/", "http://[64:ff9b::a9fe:a9fe]/",
        "http://0.0.0.0:1/", "http://[fe80::1]/", "http://224.0.0.1/", "http://[2002:7f00:1::1]/", "http://127.0.0.1.:1/",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        HTTP(Settings()).request("GET", url, timeout_s=1)
    assert caught.value.code == "address_refused"


def test_an_allowed_port_is_not_the_others(serve: Callable[[Script], Server]) -> None:
    server = serve(lambda c, r, n: answer(c))
    other = serve(lambda c, r, n: answer(c))
    http = HTTP(Settings(http_allow=(f"127.0.0.1:{server.port}",)))
    assert http.request("GET", server.url).status == 200
    with pytest.raises(Misconfigured):
        http.request("GET", other.url)
    assert other.connections == 0


def test_a_name_that_answers_differently_the_second_time_gains_nothing(
    serve: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was checked is the one connected to: one look-up a connection, and all of it is checked."""
    server = serve(lambda c, r, n: answer(c))
    looked_up: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        looked_up.append(host)
        return [(socket.AF_INET, 1, 6, "", ("8.8.8.8", port)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Misconfigured):
        HTTP(Settings()).request("GET", f"http://rebind.example:{server.port}/")
    assert looked_up == ["rebind.example"]
    assert server.connections == 0


def test_an_allowed_name_still_may_not_mean_the_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda h, p, **_: [(socket.AF_INET, 1, 6, "", ("169.254.169.254", p))])
    with pytest.raises(Misconfigured):
        HTTP(Settings(http_allow=("ehr.internal",))).request("GET", "http://ehr.internal/", timeout_s=1)


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "/relative", "http://user:pass@example.org/", "http://", "http://[bad", "http://h:99999/"],
)
def test_other_urls_are_refused_without_being_quoted(http: HTTP, url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        http.request("GET", url)
    assert caught.value.code == "bad_url"
    assert "pass" not in str(caught.value)


def test_a_header_cannot_smuggle_another(http: HTTP) -> None:
    with pytest.raises(Misconfigured) as caught:
        http.request("GET", "http://127.0.0.1:1/", headers={"X": f"a\r\nB: {CANARY}"})
    assert caught.value.code == "bad_header"
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/fhir/Patient/smith", "/fhir/Patient/{id}"),
        ("/fhir/r4/Patient/123/_history/4", "/fhir/r4/Patient/{id}/_history/4"),
        ("/fhir/Patient/_search", "/fhir/Patient/_search"),
        ("/fhir/Patient/$everything", "/fhir/Patient/$everything"),
        ("/crm/v3/objects/contacts/5550100", "/crm/v3/objects/contacts/{id}"),
        ("/a/john.smith%40example.org", "/a/{id}"),
        ("", ""),
    ],
)
def test_paths_in_messages_lose_ids(path: str, template: str) -> None:
    assert path_template(path) == template
