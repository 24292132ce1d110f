"""How a request is written: as requests would, in one message with its body, on connections that are found again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from connector_runner.infra.http import HTTP, Params, _prepare
from connector_runner.settings import Settings

_SEGMENTS = st.text("aZ09._~-$%2fé {}:;,|!*'()[]", max_size=8)
_HEADERS = {"User-Agent": "x", "Accept": "application/fhir+json"}


@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
    st.sampled_from(["http://a.example", "https://a.example:8443", "http://A.Example", "http://127.0.0.1:80"]),
    st.lists(_SEGMENTS, max_size=4),
    st.sampled_from([None, b"", b"{}", b"\xff" * 70_000]),
    st.sampled_from(
        [None, [], {}, [("name", "Ann Lee"), ("_count", "3")], {"a": ["x&y", "é"], "b": 7, "c": []}, {"d": ""}]
    ),
)
@example("GET", "http://a.example", ["fhir", "..", "Patient"], None, None)
@example("GET", "http://a.example", ["fhir", ".", ""], None, None)
@example("PUT", "http://127.0.0.1:80", ["fhir", "Patient", "7"], b"{}", None)
def test_a_request_is_written_as_requests_would(
    method: str, server: str, segments: list[str], data: bytes | None, params: Params | None
) -> None:
    url = "/".join([server, *segments])
    try:
        theirs = requests.Request(method, url, headers=_HEADERS, params=params, data=data).prepare()
    except requests.RequestException:
        return
    ours = _prepare(method, url, urlsplit(url), CaseInsensitiveDict(_HEADERS), params, data)
    assert (ours.method, ours.url, ours.headers, ours.body) == (theirs.method, theirs.url, theirs.headers, theirs.body)


class Listener:
    """Keeps what each read of its sockets gave, and answers each request once all of it has come."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection):
            held = b""
            while piece := connection.recv(1 << 20):
                self.reads.append(piece)
                held += piece
                head, found, body = held.partition(b"\r\n\r\n")
                stated = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if found and len(body) >= int(stated[0].split(b":")[1] if stated else 0):
                    held = b""
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    with closing(made.listener):
        yield made


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HTTP]:
    with closing(HTTP(Settings(home=tmp_path, http_allow=("127.0.0.1",)))) as made:
        yield made


def test_head_and_body_go_in_one_message(http: HTTP, listener: Listener) -> None:
    for _ in range(5):
        assert http.request("POST", f"{listener.url}/Patient", data=b'{"a":1}').body == b"ok"
    assert len(listener.reads) == 5
    assert all(read.startswith(b"POST /Patient HTTP/1.1\r\n") and read.endswith(b'{"a":1}') for read in listener.reads)
    assert listener.connections == 1


@pytest.mark.parametrize("data", [None, b"", b"x", b"x" * 65_536, b"x" * 65_537, b"x" * 1_000_000])
def test_a_body_of_any_length_arrives_whole(http: HTTP, listener: Listener, data: bytes | None) -> None:
    for method in ("PUT", "GET"):
        assert http.request(method, f"{listener.url}/Patient/7", data=data).status == 200
    sent = b"".join(listener.reads)
    assert [part.partition(b"\r\n\r\n")[2] for part in sent.replace(b"GET ", b"PUT ").split(b"PUT ")[1:]] == [
        data or b""
    ] * 2


def test_connections_are_made_anew_after_the_others_were_closed(http: HTTP, listener: Listener) -> None:
    http.request("GET", f"{listener.url}/a")
    adapter = http._transport()
    adapter.close()
    assert http._transport() is adapter
    assert http.request("GET", f"{listener.url}/b").body == b"ok"
    assert listener.connections == 2
