"""What tests of pushes share: a simulated EHR that notifies, the real web server, and a worker's part done by hand."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import uvicorn

from connector_runner.bootstrap import Runner
from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.infra.database import rows
from connector_runner.intake import polling
from connector_runner.intake.push import subscribing, working
from connector_runner.intake.push.working import Worked
from connector_runner.kernel.clock import utc_now
from connector_runner.sandbox import launch
from connector_runner.web.app import create_app
from connector_runner.web.wire import Wire


@contextmanager
def serving(runner: Runner, port: int = 0) -> Iterator[str]:
    """The web application as it is served, in a thread, on the loopback; its address."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(create_app(runner), http=Wire, log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


class Ehr:
    """The simulated EHR as a test talks to it."""

    def __init__(self, system: launch.Running) -> None:
        self.system = system
        self.call("POST", f"{system.switchboard}/reset", {"empty": True})

    def call(self, method: str, url: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/fhir+json"}, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            content = answer.read()
        return json.loads(content) if content else None

    def put(self, record_id: str, kind: str = "Patient", **content: Any) -> None:
        body = {"resourceType": kind, "id": record_id, **content}
        self.call("PUT", f"{self.system.base_url}/{kind}/{record_id}", body)

    def delete(self, record_id: str, kind: str = "Patient") -> None:
        self.call("DELETE", f"{self.system.base_url}/{kind}/{record_id}")

    def faults(self, *orders: dict[str, Any]) -> None:
        self.call("PUT", f"{self.system.switchboard}/faults", list(orders))

    def conduct(self, **wanted: Any) -> Any:
        """How notifications go out."""
        return self.call("PUT", f"{self.system.switchboard}/subscriptions", wanted)

    def subscriptions(self) -> list[Any]:
        """The Subscription resources there are."""
        found = self.call("GET", f"{self.system.base_url}/Subscription?_count=100")
        return [entry["resource"] for entry in found.get("entry", [])]

    def reads(self, kind: str = "Patient") -> list[str]:
        """Records that were read directly."""
        prefix = f"/fhir/{kind}/"
        paths = [entry["path"] for entry in self.journal() if entry["method"] == "GET"]
        return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]

    def journal(self) -> list[dict[str, Any]]:
        """Every request so far."""
        found = self.call("GET", f"{self.system.switchboard}/journal")
        entries: list[dict[str, Any]] = found["entries"] if isinstance(found, dict) else found
        return entries


class Clinic:
    """A workspace with one source that is pushed to; a worker's tasks are run by hand, at a time of its own."""

    def __init__(self, runner: Runner, workspace: str, settings: dict[str, Any], *, name: str = "ehr") -> None:
        self.runner, self.workspace = runner, workspace
        self.slug = f"clinic-{workspace}"
        self.ahead = timedelta(0)
        self.source = self.apply({"name": name, "source_type": "fhir_store", "settings": settings})

    @property
    def now(self) -> datetime:
        return utc_now() + self.ahead

    def later(self, seconds: float) -> None:
        """Let the worker's clock go on."""
        self.ahead += timedelta(seconds=seconds)

    def apply(self, document: dict[str, Any]) -> DataSource:
        with self.runner.database.begin(self.workspace) as tx:
            return directory.apply(tx, self.workspace, document, actor="test", now=utc_now())[0].source

    @property
    def path(self) -> str:
        return f"/hooks/{self.slug}/{self.source.name}"

    def work(self, **how: Any) -> Worked:
        """What a hint of ``receive`` does."""
        return working.work_off(
            self.runner, self.workspace, self.source.data_source_id, owner="test", now=self.now, **how
        )

    def keep(self) -> list[str]:
        """What a hint of ``subscribe`` does."""
        return subscribing.keep(self.runner, self.workspace, self.source.data_source_id, now=self.now)

    def poll(self, kind: str = "Patient") -> Any:
        """What a hint of ``poll`` does, until the window is over."""
        while True:
            outcome = polling.poll(
                self.runner, self.workspace, self.source.data_source_id, kind, owner="test", now=self.now
            )
            if not outcome.more:
                return outcome

    def subscribed(self, ehr: Ehr) -> None:
        """Keep until each subscription is active there."""
        self.keep()
        self.later(5)
        self.keep()
        until("active", lambda: ehr.subscriptions() and all(s["status"] == "active" for s in ehr.subscriptions()))

    def kept(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM push_subscription ORDER BY name")

    def query(self, sql: str, **bound: Any) -> list[dict[str, Any]]:
        with self.runner.database.begin(self.workspace) as tx:
            return [dict(row) for row in rows(tx, sql, **bound)]

    def pushes(self) -> dict[str, int]:
        """Deliveries by state."""
        found = self.query("SELECT state, count(*) AS n FROM push GROUP BY state")
        return {row["state"]: row["n"] for row in found}

    @property
    def alive(self) -> set[str]:
        found = self.query("SELECT canonical_id FROM entity WHERE status = 'active'")
        return {row["canonical_id"].rpartition(":")[2] for row in found}

    def family(self, record_id: str) -> str | None:
        """The name that the state holds of a patient."""
        found = self.query(
            "SELECT state FROM projection WHERE canonical_id = :id", id=f"{self.source.name}:Patient:{record_id}"
        )
        return found[0]["state"].get("name", {}).get("family") if found else None


def named(family: str) -> dict[str, Any]:
    """What a patient resource says."""
    return {"name": [{"family": family}]}


def until(what: str, holds: Any, *, seconds: float = 60) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not {what} after {seconds} s"
        time.sleep(0.02)


def send(
    url: str, body: bytes | None = None, headers: dict[str, str] | None = None, method: str = "POST"
) -> tuple[int, str]:
    """One request; status and text of the answer."""
    request = urllib.request.Request(url, body, headers or {}, method=method)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
