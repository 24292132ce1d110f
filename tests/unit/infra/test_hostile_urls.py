"""No hostile URL is called, nor saved in settings; nor reached by a redirect or a name that changes its mind."""

from __future__ import annotations

import socket

import pytest

from connector_runner.connectors import directory
from connector_runner.connectors.outgoing import require_callable, require_callable_documents
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import Misconfigured, Unavailable
from connector_runner.settings import Settings
from tests.unit.infra.hostile_urls import HOSTILE, NAMES
from tests.unit.infra.test_http import Server, answer

_REAL = socket.getaddrinfo


def _entry(text: str, port: int) -> tuple[object, ...]:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    place = (text, port, 0, 0) if ":" in text else (text, port)
    return (family, socket.SOCK_STREAM, 6, "", place)


def _resolve(host: str, port: int, **how: object) -> list[tuple[object, ...]]:
    """Names of the table by the table, literals in all the forms that the system takes, others not at all."""
    found = NAMES.get(host.lower())
    if found is not None:
        return [_entry(text, port) for text in found]
    return _REAL(host, port, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)  # type: ignore[return-value]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Where sockets were connected to; nothing is."""
    places: list[object] = []

    def connect(self: socket.socket, place: object) -> None:
        places.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", _resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    return places


def test_the_table_is_long_enough() -> None:
    assert len(HOSTILE) >= 80
    assert len(set(HOSTILE.values())) == len(HOSTILE)


@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE.keys())
def test_refused_at_call(url: str, connected: list[object]) -> None:
    with pytest.raises(Misconfigured) as caught:
        HTTP(Settings()).request("GET", url, timeout_s=1)
    assert caught.value.code in ("address_refused", "bad_url")
    assert connected == []


@pytest.mark.parametrize("key", ["base_url", "token_url", "exchange_url", "public_url"])
@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE.keys())
def test_refused_at_save(url: str, key: str, connected: list[object]) -> None:
    settings = {"mapping": "fhir_r4", "auth": {"kind": "x", key: url}}
    documents = [{"name": "a"}, {"name": "b", "settings": settings}]
    with pytest.raises(Misconfigured) as caught:
        require_callable_documents(documents, HTTP(Settings()).check, file="sources.yaml")
    assert caught.value.code == "address_refused"
    assert caught.value.where == f"sources.yaml: [1].settings.auth.{key}"
    assert connected == []


def test_what_is_public_or_unknown_or_no_address_is_saved(connected: list[object]) -> None:
    settings = {
        "base_url": "https://public.example:8443/fhir/r4",
        "auth": {"token_url": "https://not.to.be.found.example/token", "audience": "http://10.0.0.1/"},
        "path_url": "contacts",
        "push": {"allowed_urls": ["https://93.184.215.14/", "https://[2606:4700::1111]/"]},
    }
    require_callable(settings, HTTP(Settings()).check)


def _ehr(adapter: str, **settings: object) -> dict[str, object]:
    auth = {"kind": "smart_backend", "client_id": "x", "algorithm": "RS384"}
    return {"name": "a", "source_type": "ehr", "settings": {"adapter": adapter, "auth": auth, **settings}}


_TOKEN_TO = {"token_origins": ["https://public.example", "https://10.0.0.1:8443"]}


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (_ehr("cerner", server="http://169.254.169.254/r4", tenant="t"), "server"),
        (_ehr("eclinicalworks", server="http://10.0.0.1/fhir/r4", practice_code="ABCD"), "server"),
        (
            {
                "name": "a",
                "source_type": "fhir_store",
                "settings": {"base_url": "https://public.example/", "bulk": _TOKEN_TO},
            },
            "bulk.token_origins.1",
        ),
    ],
    ids=["cerner", "eclinicalworks", "token_origins"],
)
def test_an_address_that_is_called_otherwise_is_refused_at_save(
    document: dict[str, object], key: str, connected: list[object]
) -> None:
    with pytest.raises(Misconfigured) as caught:
        directory.require_callable_settings(document, HTTP(Settings()).check, file="a.yaml")
    assert (caught.value.code, caught.value.where) == ("address_refused", f"a.yaml: settings.{key}")
    assert connected == []


def test_an_address_that_follows_from_other_settings_is_refused_at_save(
    monkeypatch: pytest.MonkeyPatch, connected: list[object]
) -> None:
    """Whatever the keys are called that it is made of."""
    monkeypatch.setattr("connector_runner.connectors.outgoing._ENDINGS", ("url",))
    with pytest.raises(Misconfigured) as caught:
        directory.require_callable_settings(
            _ehr("cerner", server="http://169.254.169.254/r4", tenant="t"), HTTP(Settings()).check
        )
    assert caught.value.where == "settings.base_url"


def test_a_list_of_addresses_is_checked_too(connected: list[object]) -> None:
    with pytest.raises(Misconfigured) as caught:
        require_callable(
            {"push": {"from_urls": ["https://public.example/", "http://10.0.0.1/"]}}, HTTP(Settings()).check
        )
    assert caught.value.where == "settings.push.from_urls.1"


def test_an_operator_may_name_a_private_host(connected: list[object]) -> None:
    http = HTTP(Settings(http_allow=("internal.example:8443",)), allow=("127.0.0.1:9000",))
    http.check("https://internal.example:8443/")
    http.check("http://127.0.0.1:9000/")
    for url in ("https://internal.example/", "http://127.0.0.1:9001/", "http://127.1:9000/"):
        with pytest.raises(Misconfigured):
            http.check(url)


def test_a_named_host_may_still_not_mean_the_machines_own_metadata(
    monkeypatch: pytest.MonkeyPatch, connected: list[object]
) -> None:
    http = HTTP(Settings(http_allow=("internal.example",)))
    mapped = ("64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "2002:a9fe:a9fe::")
    for address in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254", *mapped):
        monkeypatch.setitem(NAMES, "internal.example", [address])
        with pytest.raises(Misconfigured, match="may not be called"):
            http.check("http://internal.example/")


def test_a_name_is_looked_up_once_and_that_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public when it is looked at and private when it is called: there is no second look."""
    turns: list[str] = []
    places: list[object] = []

    def rebind(host: str, port: int, **how: object) -> list[tuple[object, ...]]:
        turns.append(host)
        return [_entry("93.184.215.14" if len(turns) == 1 else "127.0.0.1", port)]

    def connect(self: socket.socket, place: object) -> None:
        places.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    monkeypatch.setattr(socket.socket, "connect", connect)
    http = HTTP(Settings())
    with pytest.raises(Unavailable):
        http.request("GET", "http://rebind.example/", timeout_s=1)
    assert (turns, places) == (["rebind.example"], [("93.184.215.14", 80)])
    with pytest.raises(Misconfigured):
        http.request("GET", "http://rebind.example/", timeout_s=1)
    assert places == [("93.184.215.14", 80)]


@pytest.mark.parametrize("url", [url for url in HOSTILE.values() if "\r" not in url and url.isascii()])
def test_no_redirect_leads_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Led on by a real server; what remains of a URL that a relative one leaves there goes round in a circle."""
    monkeypatch.setattr(socket, "getaddrinfo", _resolve)
    server = Server(lambda connection, request, n: answer(connection, b"", "302 Found", f"Location: {url}"))
    http = HTTP(Settings(http_allow=(f"127.0.0.1:{server.port}",)))
    try:
        with pytest.raises(Misconfigured) as caught:
            http.request("GET", f"{server.url}/start", timeout_s=2, allow_redirects=True)
    finally:
        http.close()
        server.close()
    assert caught.value.code in ("address_refused", "bad_url", "bad_redirect")
