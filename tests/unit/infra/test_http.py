"""Requests, answers, and what is known of a request that got none."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from connector_runner.infra.http import HTTP, AnswerLost, BadAnswer
from connector_runner.kernel.errors import TryAgain, Unavailable
from tests.unit.infra.raw_server import CANARY, Script, Server, answer, reset


def test_a_request_and_its_answer(serve: Callable[[Script], Server], http: HTTP) -> None:
    server = serve(lambda c, r, n: answer(c, b'{"a":1.00}', "201 Created", 'ETag: W/"3"'))
    got = http.request(
        "PUT", f"{server.url}/fhir/Patient/1", params={"_format": "json"}, data=b"{}", headers={"X": "y"}
    )
    assert (got.status, got.body, got.headers["etag"]) == (201, b'{"a":1.00}', 'W/"3"')
    assert server.requests[0].startswith(b"PUT /fhir/Patient/1?_format=json HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "429 Slow", "500 Oops", "304 Same"])
def test_every_status_is_an_answer(serve: Callable[[Script], Server], http: HTTP, status: str) -> None:
    server = serve(lambda c, r, n: answer(c, b"", status))
    assert http.request("GET", server.url).status == int(status[:3])
    assert len(server.requests) == 1


def test_connections_are_reused_and_no_cookie_is_kept(serve: Callable[[Script], Server], http: HTTP) -> None:
    server = serve(lambda c, r, n: answer(c, b"{}", "200 OK", "Set-Cookie: session=1"))
    for _ in range(3):
        http.request("GET", server.url)
    assert server.connections == 1
    assert not any(b"Cookie" in request for request in server.requests)


def test_headers_are_found_whatever_their_case_and_those_of_one_name_together(
    serve: Callable[[Script], Server], http: HTTP
) -> None:
    server = serve(lambda c, r, n: answer(c, b"{}", "200 OK", "X-Limit: 1", "x-limit: 2", 'ETag: W/"7"'))
    headers = http.request("GET", server.url).headers
    assert (headers["X-LIMIT"], headers.get("etag"), headers.get("None")) == ("1, 2", 'W/"7"', None)
    assert "x-Limit" in headers
    assert "x-Limi" not in headers
    assert {name.lower() for name in headers} >= {"x-limit", "etag"}


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints", "199 What"])
def test_an_interim_answer_is_not_the_answer(serve: Callable[[Script], Server], http: HTTP, interim: str) -> None:
    def script(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(f"HTTP/1.1 {interim}\r\nLink: </x>\r\n\r\n".encode() * 2)
        time.sleep(0.05)
        answer(connection, str(number).encode(), "201 Created")

    server = serve(script)
    answers = [http.request("POST", server.url) for _ in range(3)]
    assert [(one.status, one.body) for one in answers] == [(201, b"1"), (201, b"2"), (201, b"3")]
    assert server.connections == 1


def test_a_switch_to_another_protocol_is_no_answer(serve: Callable[[Script], Server], http: HTTP) -> None:
    server = serve(lambda connection, request, number: connection.sendall(b"HTTP/1.1 101 Switching\r\n\r\n"))
    with pytest.raises(AnswerLost):
        http.request("POST", server.url)


def test_many_threads_share_it(serve: Callable[[Script], Server], http: HTTP) -> None:
    server = serve(lambda c, r, n: answer(c, r.split(b" ")[1]))
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda n: http.request("GET", f"{server.url}/{n}").body, range(80)))
    assert bodies == [f"/{n}".encode() for n in range(80)]


def test_proxies_and_netrc_of_the_environment_are_ignored(
    serve: Callable[[Script], Server], http: HTTP, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = serve(lambda c, r, n: answer(c))
    (netrc := tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert http.request("GET", server.url).status == 200
    assert b"Authorization" not in server.requests[0]


def test_refused_connection_and_unknown_name_are_not_sent(http: HTTP) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match="connection refused") as caught:
        http.request("POST", f"http://127.0.0.1:{port}/Patient?name={CANARY}", data=b"{}")
    assert caught.value.code == "not_sent"
    with pytest.raises(Unavailable, match="does not resolve") as caught:
        http.request("POST", "http://no-such-host.invalid/", data=b"{}")
    assert caught.value.code == "not_sent"


def test_failed_tls_is_not_sent(serve: Callable[[Script], Server], http: HTTP) -> None:
    server = serve(lambda c, r, n: None)
    with pytest.raises(Unavailable, match=r"TLS failed|timed out") as caught:
        http.request("POST", server.url.replace("http:", "https:"), data=b"{}", timeout_s=0.5)
    assert caught.value.code == "not_sent"
    assert server.requests == []


def lost_before_the_answer(connection: socket.socket, request: bytes, n: int) -> None:
    reset(connection)


def closed_before_the_answer(connection: socket.socket, request: bytes, n: int) -> None:
    connection.close()


def silent(connection: socket.socket, request: bytes, n: int) -> None:
    time.sleep(2)


def half_a_head(connection: socket.socket, request: bytes, n: int) -> None:
    connection.sendall(b"HTTP/1.1 201 Cre")
    connection.close()


def half_a_body(connection: socket.socket, request: bytes, n: int) -> None:
    connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf")
    connection.close()


def half_a_chunked_body(connection: socket.socket, request: bytes, n: int) -> None:
    connection.sendall(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\nhal")
    connection.close()


def not_http(connection: socket.socket, request: bytes, n: int) -> None:
    connection.sendall(CANARY.encode() + b"\r\n\r\n")
    connection.close()


@pytest.mark.parametrize(
    "script",
    [
        lost_before_the_answer, closed_before_the_answer, silent, half_a_head, half_a_body, half_a_chunked_body,
        not_http,
    ],
)  # fmt: skip
def test_sent_without_an_answer(serve: Callable[[Script], Server], http: HTTP, script: Script) -> None:
    server = serve(script)
    with pytest.raises(AnswerLost) as caught:
        http.request("POST", f"{server.url}/Patient?family={CANARY}", data=CANARY.encode(), timeout_s=0.4)
    assert caught.value.code == "answer_lost"
    assert isinstance(caught.value, TryAgain)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    time.sleep(0.1)
    assert len(server.requests) == 1, "a request is never repeated"


def test_reset_of_a_reused_connection_counts_as_sent(serve: Callable[[Script], Server], http: HTTP) -> None:
    server = serve(lambda c, r, n: answer(c) if n == 1 else reset(c))
    http.request("GET", server.url)
    with pytest.raises(AnswerLost):
        http.request("POST", server.url, data=b"{}")
    assert (server.connections, len(server.requests)) == (1, 2)


def test_a_connection_closed_while_idle_is_replaced(serve: Callable[[Script], Server], http: HTTP) -> None:
    def once(connection: socket.socket, request: bytes, n: int) -> None:
        answer(connection)
        connection.close()

    server = serve(once)
    for _ in range(3):
        assert http.request("POST", server.url, data=b"{}").status == 200
        time.sleep(0.05)
    assert server.connections == 3


@pytest.mark.parametrize("part", ["head", "body"])
def test_the_deadline_holds_against_a_trickle(serve: Callable[[Script], Server], http: HTTP, part: str) -> None:
    def trickle(connection: socket.socket, request: bytes, n: int) -> None:
        if part == "body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"a")
            time.sleep(0.05)

    server = serve(trickle)
    started = time.monotonic()
    with pytest.raises(AnswerLost, match="timed out"):
        http.request("GET", server.url, timeout_s=5, deadline_s=0.5)
    assert time.monotonic() - started < 2


def test_a_long_answer_is_cut(serve: Callable[[Script], Server], http: HTTP) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    plain = serve(lambda c, r, n: answer(c, b"0" * 2000))
    packed = serve(lambda c, r, n: answer(c, bomb, "200 OK", "Content-Encoding: gzip"))
    for server in (plain, packed):
        with pytest.raises(BadAnswer) as caught:
            http.request("GET", server.url, max_bytes=1000)
        assert (caught.value.code, caught.value.status) == ("answer_too_long", 200)


def test_gzip_is_decoded_and_broken_gzip_named(serve: Callable[[Script], Server], http: HTTP) -> None:
    good = serve(lambda c, r, n: answer(c, gzip.compress(b"hello"), "200 OK", "Content-Encoding: gzip"))
    bad = serve(lambda c, r, n: answer(c, b"not gzip", "200 OK", "Content-Encoding: gzip"))
    assert http.request("GET", good.url).body == b"hello"
    with pytest.raises(BadAnswer) as caught:
        http.request("GET", bad.url)
    assert caught.value.code == "answer_not_decodable"
