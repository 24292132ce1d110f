"""A log of a million entries and as many notes: looking things up in it, verifying it, and writing it out.

python -m benchmarks.audit_volume [--sizes 100000 1000000 --plans]

Entries are appended as the product does, a thousand in a transaction, each verdict about an entity of its own; notes
are put in by one statement and sealed. Commands are run as processes: seconds, CPU of the process, peak memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final

from benchmarks.claim import administer
from benchmarks.machine import Bench, bench, report, run
from connector_runner.audit import log as audit
from connector_runner.audit import reading, reading_store
from connector_runner.audit.reading import Asked
from connector_runner.infra import database as sql
from connector_runner.infra.database import Database, execute
from connector_runner.kernel.ids import new_id

TIMES: Final = 5
AT_ONCE: Final = 1000
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NOTES: Final = (
    "INSERT INTO audit_read (workspace_id, read_id, at, actor, action, object, detail)"
    " SELECT :ws, uuidv7(), CAST(:began AS timestamptz) + n * interval '1 second', 'user' || n % 50, CASE n % 3"
    "  WHEN 0 THEN 'entity.list' ELSE 'entity.show' END, CASE n % 3 WHEN 0 THEN 'entities' ELSE"
    "  md5('entity' || n % 20000)::uuid::text END, CASE n % 3 WHEN 0 THEN jsonb_build_object('ids', jsonb_build_array("
    "  md5('entity' || n % 20000)::uuid, md5('entity' || (n + 1) % 20000)::uuid)) ELSE '{}' END"
    " FROM generate_series(:first, :last) n"
)


def fill(servers: Bench, database: Database, workspace: str, first: int, last: int) -> None:
    """Entries and notes with these numbers."""
    for at in range(first, last, AT_ONCE):
        with database.begin(workspace) as tx:
            for n in range(at, at + AT_ONCE):
                detail = {"event_id": new_id(), "entity_id": new_id(), "kind": "automated", "fields": ["telecom"]}
                audit.append(
                    tx, workspace, actor="judge" if n % 100 else f"user{n // 100 % 50}", action="verdict.approved",
                    object=new_id(), detail=detail, now=BEGAN + timedelta(seconds=n),
                )  # fmt: skip
    with database.begin(workspace) as tx:
        execute(tx, _NOTES, ws=workspace, began=BEGAN, first=first + 1, last=last)
    done = audit.SEAL_BATCH
    while done == audit.SEAL_BATCH:
        with database.begin(workspace) as tx:
            done = audit.seal_reads(tx, workspace, now=BEGAN + timedelta(seconds=last))
    administer(servers, "VACUUM ANALYZE audit_log, audit_read")


def looks(database: Database, workspace: str, size: int) -> dict[str, Asked]:
    """What is looked up."""
    with database.begin(workspace) as tx:
        some = reading.latest(tx, workspace, Asked(action="verdict.approved"), limit=1)[0]
        shown = reading.latest(tx, workspace, Asked(action="entity.show"), limit=1)[0]
    return {
        "all": Asked(),
        "of_an_entity_with_notes": Asked(entity=shown.object),
        "of_an_entity_with_a_verdict": Asked(entity=some.detail["entity_id"]),
        "of_nobody": Asked(entity=new_id()),
        "of_an_actor": Asked(actor="user7"),
        "of_no_actor": Asked(actor="nobody"),
        "of_a_family": Asked(action="verdict."),
        "of_an_hour": Asked(
            since=BEGAN + timedelta(seconds=size // 2 - 3600), until=BEGAN + timedelta(seconds=size // 2)
        ),
    }


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--plans", action="store_true", help="Print how Postgres finds what is looked up.")
    given = parser.parse_args()
    with bench() as servers:
        database, workspace, known = servers.database(), servers.workspace("volume"), 0
        for size in given.sizes:
            fill(servers, database, workspace, known, size)
            known = size
            figures: dict[str, object] = {"entries": size, "notes": size}
            for name, asked in looks(database, workspace, size).items():
                figures[f"list_{name}_ms"] = _took(lambda asked=asked: _listed(database, workspace, asked))  # type: ignore[misc]
                if given.plans:
                    _plan(database, workspace, name, asked)
            report("audit_volume", figures)
            for command in (("verify",), ("export",), ("export", "--format", "fhir")):
                report("audit_volume", {"entries": size} | _ran(servers, command))


def _listed(database: Database, workspace: str, asked: Asked) -> None:
    with database.begin(workspace) as tx:
        reading.latest(tx, workspace, asked, limit=50)


def _took(work: Callable[[], object]) -> float:
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return round(1000 * median(took), 1)


def _ran(servers: Bench, command: tuple[str, ...]) -> dict[str, object]:
    out = () if command[0] == "verify" else ("--out", str(servers.home / "log.ndjson"))
    postgres, began = servers.postgres_cpu_s(), time.perf_counter()
    program = (sys.executable, "-m", "connector_runner.cli", "audit", *command, *out)
    done = run(program, servers.environment())
    return {
        "command": " ".join(command),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_s": round(done.cpu_s, 1),
        "postgres_cpu_s": round(servers.postgres_cpu_s() - postgres, 1),
        "peak_mb": round(done.peak_mb),
    }


def _plan(database: Database, workspace: str, name: str, asked: Asked) -> None:
    def explained(tx: sql.Tx, statement: str, /, **values: Any) -> list[sql.Row]:
        print(f"-- {name}")
        for row in sql.rows(tx, f"EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF) {statement}", **values):
            print(row["QUERY PLAN"])
        return []

    before, reading_store.rows = reading_store.rows, explained
    try:
        _listed(database, workspace, asked)
    finally:
        reading_store.rows = before


if __name__ == "__main__":
    main()
