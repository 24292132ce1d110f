"""Heads of requests and answers, beside what the standard library makes of them."""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPMessage, IncompleteRead, InvalidURL, LineTooLong, parse_headers

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.infra.wire import head_of, host_of, read_headers

_NAME = st.text("abcXYZ09-_.!", min_size=1, max_size=8)
_ENDS = st.sampled_from(["\r\n", "\n", "\r\n x "])
_VALUE = st.text("abc 019;=,\"'/:\t\xe9", max_size=20).map(lambda text: text.strip(" \t"))


def _stream(head: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(head))


def _plain(value: str) -> str:
    """White space between words is one space (RFC 9112, section 5.2)."""
    return " ".join(value.split())


def _theirs(head: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    message: HTTPMessage = parse_headers(_stream(head))
    for name, value in message.items():
        found.setdefault(name.lower(), []).append(_plain(value))
    return found


@given(
    st.lists(st.tuples(_NAME, st.sampled_from([":", ": ", ":\t "]), _VALUE, st.sampled_from(["\r\n", "\n", "\r\n x "])))
)
def test_fields_are_those_of_the_standard_library(fields: list[tuple[str, str, str, str]]) -> None:
    text = "".join(
        f"{name}{colon}{value}{end}" + ("\r\n" if end.endswith(" ") else "") for name, colon, value, end in fields
    )
    head = f"{text}\r\nbody".encode("latin-1")
    stream = _stream(head)
    found = read_headers(stream)
    ours: dict[str, list[str]] = {}
    for name, value in found:
        ours.setdefault(name.lower(), []).append(_plain(value))
    assert ours == _theirs(head)
    assert stream.read() == b"body"


@pytest.mark.parametrize("head", [b"", b"A: 1", b"A: 1\r\n", b"A: 1\r\nB", b"A: 1\r\n\r"])
def test_a_head_that_is_cut_short_is_no_head(head: bytes) -> None:
    with pytest.raises(IncompleteRead):
        read_headers(_stream(head))


def test_a_head_has_bounds() -> None:
    assert read_headers(_stream(b"A: 1\r\n" * 100 + b"\r\n")) == [("A", "1")] * 100
    with pytest.raises(HTTPException, match="100"):
        read_headers(_stream(b"A: 1\r\n" * 101 + b"\r\n"))
    with pytest.raises(LineTooLong):
        read_headers(_stream(b"A: " + b"x" * 65_536 + b"\r\n\r\n"))


def test_what_is_no_field_ends_the_head_for_us_as_for_the_standard_library() -> None:
    head = b"A: 1\r\nno field\r\nB: 2\r\n\r\n"
    assert read_headers(_stream(head)) == [("A", "1")] == parse_headers(_stream(head)).items()


def test_a_request_begins_with_its_line_and_host() -> None:
    head = head_of("POST", "/fhir/Patient?a=1", {"Accept": "x", "X-Name": "é"}, "a.example:81", 2)
    assert head == (
        b"POST /fhir/Patient?a=1 HTTP/1.1\r\nHost: a.example:81\r\nContent-Length: 2\r\n"
        b"Accept: x\r\nX-Name: \xe9\r\n\r\n"
    )
    told = head_of("POST", "/", {"host": "b", "content-length": "3"}, "a", 3)
    assert told == b"POST / HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\n\r\n"


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: 1", "/a\x00", "/a\x7f", "/a\tb"])
def test_no_target_ends_the_line_early(target: str) -> None:
    with pytest.raises(InvalidURL):
        head_of("GET", target, {}, "a", None)
    with pytest.raises(ValueError, match="capitals"):
        head_of("GET /x HTTP/1.1\r\nA:", "/", {}, "a", None)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("a.example", 80, "a.example"),
        ("a.example", None, "a.example"),
        ("a.example", 8080, "a.example:8080"),
        ("::1", 8080, "[::1]:8080"),
        ("fe80::1%eth0", 80, "[fe80::1]"),
        ("bücher.example", 80, "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_the_standard_says(host: str, port: int | None, said: str) -> None:
    assert host_of(host, port, 80) == said
