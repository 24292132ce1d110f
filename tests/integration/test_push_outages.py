"""What is answered 200 is stored, while Redis or Postgres is stopped for real."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra import migrations
from connector_runner.infra.embedded import REDIS, restart_postgres, restart_redis, stop_services
from connector_runner.infra.embedded.ephemeral import EphemeralServices
from connector_runner.infra.queue import RECEIVE
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import overdue
from connector_runner.settings import Settings
from tests.integration.push_stack import Clinic, send, serving

BEARER = {"Authorization": "Bearer what the sender knows"}


@pytest.fixture(scope="module")
def servers() -> Iterator[EphemeralServices]:
    """Servers of our own, to be stopped."""
    with EphemeralServices() as ephemeral:
        migrations.upgrade(ephemeral.services.database_url)
        yield ephemeral


@pytest.fixture
def clinic(servers: EphemeralServices, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    monkeypatch.setenv("PUSH_SECRET", BEARER["Authorization"].removeprefix("Bearer "))
    services = servers.services
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(services.database_url, services.redis_url))
    workspace = _workspace(runner)
    settings = {
        "base_url": "http://127.0.0.1:9/fhir",
        "resources": ["Patient"],
        "push": {"secrets": ["env:PUSH_SECRET"]},
    }
    yield Clinic(runner, workspace, settings)
    runner.database.dispose()


def _workspace(runner: Runner) -> str:
    from connector_runner.infra.database import execute
    from connector_runner.kernel.ids import new_id

    workspace = new_id()
    with runner.database.begin(workspace) as tx:
        slug = f"clinic-{workspace}"
        execute(tx, "INSERT INTO workspace (workspace_id, slug, name) VALUES (:w, :s, :s)", w=workspace, s=slug)
    return workspace


def body(n: int) -> bytes:
    return json.dumps({"resourceType": "Patient", "id": str(n), "meta": {"versionId": "1"}}).encode()


def test_with_redis_stopped_all_is_taken_and_found(servers: EphemeralServices, clinic: Clinic) -> None:
    with serving(clinic.runner) as web:
        assert send(web + clinic.path, body(0), BEARER)[0] == 200
        stop_services(servers.home, (REDIS,))
        try:
            began = time.monotonic()
            assert {send(web + clinic.path, body(n), BEARER)[0] for n in range(1, 50)} == {200}
            assert time.monotonic() - began < 10
            assert clinic.pushes() == {"pending": 50}
            hints = [hint for hint in overdue.find(clinic.runner.database, now=utc_now()) if hint.task == RECEIVE]
            assert {"workspace_id": clinic.workspace, "data_source_id": clinic.source.data_source_id} in [
                dict(hint.arguments) for hint in hints
            ]
        finally:
            restart_redis(servers.home)


def test_with_postgres_stopped_nothing_is_answered_that_is_not_stored(
    servers: EphemeralServices, clinic: Clinic
) -> None:
    """Senders go on while it dies and comes back; nobody hangs, and it needs no restart of ours."""
    answers: dict[int, tuple[int, float]] = {}
    over = threading.Event()

    def sender(first: int) -> None:
        n = first
        while not over.is_set():
            began = time.monotonic()
            status = send(web + clinic.path, body(n), BEARER)[0]
            answers[n] = (status, time.monotonic() - began)
            n += 8

    with serving(clinic.runner) as web:
        threads = [threading.Thread(target=sender, args=(1000 + n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        restart_postgres(servers.home)
        time.sleep(3)
        over.set()
        for thread in threads:
            thread.join(30)
        assert send(web + clinic.path, body(1), BEARER)[0] == 200
    assert {status for status, _ in answers.values()} == {200, 503}
    assert max(seconds for _, seconds in answers.values()) < 10
    taken = sum(status == 200 for status, _ in answers.values()) + 1
    known = sum(status == 503 for status, _ in answers.values())
    stored = clinic.pushes()["pending"]
    assert taken <= stored <= taken + known
    # A sender that was refused sends again: then it is there, once.
    with serving(clinic.runner) as web:
        for n in answers:
            assert send(web + clinic.path, body(n), BEARER)[0] == 200
    assert clinic.pushes() == {"pending": len(answers) + 1}


def test_a_connection_to_a_server_that_vanished_is_given_up(clinic: Clinic) -> None:
    """A machine that is gone says nothing, and nobody waits for it for hours."""
    with clinic.runner.database.begin(clinic.workspace) as tx:
        connection = tx.connection.dbapi_connection
        assert connection is not None
        known = connection.get_dsn_parameters()  # type: ignore[attr-defined]
    assert int(known["keepalives_idle"]) + int(known["keepalives_interval"]) * int(known["keepalives_count"]) <= 60
    assert 0 < int(known["tcp_user_timeout"]) <= 60_000
