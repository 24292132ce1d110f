"""Deliveries that are signed and wrong, servers that refuse us, senders that hold on: nobody else waits for them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra import secrets
from connector_runner.intake.push.secret_rotation import own_secret
from connector_runner.sandbox import launch
from connector_runner.settings import Settings
from connector_runner.web import room, wire
from tests.integration.push_stack import Clinic, Ehr, named, send, serving, until

TOPIC = "https://sandbox.example/SubscriptionTopic/Patient"
SECRET = "what the sender knows"
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_SECRET", SECRET)


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def ehr(running: launch.Running) -> Ehr:
    return Ehr(running)


@pytest.fixture
def runner(database_url: str, redis_url: str) -> Iterator[Runner]:
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(database_url, redis_url))
    yield runner
    runner.database.dispose()
    runner.http.close()


@pytest.fixture
def web(runner: Runner) -> Iterator[str]:
    with serving(runner) as url:
        yield url


def clinic_of(runner: Runner, workspace: str, ehr: Ehr, resources: dict[str, Any] | None = None, **push: Any) -> Clinic:
    push = {"secrets": ["env:PUSH_SECRET"], "gap_grace_s": 1, **push}
    resources = resources or {"Patient": {"cadence_s": 30}}
    return Clinic(runner, workspace, {"base_url": ehr.system.base_url, "resources": resources, "push": push})


def push(web: str, clinic: Clinic, body: Any) -> int:
    return send(web + clinic.path, json.dumps(body).encode(), BEARER)[0]


def told(kind: str, total: Any, *numbers: Any, subscription: str = "s", **event: Any) -> dict[str, Any]:
    """A notification about Patient/1."""
    focus = {"reference": "Patient/1"}
    status = {
        "resourceType": "SubscriptionStatus", "type": kind, "eventsSinceSubscriptionStart": total,
        "subscription": {"reference": f"Subscription/{subscription}"},
        "notificationEvent": [{"eventNumber": n, "focus": focus, **event} for n in numbers],
    }  # fmt: skip
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}


@pytest.mark.parametrize("kind", ["handshake", "event-notification", "heartbeat"])
def test_a_count_that_no_column_holds_blocks_nothing(
    runner: Runner, workspace: str, ehr: Ehr, web: str, kind: str
) -> None:
    clinic = clinic_of(runner, workspace, ehr)
    ehr.put("1", **named("One"))
    assert push(web, clinic, told(kind, 10**30, 10**25)) == 200
    assert push(web, clinic, {"resourceType": "Patient", "id": "1", "meta": {"versionId": "1"}}) == 200
    clinic.work()
    assert clinic.family("1") == "One"
    assert clinic.pushes().get("pending") is None


def test_a_fault_of_ours_in_one_delivery_holds_up_no_other(
    runner: Runner, workspace: str, ehr: Ehr, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connector_runner.intake.push import hearing

    clinic = clinic_of(runner, workspace, ehr)
    ehr.put("1", **named("One"))
    assert push(web, clinic, told("handshake", 0)) == 200
    assert push(web, clinic, {"resourceType": "Patient", "id": "1", "meta": {"versionId": "1"}}) == 200

    def broken(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(hearing, "hear", broken)
    # What hears of events as well is not broken for the other one: it names no subscription.
    clinic.work()
    assert clinic.pushes().get("pending") is None
    assert [row["code"] for row in clinic.query("SELECT code FROM quarantine")][:1] == ["internal_error"]


def test_what_a_reference_type_is_pushed_for_is_read(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """What landed is good for a day only as long as nobody says that it changed."""
    clinic = clinic_of(runner, workspace, ehr, {"Practitioner": {"reference": True}})
    for version, family in (("1", "One"), ("2", "Two")):
        ehr.put("d", "Practitioner", **named(family))
        push(web, clinic, {"resourceType": "Practitioner", "id": "d", "meta": {"versionId": version}})
        clinic.work()
    (found,) = clinic.query("SELECT state FROM projection WHERE canonical_id = 'ehr:Practitioner:d'")
    assert found["state"]["name"]["family"] == "Two"


def test_one_of_an_earlier_life_gets_the_secret_of_this_one(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """It would be refused at our door until its end drew near."""
    clinic = clinic_of(runner, workspace, ehr, secrets=[], public_url=web, subscribe=["Patient"])
    old = {
        "resourceType": "Subscription", "status": "requested", "criteria": "Patient?", "reason": "x",
        "channel": {"type": "rest-hook", "endpoint": f"{web}{clinic.path}/Patient", "payload": "application/fhir+json",
                    "header": ["Authorization: Bearer of another life"]},
    }  # fmt: skip
    ehr.call("POST", f"{ehr.system.base_url}/Subscription", old)
    clinic.subscribed(ehr)
    with runner.database.begin(workspace) as tx:
        secret = secrets.resolve(f"secret:{own_secret(clinic.source.data_source_id)}", tx, workspace, runner.sealer)
    (there,) = ehr.subscriptions()
    assert there["channel"]["header"] == [f"Authorization: Bearer {secret}"]


def test_a_server_that_cannot_reach_us_is_not_asked_every_few_seconds(runner: Runner, workspace: str, ehr: Ehr) -> None:
    """Each handshake fails: the subscription is in error as often as it is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ehr.conduct(tries=1)
    topic = {"Patient": {"topic": TOPIC}}
    clinic = clinic_of(runner, workspace, ehr, secrets=[], public_url=f"http://127.0.0.1:{port}", subscribe=topic)
    clinic.keep()
    clinic.later(5)
    clinic.keep()
    polls = 0
    for _ in range(120):  # ten minutes
        until("refused", lambda: [s["status"] for s in ehr.subscriptions()] == ["error"])
        clinic.later(5)
        polls += len(clinic.keep())
    puts = [e for e in ehr.journal() if e["method"] == "PUT" and "/Subscription/" in e["path"]]
    assert 2 <= len(puts) <= 12
    assert polls <= 20
    assert clinic.kept()[0]["last_error_code"] == "subscription_error"


def test_deletes_of_a_day_are_counted_together(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """A trickle is as many as a flood."""
    clinic = clinic_of(runner, workspace, ehr)
    for n in range(12):
        ehr.put(str(n), **named("One"))
    clinic.later(60)
    clinic.poll()
    for n in range(10):
        ehr.delete(str(n))
        push(web, clinic, {"resourceType": "Patient", "id": str(n), "meta": {"versionId": "9"}})
        clinic.work()
        clinic.later(60)
    assert len(clinic.alive) == 12 - 5
    assert {row["code"] for row in clinic.query("SELECT code FROM quarantine")} == {"too_many_deletes"}
    clinic.later(90_000)
    push(web, clinic, {"resourceType": "Patient", "id": "9", "meta": {"versionId": "10"}})
    clinic.work()
    assert len(clinic.alive) == 12 - 6


def test_a_server_that_counts_anew_is_polled(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """What it would have told before it lost its count is known to nobody."""
    clinic = clinic_of(runner, workspace, ehr)
    ehr.put("1", **named("One"))
    push(web, clinic, told("event-notification", 50, 50))
    clinic.work()
    push(web, clinic, told("handshake", 3))
    worked = clinic.work()
    assert worked.polls == {"Patient"}


def test_a_gap_of_a_type_that_is_not_polled_is_told(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    topic = {"Patient": {"topic": TOPIC}}
    clinic = clinic_of(runner, workspace, ehr, {"Encounter": {}}, secrets=[], public_url=web, subscribe=topic)
    clinic.subscribed(ehr)
    ehr.conduct(operations=False, lose=1)
    ehr.put("lost", **named("Lost"))
    ehr.put("2", **named("Two"))
    until("stored", lambda: clinic.pushes().get("pending") == 2)
    clinic.work()
    clinic.later(2)
    clinic.keep()
    alerts = clinic.query("SELECT code, subject FROM alert WHERE kind = 'push_gap'")
    assert alerts == [{"code": "push_gap", "subject": "Patient"}]


def test_a_record_id_is_no_path(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    paths = {"type": "t", "id": "id", "types": {"p": "Patient"}}
    clinic = clinic_of(runner, workspace, ehr, parser="json_path", paths=paths)
    for record_id in ("../metadata", "1/_history", "1?_format=x", "..", "a b", "%2e%2e", "1\n", "#"):
        assert push(web, clinic, {"t": "p", "id": record_id}) == 400
    clinic = clinic_of(runner, workspace, ehr)
    assert push(web, clinic, {"resourceType": "Patient", "id": ".."}) == 400


def test_slow_bodies_take_no_place_from_others(
    runner: Runner, workspace: str, ehr: Ehr, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 5)
    clinic = clinic_of(runner, workspace, ehr)
    place = urlsplit(web)
    held = []
    for _ in range(10):
        connection = socket.create_connection((str(place.hostname), int(place.port or 0)))
        connection.sendall(f"POST {clinic.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
        held.append(connection)
    time.sleep(0.3)
    assert push(web, clinic, {"resourceType": "Patient", "id": "1"}) == 200
    for connection in held:
        connection.close()


@pytest.mark.parametrize("path", ["/nothing", "/health", "/hooks/a/b"])
def test_a_body_that_nobody_waits_for_holds_no_connection(web: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is out, and the rest of the body comes byte by byte."""
    monkeypatch.setattr(wire, "HEAD_DEADLINE_S", 2)
    place = urlsplit(web)
    with socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=1) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        began = time.monotonic()
        while time.monotonic() - began < 8:
            try:
                connection.sendall(b"x")
                if connection.recv(65536) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - began < 7
