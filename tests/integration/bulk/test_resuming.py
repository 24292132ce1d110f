"""Exports that were cut off, where their token goes, and who starts them: a command and tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from connector_runner.auth.settings import Auth
from connector_runner.cli.main import app
from connector_runner.connectors.fhir.bulk import client
from connector_runner.connectors.fhir.bulk.settings import BulkSettings
from connector_runner.infra.http import Answer
from connector_runner.intake.bulk import fetching, running, store
from connector_runner.intake.opening import opening_of
from connector_runner.kernel.errors import Misconfigured, Unavailable
from connector_runner.settings import PROJECT_ROOT
from tests.integration.bulk.stack import Clinic, Server, import_of

_KILLED = """
import sys
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.intake.bulk import running
from connector_runner.settings import Settings
runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(sys.argv[1], sys.argv[2]))
running.run_to_end(runner, sys.argv[3], sys.argv[4])
"""


def test_killed_midway_it_is_gone_on_with_file_by_file(
    clinic: Clinic, server: Server, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it fetches; what it stored is neither fetched nor landed again."""
    monkeypatch.setattr(store, "LEASE_S", 1.0)
    server.behave(export_file_lines=1)
    server.patients(*range(60))
    server.faults({"on": "GET $export-file/*", "kind": "slow", "seconds": 0.05})
    clinic.apply(connections=1)
    export_id = clinic.ask(types=("Patient",))
    words = [sys.executable, "-c", _KILLED, database_url, redis_url, clinic.workspace, export_id]
    process = subprocess.Popen(words, cwd=PROJECT_ROOT)
    try:
        deadline = time.monotonic() + 60
        while clinic.query("SELECT count(*) AS n FROM import_file")[0]["n"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    before = running.standing(clinic.deps, clinic.workspace, export_id)
    assert (before["state"], before["fetched"] < 60) == ("fetching", True)
    clinic.run("UPDATE export_job SET lease_until = now()")
    clinic.run("UPDATE export_file SET lease_until = now() WHERE state = 'running'")
    clinic.run("UPDATE import_file SET lease_until = now()")
    server.faults()
    outcome = running.run_to_end(clinic.deps, clinic.workspace, export_id)
    assert (outcome["state"], outcome["fetched"], outcome["lines"], outcome["restarts"]) == ("completed", 60, 60, 0)
    assert len(clinic.names()) == 60
    assert clinic.events("created") == 60
    fetched = [entry["path"] for entry in server.asked("GET", "$export-file")]
    assert len(fetched) - len(set(fetched)) <= 32  # those that were leased and not stored yet


@pytest.mark.parametrize("ranges", [True, False])
def test_a_large_file_goes_on_where_it_was_cut(
    clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    """The connection breaks in the middle: behind the last stored line with ranges, from the begin without."""
    monkeypatch.setattr(fetching, "PIECE_BYTES", 2000)
    server.behave(export_ranges=ranges)
    server.patients(*range(200))
    given: list[int] = []
    whole = client.BulkClient.fetch

    def cut(self: client.BulkClient, url: str, **how: Any) -> None:
        given.append(how["position"])
        begin = how["begin"]

        def begins(arriving: client.Arriving) -> Any:
            take = begin(arriving)
            taken = 0

            def some(data: bytes) -> None:
                nonlocal taken
                for at in range(0, len(data), 1000):
                    taken += 1000
                    if len(given) == 1 and taken > 9000:
                        raise Unavailable("cut", code="cut")
                    take(data[at : at + 1000])

            return some

        whole(self, url, **{**how, "begin": begins})

    monkeypatch.setattr(client.BulkClient, "fetch", cut)
    export_id = clinic.ask(types=("Patient",))
    clinic.slice(export_id)
    clinic.hurry(export_id)
    outcome = running.run_to_end(clinic.deps, clinic.workspace, export_id)
    assert given[0] == 0
    assert 6000 < given[1] < 9000
    assert (outcome["lines"], outcome["problems"], outcome["events_created"]) == (200, [], 200)
    assert bool(outcome["events_skipped"]) is not ranges


def test_the_token_goes_where_the_manifest_asks_for_it_and_to_no_other_origin(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for: to the server's own origin; elsewhere the export stops. Not asked for: nowhere."""
    sent: list[tuple[str, str | None]] = []
    token = {"kind": "bearer", "token": "env:EHR_TOKEN"}
    monkeypatch.setenv("EHR_TOKEN", "t0ken")

    def answered(method: str, url: str, *, headers: Any, into: Any, **_: Any) -> Answer:
        sent.append((url, headers.get("Authorization")))
        into(200, {})(b"")
        return Answer(200, {}, b"", url)

    typed = clinic.source.settings.model_copy(update={"auth": TypeAdapter(Auth).validate_python(token)})
    opening = replace(opening_of(clinic.deps, clinic.source), http=SimpleNamespace(request=answered), gate=None)
    bulk = client.BulkClient(opening, typed)
    here, elsewhere = f"{clinic.base_url}/file/1", "https://files.example/1"
    how: dict[str, Any] = {"position": 0, "etag": None, "begin": lambda arriving: lambda data: None}
    bulk.fetch(here, authorized=True, **how)
    bulk.fetch(elsewhere, authorized=False, **how)
    assert sent == [(here, "Bearer t0ken"), (elsewhere, None)]
    with pytest.raises(Misconfigured) as caught:
        bulk.fetch(elsewhere, authorized=True, **how)
    assert (caught.value.code, len(sent)) == ("foreign_link", 2)
    trusting = typed.model_copy(update={"bulk": BulkSettings(token_origins=("https://files.example",))})
    client.BulkClient(opening, trusting).fetch(elsewhere, authorized=True, **how)
    assert sent[-1] == (elsewhere, "Bearer t0ken")


def test_the_command(
    clinic: Clinic, server: Server, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DATABASE_URL": database_url, "REDIS_URL": redis_url,
                        "CONNECTOR_RUNNER_HTTP_ALLOW": "127.0.0.1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server.patients(1, 2)
    server.weights(1)
    words = ["source", "export", "ehr", "--patient", "--type", "Patient,Observation", "--workspace", clinic.workspace]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert (outcome["state"], outcome["events_created"], outcome["adopted"], outcome["failed"]) == (
        "completed",
        3,
        False,
        0,
    )
    told = CliRunner().invoke(app, words)
    assert "completed" in told.stdout
    listed = CliRunner().invoke(app, ["source", "exports", "ehr", "--workspace", clinic.workspace, "--json"])
    assert [one["state"] for one in json.loads(listed.stdout)["exports"]] == ["completed", "completed"]
    both = CliRunner().invoke(app, ["source", "export", "ehr", "--patient", "--system"])
    assert both.exit_code == 2


_WORK = """
import sys
import time
from tasks.bulk import export
from tasks.imports import import_bundle
ids = {"workspace_id": sys.argv[1]}
for _ in range(30):
    export(**ids, export_id=sys.argv[2])
    import_bundle(**ids, import_id=sys.argv[3])
    time.sleep(0.2)
"""


def test_the_tasks_bring_it_to_its_end(clinic: Clinic, server: Server, database_url: str, redis_url: str) -> None:
    server.patients(1, 2)
    export_id = clinic.ask()
    environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url,
                   "CONNECTOR_RUNNER_HTTP_ALLOW": "127.0.0.1"}  # fmt: skip
    words = [sys.executable, "-c", _WORK, clinic.workspace, export_id, import_of(clinic, export_id)]
    done = subprocess.run(words, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    outcome = running.outcome_of(clinic.deps, clinic.workspace, export_id)
    assert (outcome["state"], outcome["events_created"]) == ("completed", 2)
