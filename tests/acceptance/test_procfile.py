"""The Procfile against Postgres and Redis that are given from outside, with twice the workers."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import requests

from tests.acceptance.stack import a_stack, ehr_settings, store_settings, wait_for

PROCESSES = ("release", "web", "worker_cpu", "worker_io", "beat", "flower")


def a_free_base() -> int:
    """A port from which on honcho's (one a line of the Procfile, a hundred apart) are free.

    Below those of embedded servers, and of connections: what is free now is not taken by chance before honcho binds it.
    """
    while True:
        base = random.randrange(10_000, 13_800)
        try:
            for number in range(len(PROCESSES) * 2):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", base + 100 * number))
        except OSError:
            continue
        return base


def ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


def counted(web: str, name: str) -> bool:
    return f"connector_runner_{name}_total{{" in requests.get(f"{web}/metrics", timeout=60).text


def test_honcho_runs_the_procfile_and_twice_the_workers_need_no_other_change(tmp_path: Path) -> None:
    with a_stack(tmp_path) as stack:
        ehr = stack.sandbox("ehr", "--seed", "6", "--patients", "4")
        store = stack.sandbox("store")
        stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
        stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir)))
        base = a_free_base()
        stack.environment["PATH"] = f"{Path(stack.python).parent}:{stack.environment['PATH']}"
        stack.start("start", "-p", str(base), "-c", "all=1,worker_io=2,worker_cpu=2", module="honcho")
        wait_for("the web process", lambda: ready(f"http://127.0.0.1:{base + 100}"))
        wait_for("four workers", lambda: len(stack.status()["workers"]) >= 4, every_s=1)
        wait_for("the population", lambda: len(store.every("Patient")) == len(ehr.every("Patient")), every_s=1)
        stack.settled()
        web = f"http://127.0.0.1:{base + 100}"
        wait_for("what the workers counted", lambda: counted(web, "writes") and counted(web, "polls"), every_s=1)
        # Who was read before their doctor was is told of twice, and has something to say each time.
        assert store.repeated() == []
        page = requests.get(f"http://127.0.0.1:{base + 100}/", timeout=10).text
        assert "store" in page
        names = [part for patient in ehr.every("Patient") for name in patient["name"] for part in name["given"]]
        assert not [name for name in names if f" {name} " in page]
