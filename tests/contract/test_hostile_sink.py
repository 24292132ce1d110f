"""Sinks before a hostile server: whatever comes over the wire is classified, in bounded time and space."""

from __future__ import annotations

import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.rest.sink import RestSink
from connector_runner.connectors.sinks import Capabilities, Outcome, Reply
from connector_runner.infra.http import HTTP
from connector_runner.settings import Settings

PATIENT = {"resourceType": "Patient", "gender": "female"}
TIMEOUT_S = 1.0
PATIENT_S = 20.0
"""For answers that come at once, however busy the machine is."""
Answering = Callable[[socket.socket], None]


class Hostile:
    """A server on a bare socket; ``answer`` may write to the connection whatever it likes."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/fhir"
        self.asked = 0
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self._read(connection)
                self.asked += 1
                try:
                    self._answer(connection)
                except OSError:
                    continue

    @staticmethod
    def _read(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65_536)
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while len(body) < (int(length[1]) if length else 0):
            body += connection.recv(65_536)

    def close(self) -> None:
        self.closing.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


@contextmanager
def hostile(answer: Answering) -> Iterator[Hostile]:
    server = Hostile(answer)
    try:
        yield server
    finally:
        server.close()


def sink_of(server: Hostile, *, client_id: bool = True, timeout_s: float = PATIENT_S) -> FHIRSink:
    settings = FHIRSettings(base_url=server.base_url, request_timeout_s=timeout_s)
    client = FHIRClient(Opening(HTTP(Settings(http_allow=("127.0.0.1",))), str), settings)
    return FHIRSink(client, Capabilities(client_id=client_id))


def rest_sink_of(server: Hostile, timeout_s: float) -> RestSink:
    record = {"path": "contacts", "create": "idempotent_post", "external_id_field": "externalId"}
    record |= {"search_param": "externalId", "known_by": {"lastName": "lastName"}}
    settings = RestSettings.model_validate(
        {
            "base_url": server.base_url,
            "mapping": "crm",
            "request_timeout_s": timeout_s,
            "records": {"Contact": record},
            "sink": {"entity_types": ["patient"]},
        }
    )
    return RestSink(Opening(HTTP(Settings(http_allow=("127.0.0.1",))), str), settings)


def saying(head: str, body: bytes = b"") -> Answering:
    def answer(connection: socket.socket) -> None:
        connection.sendall(
            f"HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )

    return answer


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n\r\n{")
    while True:
        connection.sendall(b" " * 65_536)


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Filler: " + b"x" * 60_000 + b"\r\n")


def trickling(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def never(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(TIMEOUT_S * 3)


def cut(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"resourceType":"Patient","id":"1"')


DEEP = b'{"resourceType":"Patient","a":' * 5_000
BAD_ANSWERS = {
    "html": (saying("200 OK", b"<html>Ada</html>"), "html"),
    "empty": (saying("200 OK"), "unconfirmed"),
    "not_json": (saying("200 OK", b"Ada"), "no_json"),
    "a_list": (saying("200 OK", b"[1]"), "no_json"),
    "a_number": (saying("200 OK", b"7"), "no_json"),
    "deep": (saying("200 OK", DEEP), "no_json"),
    "not_utf8": (saying("200 OK", b'{"resourceType":"\xff"}'), "no_json"),
    "not_fhir": (saying("200 OK", b'{"message":"ok"}'), "unconfirmed"),
    "no_id": (saying("200 OK", b'{"resourceType":"Patient"}'), "no_id"),
    "another_record": (saying("200 OK", b'{"resourceType":"Patient","id":"other"}'), "other_record"),
    "another_place": (saying("201 Created\r\nLocation: /fhir/Patient/other/_history/1"), "other_record"),
    "two_places": (
        saying("201 Created\r\nLocation: /fhir/Patient/ours", b'{"resourceType":"Patient","id":"other"}'),
        "other_record",
    ),
    "error_within": (
        saying("200 OK", b'{"resourceType":"OperationOutcome","issue":[{"severity":"fatal"}]}'), "error_in_success",
    ),
    "endless": (endless, "answer_too_long"),
    "endless_headers": (endless_headers, "answer_lost"),
    "trickling": (trickling, "answer_lost"),
    "never": (never, "answer_lost"),
    "cut": (cut, "answer_lost"),
    "nothing": (lambda connection: None, "answer_lost"),
    "no_http": (lambda connection: connection.sendall(b"220 smtp ready\r\n\r\n"), "answer_lost"),
    "status_0": (saying("0 What"), "answer_lost"),
    "bomb": (saying("200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b\x08broken"), "answer_not_decodable"),
}  # fmt: skip


def timeout_for(name: str) -> float:
    return TIMEOUT_S if name in ("never", "trickling") else PATIENT_S


NAMING_ANOTHER = ("another_record", "two_places")


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_write_with_a_bad_answer_is_unknown_and_asked_once(name: str) -> None:
    answer, cause = BAD_ANSWERS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with hostile(answer) as server:
        started = time.monotonic()
        reply = sink_of(server, timeout_s=timeout_for(name)).create(PATIENT, "ours")
        took_s = time.monotonic() - started
        assert server.asked == 1
    assert (reply.outcome, reply.cause) == (Outcome.UNKNOWN, cause)
    assert (reply.body, reply.ref, reply.etag) == (None, None, None)
    assert took_s < timeout_for(name) + 1.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    assert "Ada" not in reply.code + reply.where


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_read_with_a_bad_answer_tells_nothing(name: str) -> None:
    answer, _ = BAD_ANSWERS[name]
    with hostile(answer) as server:
        reply = sink_of(server, timeout_s=timeout_for(name)).read("Patient/ours")
    assert reply.outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT)
    assert reply.body is None


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_rest_api_with_a_bad_answer_is_unknown_and_asked_once(name: str) -> None:
    answer, _ = BAD_ANSWERS[name]
    with hostile(answer) as server:
        sink = rest_sink_of(server, timeout_for(name))
        started = time.monotonic()
        replies = [sink.create({"resourceType": "Contact", "lastName": "A"}, "ours")]
        if name != "never" and name not in NAMING_ANOTHER:
            replies += [sink.update("Contact/7", {"resourceType": "Contact"}, None), sink.find("Contact", "ours")]
            replies += [sink.read("Contact/7"), sink.candidates({"resourceType": "Contact", "lastName": "A"}).reply]
        assert time.monotonic() - started < (timeout_for(name) + 1) * len(replies)
        assert server.asked == len(replies)
    if name == "endless":
        assert {reply.cause for reply in replies} == {"answer_too_long"}
    told = {reply.outcome for reply in replies}
    # To a create, whose id the API chooses, "other" is an id like any; what it shows is not what was sent now.
    assert told == ({Outcome.EXISTED} if name in NAMING_ANOTHER else {Outcome.UNKNOWN})


REDIRECTS = ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "file:///etc/passwd", "//localhost/", ""]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", REDIRECTS)
def test_a_redirect_is_not_followed(status: int, location: str) -> None:
    with hostile(saying(f"{status} Elsewhere\r\nLocation: {location}")) as server:
        sink = sink_of(server)
        replies: list[Reply] = [sink.create(PATIENT, "ours"), sink.read("Patient/ours")]
        assert server.asked == 2
    assert {(reply.outcome, reply.cause) for reply in replies} == {(Outcome.AUTH, "redirect")}


@pytest.mark.parametrize(
    ("etag", "kept"),
    [('W/"7"', 'W/"7"'), ('"abc"', '"abc"'), ("7", "7"), ('W/"' + "x" * 5_000 + '"', None), ("a\x01b", None)],
)
def test_a_version_that_could_not_be_stated_is_none(etag: str, kept: str | None) -> None:
    with hostile(saying(f"200 OK\r\nETag: {etag}", b'{"resourceType":"Patient","id":"ours"}')) as server:
        reply = sink_of(server).create(PATIENT, "ours")
    assert (reply.outcome, reply.etag) == (Outcome.LANDED, kept)


def test_a_create_without_an_id_is_unknown() -> None:
    with hostile(saying('201 Created\r\nETag: W/"1"', b'{"resourceType":"Patient"}')) as server:
        reply = sink_of(server, client_id=False).create(PATIENT, "ours")
    assert (reply.outcome, reply.cause) == (Outcome.UNKNOWN, "no_id")
