"""How soon the web process answers what is pushed at a steady rate, and how soon a change at an EHR is in the state.

The first sends signed deliveries to the real web process at ``--rate`` a second over connections that stay open, each
stored in Postgres before it is answered. The second has the simulated EHR notify by rest-hook, with real workers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil

from benchmarks.machine import ROOT, Bench, bench, report
from connector_runner.connectors import directory
from connector_runner.infra.database import Database, one, rows
from connector_runner.kernel.clock import utc_now
from connector_runner.sandbox import launch

SECRET = "a secret of the benchmark"  # noqa: S105 - signs nothing but this run


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _figures(seconds: list[float]) -> dict[str, object]:
    names = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    found: dict[str, object] = {f"{name}_ms": round(1000 * _percentile(seconds, share), 1) for name, share in names}
    return found | {"max_ms": round(1000 * max(seconds), 1), "n": len(seconds)}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def process(servers: Bench, *words: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the product, ended at the end."""
    environment = servers.environment() | {"PUSH_BENCH_SECRET": SECRET} | more
    running = subprocess.Popen(
        [sys.executable, "-m", "connector_runner.cli", *words], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(40)


@contextlib.contextmanager
def web(servers: Bench) -> Iterator[tuple[str, psutil.Process]]:
    """The web process: its address, and itself."""
    port = _free_port()
    with process(servers, "web", "--port", str(port)) as running:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", psutil.Process(running.pid)


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> float:
    """One delivery; the seconds until its answer was there."""
    made = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/fhir+json\r\n"
        f"X-Hub-Signature-256: sha256={made}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    began = time.perf_counter()
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    took = time.perf_counter() - began
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"answered {answer[:60]!r}")
    return took


async def _drive(
    address: str, path: str, rate: float, seconds: float, connections: int, *, first: int = 0
) -> list[float]:
    """Deliveries on a fixed grid, whatever the answers take; each waits for a connection that is free."""
    host, port = address.removeprefix("http://").split(":")
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection(host, int(port)))
    took: list[float] = []

    async def deliver(n: int) -> None:
        due = time.perf_counter()
        pair = await free.get()
        waited = time.perf_counter() - due
        body = json.dumps(
            {"resourceType": "Patient", "id": str(first + n), "meta": {"versionId": "1"}, "x": "y" * 1000}
        )
        took.append(waited + await _send(*pair, path, body.encode()))
        free.put_nowait(pair)

    began = time.perf_counter()
    running = []
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
        running.append(asyncio.create_task(deliver(n)))
    await asyncio.gather(*running)
    return took


def answers(servers: Bench, rate: float, seconds: float) -> None:
    """How soon deliveries are answered."""
    workspace_id = servers.workspace("answers")
    database = servers.database()
    settings = {
        "base_url": "http://127.0.0.1:9/fhir",
        "push": {"scheme": "x_hub_signature_256", "secrets": ["env:PUSH_BENCH_SECRET"]},
    }
    _apply(database, workspace_id, settings)
    with web(servers) as (address, receiver):
        asyncio.run(_drive(address, "/hooks/answers/ehr", 20, 3, 4, first=1_000_000))
        before, ours, theirs = _stored(database, workspace_id), sum(receiver.cpu_times()[:2]), servers.postgres_cpu_s()
        took = asyncio.run(_drive(address, "/hooks/answers/ehr", rate, seconds, 64))
        cpu = {
            "cpu_ms_each": round(1000 * (sum(receiver.cpu_times()[:2]) - ours) / len(took), 2),
            "postgres_cpu_ms_each": round(1000 * (servers.postgres_cpu_s() - theirs) / len(took), 2),
            "new": _stored(database, workspace_id) - before,
        }
    report("push_answers", _figures(took) | cpu | {"rate": rate, "load": round(os.getloadavg()[0], 1)})
    database.dispose()


def _apply(database: Database, workspace_id: str, settings: dict[str, Any]) -> None:
    document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
    with database.begin(workspace_id) as tx:
        directory.apply(tx, workspace_id, document, actor="benchmark", now=utc_now())


def _stored(database: Database, workspace_id: str) -> int:
    with database.begin(workspace_id) as tx:
        row = one(tx, "SELECT count(*) AS n FROM push")
    return int(row["n"]) if row else 0


def changes(servers: Bench, count: int) -> None:
    """How soon a change at the EHR is in the state, by rest-hook; polls are a minute apart."""
    workspace_id = servers.workspace("changes")
    database = servers.database()
    with launch.start("store") as ehr, web(servers) as (address, _), process(servers, "worker", "--pool", "io"):
        with process(servers, "beat"):
            settings = {
                "base_url": ehr.base_url,
                "resources": {"Patient": {"cadence_s": 3600}},
                "push": {"public_url": address, "subscribe": ["Patient"]},
            }
            _apply(database, workspace_id, settings)
            _wait(lambda: _subscribed(ehr), "subscribed")
            took = [_change(database, workspace_id, ehr, n) for n in range(count)]
    report("push_to_state", _figures(took) | {"load": round(os.getloadavg()[0], 1)})
    database.dispose()


def _subscribed(ehr: launch.Running) -> bool:
    with urllib.request.urlopen(f"{ehr.base_url}/Subscription", timeout=10) as answer:  # noqa: S310 - our own
        found = json.loads(answer.read())
    return [entry["resource"]["status"] for entry in found.get("entry", [])] == ["active"]


def _change(database: Database, workspace_id: str, ehr: launch.Running, n: int) -> float:
    body = json.dumps({"resourceType": "Patient", "id": str(n % 20), "birthDate": f"{1930 + n % 80}-01-01"}).encode()
    url = f"{ehr.base_url}/Patient/{n % 20}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/fhir+json"}, method="PUT")  # noqa: S310
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - our own
        pass
    wanted = f"{1930 + n % 80}-01-01"
    _wait(lambda: _birth_date(database, workspace_id, n % 20) == wanted, "in the state")
    took = time.perf_counter() - began
    time.sleep(0.2)
    return took


def _birth_date(database: Database, workspace_id: str, n: int) -> str | None:
    with database.begin(workspace_id) as tx:
        found = rows(tx, "SELECT state FROM projection WHERE canonical_id = :id", id=f"ehr:Patient:{n}")
    return found[0]["state"].get("birth_date") if found else None


def _wait(holds: Any, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not {what} after {seconds:g} s")
        time.sleep(0.02)


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--changes", type=int, default=100)
    chosen = parser.parse_args()
    with bench() as servers:
        answers(servers, chosen.rate, chosen.seconds)
        changes(servers, chosen.changes)


if __name__ == "__main__":
    main()
