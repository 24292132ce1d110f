"""A canary patient goes down every failing path, and is looked for wherever she must not be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from tests.acceptance.stack import Sandbox, Stack, a_stack, ehr_settings, store_settings, wait_for

CANARY = ("Zyzzyvacanary", "zyzzyva@canary.example", "617-555-0142", "6175550142", "1931-07-09")
FLOWER = ("ops", "ops-password")


def a_canary(resource_id: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": resource_id,
        "name": [{"family": CANARY[0], "given": ["Ida"]}],
        "telecom": [{"system": "phone", "value": CANARY[2]}, {"system": "email", "value": CANARY[1]}],
        "birthDate": CANARY[4],
    } | more


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with a_stack(tmp_path_factory.mktemp("canary")) as made:
        yield made


@pytest.fixture(scope="module")
def flower(stack: Stack) -> str:
    port = _free_port()
    stack.environment["PORT"] = str(port)
    stack.start("flower")
    url = f"http://127.0.0.1:{port}"
    wait_for("Flower", lambda: _answers(url), timeout_s=60)
    return url


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 401
    except requests.ConnectionError:
        return False


def fail_in_every_way(stack: Stack, ehr: Sandbox, store: Sandbox) -> None:
    """Bad records, bad files with a telling name, refused writes, lost answers, errors that quote the record."""
    folder = stack.folder / "drop"
    folder.mkdir()
    named = folder / f"{CANARY[0]}_Ida.json"
    named.write_text(json.dumps(a_canary("c1", birthDate=f"{CANARY[4]}-{CANARY[0]}")))
    (folder / "cut.ndjson").write_text(json.dumps(a_canary("c2")) + "\n" + json.dumps(a_canary("c3"))[:90])
    stack.cli("import", str(folder), "--source", "partner")
    requests.put(f"{ehr.fhir}/Patient/canary", json=a_canary("canary"), timeout=10).raise_for_status()
    requests.put(f"{ehr.fhir}/Patient/odd", json=a_canary("odd"), timeout=10).raise_for_status()
    store.put(
        "_sandbox/faults",
        [{"on": "PUT Patient", "kind": "status", "status": 422, "next": 2},
         {"on": "PUT Patient", "kind": "drop_answer", "next": 2},
         {"on": "PUT Patient", "kind": "html", "status": 500, "next": 1}],
    )  # fmt: skip


def test_a_canary_is_nowhere_that_she_must_not_be(stack: Stack, flower: str) -> None:
    ehr = stack.sandbox("ehr", "--seed", "4", "--patients", "2")
    store = stack.sandbox("store")
    fail_in_every_way(stack, ehr, store)
    stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
    stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir)))
    for arguments in (("worker", "--pool", "io"), ("worker", "--pool", "cpu"), ("beat",)):
        stack.start(*arguments)
    wait_for("the canary", lambda: stack.cli("entity", "list", "--entity-type", "patient")["total"] >= 4, every_s=1)
    bad = [{"canonical_id": "ehr:Patient:canary", "entity_type": "patient", "event_type": "patient.updated",
            "source": "voice_agent", "confidence": CANARY[0], "facts": {"name": {"family": CANARY[0]}}}]  # fmt: skip
    stack.cli("event", "append", stack.write("bad.json", bad), code=1)
    wait_for("writes", lambda: any(entry["committed"] for entry in store.journal()), every_s=0.5)
    stack.settled()

    wait_for("task events", lambda: "poll.run" in requests.get(f"{flower}/api/tasks", auth=FLOWER, timeout=20).text)
    seen = {
        "logs": (stack.folder / "processes.log").read_text(errors="replace"),
        "redis": redis_dump(stack.services.services.redis_url),
        "flower tasks": requests.get(f"{flower}/api/tasks", auth=FLOWER, timeout=10).text,
        "flower workers": requests.get(f"{flower}/api/workers", auth=FLOWER, timeout=10).text,
        "flower page": requests.get(f"{flower}/tasks", auth=FLOWER, timeout=10).text,
        "status": json.dumps(stack.status()),
        "quarantine list": json.dumps(stack.cli("quarantine", "list")),
    }
    for place, text in seen.items():
        found = [word for word in CANARY if word.lower() in text.lower()]
        # An operator's own listing may name the operator's own file; nothing else may.
        if place == "quarantine list":
            found = [word for word in found if word != CANARY[0]]
        assert not found, f"{place} tells of the canary"


def redis_dump(url: str) -> str:
    client = redis.Redis.from_url(url)
    parts = []
    for key in client.scan_iter():
        parts.append(repr(key))
        kind = client.type(key)
        read = {b"string": client.get, b"list": lambda k: client.lrange(k, 0, -1), b"hash": client.hgetall,
                b"set": client.smembers, b"zset": lambda k: client.zrange(k, 0, -1)}[kind]  # fmt: skip
        parts.append(repr(read(key)))
    return "\n".join(parts)


def test_flower_shows_workers_and_queues_behind_a_password(stack: Stack, flower: str) -> None:
    assert requests.get(f"{flower}/api/workers", timeout=10).status_code == 401
    workers = wait_for(
        "the workers",
        lambda: requests.get(f"{flower}/api/workers?refresh=1", auth=FLOWER, timeout=20).json(),
        every_s=1,
    )
    queues = {queue["name"] for worker in workers.values() for queue in worker.get("active_queues") or ()}
    assert {"poll", "imports", "project", "sink.demo.store", "sink.demo.ehr"} <= queues


def test_task_arguments_are_ids_only(stack: Stack, flower: str) -> None:
    tasks = requests.get(f"{flower}/api/tasks", auth=FLOWER, timeout=10).json()
    assert tasks
    for task in tasks.values():
        assert task["args"] in ("()", "[]", None), task["name"]
        for word in str(task["kwargs"]).replace("'", " ").replace("{", " ").replace("}", " ").split():
            assert len(word.strip(",:")) <= 64, task["name"]


def test_the_log_of_processes_is_where_it_was_looked_for(stack: Stack) -> None:
    """The canary test would prove nothing if the processes logged elsewhere."""
    assert Path(stack.folder / "processes.log").stat().st_size > 1000
