"""The audit log: appending by eight writers at once, a write's note and its seal, and verifying.

python -m benchmarks.audit_append [--entries 8000 --verified 100000 --held-ms 50]
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from statistics import quantiles

from benchmarks.machine import Bench, bench, report
from connector_runner.audit import log as audit
from connector_runner.audit import verifying
from connector_runner.infra.database import Database, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import new_id

WRITERS = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=8000)
    parser.add_argument("--verified", type=int, default=100_000)
    parser.add_argument("--held-ms", type=float, default=50.0, help="How long transactions go on after they appended.")
    chosen = parser.parse_args()
    with bench() as servers:
        database = servers.database()
        each = chosen.entries // WRITERS
        report("bare_insert", _at_once(servers, database, each, _bare))
        report("append", _at_once(servers, database, each, _append))
        report("append_and_go_on", _at_once(servers, database, 20, _held(chosen.held_ms)))
        report("note", _at_once(servers, database, each, _note))
        report("seal", _seal(servers, database, chosen.entries))
        report("verify", _verify(servers, database, chosen.verified))


def _at_once(servers: Bench, database: Database, each: int, work: Callable[[Database, str], None]) -> dict[str, object]:
    """Eight writers of one workspace, a transaction an entry."""
    workspace = servers.workspace(f"w{new_id()[-12:]}")
    took: list[float] = []

    def write() -> None:
        for _ in range(each):
            started = time.perf_counter()
            work(database, workspace)
            took.append(time.perf_counter() - started)

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    wall, ours, theirs = time.perf_counter(), time.process_time(), servers.postgres_cpu_s()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, done = time.perf_counter() - wall, each * WRITERS
    cuts = quantiles(took, n=100)
    cpu = time.process_time() - ours + servers.postgres_cpu_s() - theirs
    return {
        "transactions": done,
        "per_s": round(done / wall),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "cpu_ms_each": round(cpu * 1000 / done, 3),
    }


def _bare(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO pending_release (workspace_id, entity_id) VALUES (:ws, :id)",
            ws=workspace,
            id=new_id(),
        )


def _append(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        audit.append(tx, workspace, actor="bench", action="source.sync", object="source/x", now=utc_now())


def _held(held_ms: float) -> Callable[[Database, str], None]:
    """Each transaction has work left when it has appended; nobody is to wait for that."""

    def work(database: Database, workspace: str) -> None:
        with database.begin(workspace) as tx:
            audit.append(tx, workspace, actor="bench", action="source.sync", object="source/x", now=utc_now())
            time.sleep(held_ms / 1000)

    return work


def _note(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        audit.record_read(tx, workspace, actor="bench", action="entity.show", object=new_id(), now=utc_now())


def _seal(servers: Bench, database: Database, notes: int) -> dict[str, object]:
    workspace = servers.workspace("sealed")
    with database.begin(workspace) as tx:
        for _ in range(notes):
            audit.record_read(tx, workspace, actor="bench", action="entity.show", object=new_id(), now=utc_now())
    wall, ours, theirs = time.perf_counter(), time.process_time(), servers.postgres_cpu_s()
    done = audit.SEAL_BATCH
    while done == audit.SEAL_BATCH:
        with database.begin(workspace) as tx:
            done = audit.seal_reads(tx, workspace, now=utc_now())
    cpu = time.process_time() - ours + servers.postgres_cpu_s() - theirs
    return {
        "notes": notes,
        "per_s": round(notes / (time.perf_counter() - wall)),
        "cpu_ms_each": round(cpu * 1000 / notes, 3),
    }


def _verify(servers: Bench, database: Database, entries: int) -> dict[str, object]:
    workspace = servers.workspace("verified")
    for _ in range(0, entries, 1000):
        with database.begin(workspace) as tx:
            for n in range(1000):
                audit.append(tx, workspace, actor="bench", action="source.sync", object=f"source/{n}", now=utc_now())
    started = time.perf_counter()
    with database.begin(workspace) as tx:
        found = verifying.verify(tx, workspace)
    if found.broken is not None or found.entries != entries:
        raise SystemExit("the chain does not hold")
    return {"entries": entries, "seconds_per_100000": round((time.perf_counter() - started) * 100_000 / entries, 2)}


if __name__ == "__main__":
    main()
