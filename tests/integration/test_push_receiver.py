"""The receiver over real HTTP: what it takes, what it refuses, and that nothing is answered before it is stored."""

from __future__ import annotations

import gzip
import hmac
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra.database import Database
from connector_runner.intake.push import receiving
from connector_runner.settings import Settings
from connector_runner.web import hooks, wire
from tests.integration.push_stack import Clinic, send, serving

BODY = json.dumps({"resourceType": "Patient", "id": "7", "meta": {"versionId": "1"}}).encode()
SECRETS = {"PUSH_OLD": "an old secret", "PUSH_NEW": "a new secret"}
NOBODY = "redis://127.0.0.1:9/0"
CANARY = "Quatermass"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def runner(database_url: str, redis_url: str) -> Iterator[Runner]:
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(database_url, redis_url))
    yield runner
    runner.database.dispose()


@pytest.fixture
def web(runner: Runner) -> Iterator[str]:
    with serving(runner) as url:
        yield url


def clinic_of(runner: Runner, workspace: str, **push: Any) -> Clinic:
    push = {"scheme": "x_hub_signature_256", "secrets": ["env:PUSH_OLD", "env:PUSH_NEW"], **push}
    settings = {"base_url": "http://127.0.0.1:9/fhir", "resources": {"Patient": {"cadence_s": 30}}, "push": push}
    return Clinic(runner, workspace, settings)


@pytest.fixture
def clinic(runner: Runner, workspace: str) -> Clinic:
    return clinic_of(runner, workspace)


def signed(body: bytes, secret: str = SECRETS["PUSH_NEW"]) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()}


@pytest.mark.parametrize("secret", SECRETS.values())
def test_any_active_secret_opens_the_door(web: str, clinic: Clinic, secret: str) -> None:
    assert send(web + clinic.path, BODY, signed(BODY, secret)) == (200, "")
    assert clinic.pushes() == {"pending": 1}


def test_a_repeat_is_answered_and_changes_nothing(web: str, clinic: Clinic) -> None:
    for _ in range(3):
        assert send(web + clinic.path, BODY, signed(BODY)) == (200, "")
    assert clinic.pushes() == {"pending": 1}
    clinic.query("UPDATE push SET state = 'done', settled_at = now() RETURNING push_id")
    assert send(web + clinic.path, BODY, signed(BODY))[0] == 200
    assert clinic.pushes() == {"done": 1}


def test_what_cannot_be_told_apart_is_worked_off_once_more(web: str, clinic: Clinic) -> None:
    """Without a version two pushes of a record may be of two changes."""
    body = b'{"resourceType": "Patient", "id": "7"}'
    send(web + clinic.path, body, signed(body))
    clinic.query("UPDATE push SET state = 'done', settled_at = now() RETURNING push_id")
    send(web + clinic.path, body, signed(body))
    assert clinic.pushes() == {"pending": 1}


def test_one_that_comes_while_it_is_worked_off_is_not_settled_with_it(web: str, clinic: Clinic) -> None:
    from connector_runner.intake.push import push_store

    body = b'{"resourceType": "Patient", "id": "7"}'
    send(web + clinic.path, body, signed(body))
    database, ids = clinic.runner.database, (clinic.workspace, clinic.source.data_source_id)
    with database.begin(clinic.workspace) as tx:
        turn = push_store.take_turn(tx, *ids, owner="a", now=clinic.now, lease_until=clinic.now)
        assert turn is not None
        batch = push_store.due(tx, turn, clinic.now, 10)
    send(web + clinic.path, body, signed(body))
    with database.begin(clinic.workspace) as tx:
        push_store.settle(tx, turn, batch, "done", clinic.now)
    assert clinic.pushes() == {"pending": 1}
    assert clinic.query("SELECT count(*) AS n FROM push_body") == [{"n": 1}]


REFUSED = [
    ({}, BODY, 401, "signature_missing"),
    ({"X-Hub-Signature-256": "sha256=00"}, BODY, 401, "signature_wrong"),
    (signed(BODY, "another"), BODY, 401, "signature_wrong"),
    (signed(BODY), BODY + b" ", 401, "signature_wrong"),
    (signed(b"{"), b"{", 400, "not_json"),
    (signed(b"\xff"), b"\xff", 400, "not_utf8"),
    (signed(b"[]"), b"[]", 400, "malformed"),
    (signed(b""), b"", 400, "malformed"),
    (signed(b"[" * 5000), b"[" * 5000, 400, "too_deep"),
    (signed(b'{"resourceType": "Bundle", "type": "history"}'), b'{"resourceType": "Bundle", "type": "history"}', 400,
     "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "body", "status", "code"), REFUSED)
def test_what_is_wrong_is_refused(
    web: str, clinic: Clinic, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    assert send(web + clinic.path, body, headers) == (status, code)
    assert clinic.pushes() == {}


@pytest.mark.parametrize("path", ["/hooks/nobody/ehr", "/hooks/{slug}/other", "/hooks/{slug}/EHR!", "/hooks/{slug}/%00",
                                  "/hooks/{slug}/{id}"])  # fmt: skip
def test_an_unknown_source_is_404_whatever_is_signed(web: str, clinic: Clinic, path: str) -> None:
    path = path.format(slug=clinic.slug, id=clinic.source.data_source_id)
    assert send(web + path, BODY, signed(BODY)) == (404, "unknown")


def test_a_disabled_source_and_one_without_pushes_are_unknown(web: str, clinic: Clinic) -> None:
    settings = {"base_url": "http://127.0.0.1:9/fhir"}
    clinic.apply({"name": "plain", "source_type": "fhir_store", "settings": settings})
    assert send(f"{web}/hooks/{clinic.slug}/plain", BODY, signed(BODY))[0] == 404


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_are_405(web: str, clinic: Clinic, method: str) -> None:
    assert send(web + clinic.path, None, signed(BODY), method=method)[0] == 405


def test_put_with_a_record_in_the_path(web: str, clinic: Clinic) -> None:
    assert send(f"{web}{clinic.path}/Patient/7", BODY, signed(BODY), method="PUT") == (200, "")
    assert send(f"{web}{clinic.path}/Patient/8", BODY, signed(BODY), method="PUT") == (400, "malformed")


def _raw(web: str, *parts: bytes, read_s: float = 15) -> bytes:
    """What comes back when bytes are sent as they are, up to when the other side closes."""
    host, port = re.findall(r"//([^:]+):(\d+)", web)[0]
    with socket.create_connection((host, int(port)), timeout=read_s) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except OSError:
            return answer
        return answer


def _head(clinic: Clinic, *lines: str) -> bytes:
    return "\r\n".join([f"POST {clinic.path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def test_too_long_is_refused_before_it_is_read(web: str, clinic: Clinic) -> None:
    """Not one byte of the body is sent, and the answer comes."""
    answer = _raw(web, _head(clinic, "Content-Length: 2097152"))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_two_megabytes_are_refused(web: str, clinic: Clinic) -> None:
    body = b" " * 2 * 1024 * 1024
    answer = _raw(web, _head(clinic, f"Content-Length: {len(body)}"), body)
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b"", "refused, or cut off while it was still sending"
    assert clinic.pushes() == {}


def test_a_chunked_body_is_cut_off_at_the_cap(web: str, clinic: Clinic) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = _raw(web, _head(clinic, "Transfer-Encoding: chunked"), chunk * 17)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_megabyte_is_taken(web: str, clinic: Clinic) -> None:
    filler = "x" * (receiving.MAX_BYTES - 200)
    body = json.dumps({"resourceType": "Patient", "id": "7", "text": filler}).encode()
    assert send(web + clinic.path, body, signed(body)) == (200, "")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity"])
def test_compressed_bodies_are_refused(web: str, clinic: Clinic, encoding: str) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    headers = {**signed(bomb), "Content-Encoding": encoding}
    assert send(web + clinic.path, bomb, headers) == (415, "content_encoding")


@pytest.mark.parametrize("length", ["-1", "1e3", "9999999999999999999999", "5, 6"])
def test_a_length_that_is_none_is_refused(web: str, clinic: Clinic, length: str) -> None:
    answer = _raw(web, _head(clinic, f"Content-Length: {length}"), b"x")
    assert answer.split()[1] in (b"400", b"413")


def test_a_body_shorter_than_it_says_is_not_stored(web: str, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "BODY_DEADLINE_S", 0.3)
    header = f"X-Hub-Signature-256: {signed(BODY)['X-Hub-Signature-256']}"
    answer = _raw(web, _head(clinic, f"Content-Length: {len(BODY) + 10}", header), BODY)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert clinic.pushes() == {}


def test_a_head_that_never_ends_is_hung_up_on(web: str, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEAD_DEADLINE_S", 0.3)
    began = time.monotonic()
    assert _raw(web, b"POST /hooks/x/y HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""
    assert time.monotonic() - began < 5
    assert _raw(web, b"") == b"", "nor is a connection kept that says nothing"


def test_redis_down_loses_nothing(database_url: str, workspace: str, database: Database) -> None:
    """The hint is lost; what is stored is found by the sweep."""
    from connector_runner.infra.queue import RECEIVE
    from connector_runner.kernel.clock import utc_now
    from connector_runner.observability import overdue

    runner = Runner(Settings(), Addresses(database_url, NOBODY))
    clinic = clinic_of(runner, workspace)
    with serving(runner) as web:
        began = time.monotonic()
        assert send(web + clinic.path, BODY, signed(BODY)) == (200, "")
        assert time.monotonic() - began < 2
    hinted = [dict(hint.arguments) for hint in overdue.find(database, now=utc_now()) if hint.task == RECEIVE]
    assert {"workspace_id": workspace, "data_source_id": clinic.source.data_source_id} in hinted
    runner.database.dispose()


def test_without_postgres_nothing_is_taken(runner: Runner, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(runner) as web:
        send(web + clinic.path, BODY, {})  # the door is known from here on

        def refuse(*_: object, **__: object) -> None:
            from connector_runner.kernel.errors import Unavailable

            raise Unavailable("Postgres cannot be used now", code="database_unavailable")

        monkeypatch.setattr(Database, "begin", refuse)
        status, code = send(web + clinic.path, BODY, signed(BODY))
    assert (status, code) == (503, "unavailable")


def test_a_secret_that_cannot_be_read_shuts_out_no_other(runner: Runner, workspace: str) -> None:
    clinic = clinic_of(runner, workspace, secrets=["env:PUSH_GONE", "env:PUSH_NEW"])
    with serving(runner) as web:
        assert send(web + clinic.path, BODY, signed(BODY))[0] == 200
    gone = clinic_of(runner, workspace, secrets=["env:PUSH_GONE"])
    with serving(runner) as web:
        assert send(web + gone.path, BODY, signed(BODY)) == (503, "unavailable")


def test_bodies_are_sealed_and_nothing_is_logged(web: str, clinic: Clinic, capfd: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"resourceType": "Patient", "id": "7", "name": [{"family": CANARY}]}).encode()
    send(f"{web}{clinic.path}/Patient/7?name={CANARY}", body, signed(body))
    send(f"{web}{clinic.path}/Patient/{CANARY}", b"{", signed(b"{"))
    send(f"{web}/hooks/{CANARY}/{CANARY}", body, {"X-Name": CANARY})
    (kept,) = clinic.query("SELECT sealed FROM push_body")
    assert CANARY.encode() not in bytes(kept["sealed"])
    (row,) = clinic.query("SELECT row_to_json(push)::text AS text FROM push")
    assert CANARY not in row["text"]
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err


def test_hubspot_signs_the_public_url(runner: Runner, workspace: str) -> None:
    """Behind a proxy the process hears of another host."""
    import base64

    paths = {"type": "subscriptionType", "id": "objectId", "types": {"contact.creation": "Patient"}}
    clinic = clinic_of(
        runner, workspace, scheme="hubspot_v3", parser="json_path", paths=paths, public_url="https://hooks.example.com"
    )
    body = json.dumps([{"subscriptionType": "contact.creation", "objectId": 7}]).encode()
    stamp = str(int(time.time() * 1000))
    text = f"POSThttps://hooks.example.com{clinic.path}?a=b".encode() + body + stamp.encode()
    made = base64.b64encode(hmac.new(SECRETS["PUSH_OLD"].encode(), text, "sha256").digest()).decode()
    headers = {"X-HubSpot-Signature-v3": made, "X-HubSpot-Request-Timestamp": stamp}
    with serving(runner) as web:
        assert send(f"{web}{clinic.path}?a=b", body, headers) == (200, "")
        assert send(f"{web}{clinic.path}?a=c", body, headers) == (401, "signature_wrong")
    assert clinic.pushes() == {"pending": 1}
