"""A canary patient, and the places where she is looked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
import requests

from connector_runner.infra.database import Database, Tx, rows
from connector_runner.infra.embedded.home import choose_port
from tests.acceptance.stack import Stack, wait_for

CANARY = ("Zyzzyvacanary", "zyzzyva@canary.example", "617-555-0142", "6175550142", "1931-07-09")
NEWBORN = ("Baby Boy", "2026-11-02")
FLOWER = ("ops", "ops-password")

Words = tuple[str, ...]


def a_canary(resource_id: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": resource_id,
        "name": [{"family": CANARY[0], "given": ["Ida"]}],
        "telecom": [{"system": "phone", "value": CANARY[2]}, {"system": "email", "value": CANARY[1]}],
        "birthDate": CANARY[4],
    } | more


def a_newborn(resource_id: str) -> dict[str, Any]:
    return a_canary(
        resource_id,
        name=[{"family": CANARY[0], "given": [NEWBORN[0]]}],
        telecom=[{"system": "phone", "value": "+1" + CANARY[3]}],
        birthDate=NEWBORN[1],
    )


def free_port() -> int:
    """Out of the range from which connections get theirs: it is still free when somebody listens there later."""
    return choose_port()


def start_flower(stack: Stack) -> str:
    """Its address, once it answers."""
    port = free_port()
    stack.environment["PORT"] = str(port)
    stack.start("flower")
    url = f"http://127.0.0.1:{port}"
    wait_for("Flower", lambda: _answers(url))
    return url


def start_web(stack: Stack) -> str:
    """Its address, once it answers."""
    port = free_port()
    stack.start("web", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    wait_for("the pages", lambda: _answers(url))
    return url


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code in (200, 401)
    except (requests.ConnectionError, requests.Timeout):
        return False


def pages_of(web: str) -> dict[str, str]:
    """What it shows to everybody."""
    return {path: requests.get(web + path, timeout=60).text for path in ("/metrics", "/", "/ready")}


def look_for_her(stack: Stack, flower: str, **more: str) -> None:
    """Wherever she must not be."""
    logs = [stack.folder / "processes.log", *stack.home.rglob("*.log*")]
    seen = more | {
        "logs": "".join(log.read_text(errors="replace") for log in logs),
        "redis": redis_dump(stack.services.services.redis_url),
        "flower tasks": requests.get(f"{flower}/api/tasks", auth=FLOWER, timeout=60).text,
        "flower workers": requests.get(f"{flower}/api/workers", auth=FLOWER, timeout=60).text,
        "flower page": requests.get(f"{flower}/tasks", auth=FLOWER, timeout=60).text,
        "status": json.dumps(stack.status()),
        "quarantine list": json.dumps(stack.cli("quarantine", "list")),
        **tables_without_phi(stack),
    }
    told = {}
    for place, text in seen.items():
        found = [word for word in CANARY if word.lower() in text.lower()]
        # An operator's own listing may name the operator's own file; nothing else may.
        if place == "quarantine list":
            found = [word for word in found if word != CANARY[0]]
        if found:
            told[place] = found
    assert not told, f"these tell of the canary: {told}"


def tables_without_phi(stack: Stack) -> dict[str, str]:
    """What sweeps over all workspaces may read, and the audit log: ids, codes and counts."""
    database = Database(stack.services.services.database_url)
    try:
        with database.sweep() as tx:
            swept = [
                row["tablename"] for row in rows(tx, "SELECT tablename FROM pg_policies WHERE policyname = 'sweep'")
            ]
            found = {f"table {name}": _dump(tx, name) for name in swept}
            workspace = rows(tx, "SELECT workspace_id FROM workspace WHERE slug = 'demo'")[0]["workspace_id"]
        with database.begin(workspace) as tx:
            return found | {f"table {name}": _dump(tx, name) for name in ("audit_log", "audit_read", "alert")}
    finally:
        database.dispose()


def _dump(tx: Tx, table: str) -> str:
    return "\n".join(row["line"] for row in rows(tx, f"SELECT CAST(to_jsonb(t) AS text) AS line FROM {table} t"))


def ask(
    stack: Stack, showing: Sequence[Words], failing: Sequence[Words], silent: Sequence[Words]
) -> tuple[dict[str, str], dict[str, str]]:
    """What commands say where they must not tell of her, and what those show that show records on purpose."""
    told, shown = {}, {}
    with ThreadPoolExecutor(3) as pool:
        for ran in pool.map(lambda words: stack.typed(*words), [*showing, *failing, *silent]):
            words = tuple(ran.args)
            assert "Traceback" not in ran.stderr, words
            assert (ran.returncode != 0) or words not in failing, words
            on_purpose = words in showing and ran.returncode == 0
            told[" ".join(words)] = ran.stderr if on_purpose else ran.stdout + ran.stderr
            shown[" ".join(words)] = ran.stdout
    return told, shown


def redis_dump(url: str) -> str:
    client = redis.Redis.from_url(url)
    parts = []
    for key in client.scan_iter():
        parts.append(repr(key))
        kind = client.type(key)
        read = {b"string": client.get, b"list": lambda k: client.lrange(k, 0, -1), b"hash": client.hgetall,
                b"set": client.smembers, b"zset": lambda k: client.zrange(k, 0, -1),
                b"none": lambda k: b"gone since"}[kind]  # fmt: skip
        parts.append(repr(read(key)))
    return "\n".join(parts)
