"""How many events a second are reviewed by rules alone, and how soon an event has its verdict.

python -m benchmarks.review_rate [--events 4000 --workers 2 --rate 20 --seconds 30]

Every call hands in its conversation, in which the caller says a phone and has it read back: rules alone prove it. The
events are appended first, then so many processes work them off; the rate is over all of them, database included. For
the latency events come at a steady rate, and a process that is hinted as a worker is judges them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import threading
import time
from typing import Any

from benchmarks.machine import Bench, bench, report
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra.database import Database, one, rows
from connector_runner.intake import appending
from connector_runner.kernel.clock import utc_now
from connector_runner.review import material, policy_store
from connector_runner.settings import Settings

AT_ONCE = 50
_WORK = "from benchmarks.review_rate import work_off; work_off({database!r}, {redis!r}, {workspace!r})"


def runner_on(database_url: str, redis_url: str) -> Runner:
    """The product's parts on the benchmark's servers, with no language model."""
    return Runner(Settings(llm_base_url=None, encryption_key="A" * 43 + "="), Addresses(database_url, redis_url))


def work_off(database_url: str, redis_url: str, workspace: str) -> None:
    """Judge until nothing is due; for a process of its own."""
    runner = runner_on(database_url, redis_url)
    while runner.review.run(workspace).more:
        pass


def heard(number: int) -> tuple[str, str, dict[str, Any]]:
    """A conversation: its name, its transcript, and the event that came of it."""
    phone = f"617555{number % 10_000:04}"
    spoken = f"{phone[:3]}-{phone[3:6]}-{phone[6:]}"
    said = (
        f"Agent: What is your phone number?\nCaller: My home phone number is {spoken}.\n"
        f"Agent: So your home phone number is {spoken}, is that right?\nCaller: Yes, that is right.\n"
    )
    facts = {"telecom": [{"system": "phone", "use": "home", "value": f"+1{phone}"}]}
    session = f"call-{number}"
    event = {"entity_type": "patient", "source": "voice_agent", "correlation_id": session, "facts": facts}
    return session, said, event


def append(runner: Runner, workspace: str, numbers: range) -> None:
    """Calls with these numbers, in one transaction."""
    calls = [heard(number) for number in numbers]
    now = utc_now()
    with runner.database.begin(workspace) as tx:
        for session, said, _ in calls:
            material.put(tx, runner.sealer, workspace, session, said, actor="benchmark", now=now)
        documents = [event for _, _, event in calls]
        appending.append(tx, runner.world, runner.mappings, workspace, documents, actor="benchmark", now=now)


def rate(servers: Bench, events: int, workers: int) -> dict[str, object]:
    """Events a second over ``workers`` processes."""
    workspace = servers.workspace("rate")
    runner = runner_on(servers.database_url, servers.redis_url)
    with runner.database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="benchmark", now=utc_now())
    for first in range(0, events, AT_ONCE):
        append(runner, workspace, range(first, min(first + AT_ONCE, events)))
    command = _WORK.format(database=servers.database_url, redis=servers.redis_url, workspace=workspace)
    # A process that has nothing to do tells what starting one costs.
    began, before_s = time.perf_counter(), _ended_cpu_s()
    idle = _WORK.format(database=servers.database_url, redis=servers.redis_url, workspace=servers.workspace("idle"))
    subprocess.run([sys.executable, "-c", idle], env=servers.environment(), check=True)
    start_s, start_cpu_s = time.perf_counter() - began, _ended_cpu_s() - before_s
    postgres = servers.postgres_cpu_s()
    began, before_s = time.perf_counter(), _ended_cpu_s()
    processes = [subprocess.Popen([sys.executable, "-c", command], env=servers.environment()) for _ in range(workers)]
    ended = [process.wait() for process in processes]
    if any(ended):
        raise SystemExit("a worker failed")
    seconds = time.perf_counter() - began - start_s
    done = passed(runner.database, workspace)
    if done != events:
        raise SystemExit(f"only {done} of {events} events were believed: nothing to measure")
    # Each process costs its start, as the idle one did.
    cpu_s = _ended_cpu_s() - before_s - start_cpu_s * workers
    return {
        "events_per_s": round(events / seconds, 1),
        "cpu_ms_an_event": round(1000 * cpu_s / events, 2),
        "postgres_cpu_ms_an_event": round(1000 * (servers.postgres_cpu_s() - postgres) / events, 2),
    }


def _ended_cpu_s() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def passed(database: Database, workspace: str) -> int:
    """How many events have a verdict of the judge."""
    with database.begin(workspace) as tx:
        row = one(tx, "SELECT count(*) AS n FROM event WHERE event_type = 'review.approved'")
    return int(row["n"]) if row else 0


def latency(servers: Bench, per_s: float, seconds: float) -> dict[str, object]:
    """From an event's commit to its verdict's, at a steady rate, with a worker that looks when it is hinted."""
    workspace = servers.workspace("latency")
    runner = runner_on(servers.database_url, servers.redis_url)
    with runner.database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="benchmark", now=utc_now())
    told, over = threading.Event(), threading.Event()

    def worker() -> None:
        own = runner_on(servers.database_url, servers.redis_url)
        while not over.is_set():
            told.wait(2.0)
            told.clear()
            while own.review.run(workspace).more:
                pass

    thread = threading.Thread(target=worker, daemon=True)
    thread.start()
    began, count = time.perf_counter(), int(per_s * seconds)
    for number in range(count):
        time.sleep(max(0.0, began + number / per_s - time.perf_counter()))
        append(runner, workspace, range(number, number + 1))
        told.set()
    until = time.perf_counter() + 30
    while passed(runner.database, workspace) < count and time.perf_counter() < until:
        time.sleep(0.1)
    over.set()
    thread.join(5)
    with runner.database.begin(workspace) as tx:
        found = rows(
            tx,
            "SELECT extract(epoch FROM v.ingested_at - e.ingested_at)::float AS s FROM event v JOIN event e"
            " ON e.id = v.caused_by WHERE v.event_type = 'review.approved' ORDER BY 1",
        )
    waits = [float(row["s"]) for row in found]
    if len(waits) != count:
        raise SystemExit(f"only {len(waits)} of {count} events were believed: nothing to measure")
    return {
        "verdict_p50_s": round(waits[len(waits) // 2], 3),
        "verdict_p95_s": round(waits[int(len(waits) * 0.95)], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    with bench() as servers:
        figures = rate(servers, given.events, given.workers)
        figures |= latency(servers, given.rate, given.seconds)
    report("review_rate", figures)


if __name__ == "__main__":
    main()
