"""Every task can be reached: registered, routed to a queue, and that queue consumed by a process of the Procfile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache

from beat_schedule import ENTRIES
from connector_runner.infra import queue
from connector_runner.settings import PROJECT_ROOT

_LIST = """
import json
from tasks.app import app
from tasks.base import RunnerTask
app.loader.import_default_modules()
print(json.dumps({name: isinstance(task, RunnerTask) for name, task in app.tasks.items() if name[:7] != "celery."}))
"""


@cache
def _tasks() -> dict[str, bool]:
    """Each registered task, and whether it is one of ours, as a worker's own process sees them."""
    environment = {
        **os.environ,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _LIST], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, bool] = json.loads(done.stdout)
    return found


def _consumed() -> set[str]:
    procfile = (PROJECT_ROOT / "Procfile").read_text()
    pools = re.findall(r"connector-runner worker --pool (\w+)", procfile)
    assert sorted(pools) == ["cpu", "io"]
    return {name for pool in pools for name in queue.QUEUES_OF_POOL[pool]}


def test_each_task_is_registered_and_checks_its_arguments() -> None:
    tasks = _tasks()
    assert set(tasks) == {*queue.QUEUE_OF, queue.DRAIN, queue.SAMPLE}
    assert [name for name, ours in tasks.items() if not ours] == []


def test_each_queue_of_a_task_is_consumed() -> None:
    assert set(queue.QUEUE_OF.values()) <= _consumed()


def test_the_document_says_which_process_takes_each_queue() -> None:
    text = (PROJECT_ROOT / "docs/operations.md").read_text()
    found = re.findall(r"^\| `([a-z.…]+)` \| [^|]+ \| `worker_(io|cpu)` \|$", text, re.MULTILINE)
    taken = {(name, pool) for pool, names in queue.QUEUES_OF_POOL.items() for name in names}
    assert set(found) == {*taken, (f"{queue.SINK_QUEUE_PREFIX}…", "io")}


def test_each_entry_of_beat_names_a_task() -> None:
    assert {task for task, _ in ENTRIES.values()} <= set(_tasks())


def test_the_procfile_has_every_process() -> None:
    names = re.findall(r"^(\w+):", (PROJECT_ROOT / "Procfile").read_text(), re.MULTILINE)
    assert sorted(names) == ["beat", "flower", "release", "web", "worker_cpu", "worker_io"]


def test_documents_of_sources_come_in_where_their_addresses_are_checked() -> None:
    """By the commands, which check; and by imports, whose document is made here and holds none."""
    callers = {
        str(path.relative_to(PROJECT_ROOT))
        for folder in ("connector_runner", "tasks")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
        if "directory.apply(" in path.read_text()
    }
    assert callers == {"connector_runner/cli/sources.py", "connector_runner/intake/imports/registering.py"}
    commands = (PROJECT_ROOT / "connector_runner/cli/sources.py").read_text()
    assert commands.index("require_callable_settings(") < commands.index("directory.apply(")
