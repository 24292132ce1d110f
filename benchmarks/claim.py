"""How long the claim of the lane that is due first takes among a million, under row-level security.

python -m benchmarks.claim [--lanes 1000000 --claims 500 --churn 20000 --plans]
"""

from __future__ import annotations

import argparse
import time
from typing import Final

import psycopg2

from benchmarks.machine import Bench, bench, report
from connector_runner.infra.database import Database, execute, one, rows
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes import store
from connector_runner.outbound.lanes.lane import Lane, State

HELD: Final = 2000
MIXED: Final = "mixed"
ALL_READY: Final = "all_ready"
FAR_FUTURE: Final = "far_future"

# State, priority and due time of lane n (of :lanes), for each shape.
SHAPES: Final = {
    MIXED: (
        "CASE WHEN n % 100 < 88 THEN 'idle' WHEN n % 100 < 94 THEN 'ready' WHEN n % 100 < 97 THEN 'waiting'"
        " WHEN n % 100 < 98 THEN 'unknown' ELSE 'quarantined' END",
        "10 + 10 * (n / 100 % 4) + n % 9",
        "now() + CASE WHEN n % 100 IN (94, 95, 97) THEN interval '1 day' ELSE -interval '1 minute' END"
        " + n * interval '1 microsecond'",
    ),
    ALL_READY: ("'ready'", "20 + n % 9", "now() - interval '1 minute' + n * interval '1 microsecond'"),
    # Before everything that is due stand a hundred thousand that are not: refused, or waiting for another record.
    FAR_FUTURE: (
        "CASE WHEN n % 10 = 0 THEN 'waiting' WHEN n % 100 < 5 THEN 'ready' ELSE 'idle' END",
        "CASE WHEN n % 10 = 0 THEN 10 ELSE 48 END",
        "now() + CASE WHEN n % 10 = 0 THEN interval '30 days' ELSE -interval '1 minute' END"
        " + n * interval '1 microsecond'",
    ),
}


def fill(servers: Bench, database: Database, workspace: str, sink: str, shape: str, lanes: int) -> None:
    """So many lanes of one sink."""
    state, prio, due = SHAPES[shape]
    administer(servers, "TRUNCATE sync_lane")
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO sync_lane (workspace_id, sink_id, lane_id, entity_id, entity_type, state, prio, due_at,"
            " client_ref, desired_revision, last_sent, synced_at)"
            " SELECT :ws, :sink, md5('lane' || n)::uuid, md5('entity' || n)::uuid, 'patient',"
            f" {state}, {prio}, {due}, md5('lane' || n), 1, decode(repeat(md5(n::text), 30), 'hex'), now()"
            " FROM generate_series(1, :lanes) n",
            ws=workspace,
            sink=sink,
            lanes=lanes,
        )
    administer(servers, "VACUUM ANALYZE sync_lane")


def administer(servers: Bench, statement: str) -> None:
    """Run a statement as the owner of the server, outside a transaction."""
    connection = psycopg2.connect(_own_database(servers))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def _own_database(servers: Bench) -> str:
    return servers.admin_url.rsplit("/", 1)[0] + "/" + servers.database_url.rsplit("/", 1)[1]


def claims(database: Database, workspace: str, sink: str, count: int) -> list[float]:
    """Claim and settle so many lanes, each in transactions of its own; milliseconds of each claim, sorted."""
    took = []
    for _ in range(count):
        with database.begin(workspace) as tx:
            began = time.perf_counter()
            lane = store.claim(tx, workspace, sink, owner="benchmark", lease_s=30)
            took.append((time.perf_counter() - began) * 1000)
        if lane is None:
            break
        settle(database, workspace, lane)
    return sorted(took)


def settle(database: Database, workspace: str, lane: Lane) -> None:
    """As after a write that landed."""
    with database.begin(workspace) as tx:
        store.give_back(tx, lane, State.IDLE, reason="landed")


def churn(database: Database, workspace: str, sink: str, count: int) -> None:
    """So many claims and outcomes, many a transaction: only the row versions that they leave behind count."""
    for start in range(0, count, 20):
        with database.begin(workspace) as tx:
            for _ in range(min(20, count - start)):
                lane = store.claim(tx, workspace, sink, owner="benchmark", lease_s=30)
                if lane is None:
                    return
                store.give_back(tx, lane, State.IDLE, reason="landed")


def figures(times: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the longest, in milliseconds."""
    return {
        "p50_ms": round(times[len(times) // 2], 2),
        "p95_ms": round(times[int(len(times) * 0.95)], 2),
        "max_ms": round(times[-1], 2),
    }


def plan(database: Database, workspace: str, sink: str) -> list[str]:
    """How Postgres finds the lane that is due first."""
    with database.begin(workspace) as tx:
        found = rows(
            tx,
            "EXPLAIN (ANALYZE, BUFFERS) SELECT workspace_id, lane_id FROM sync_lane WHERE workspace_id = :ws"
            " AND sink_id = :sink AND state IN ('ready', 'waiting') AND due_at <= (SELECT clock_timestamp())"
            " ORDER BY prio, due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            ws=workspace,
            sink=sink,
        )
    return [row["QUERY PLAN"] for row in found]


def dead(database: Database, workspace: str) -> int:
    """Row versions of lanes that no vacuum has come for yet."""
    with database.begin(workspace) as tx:
        row = one(tx, "SELECT pg_stat_get_dead_tuples('sync_lane'::regclass) AS n")
    return int(row["n"]) if row else 0


def measure(servers: Bench, shape: str, lanes: int, count: int, churned: int, plans: bool) -> dict[str, object]:
    """One shape of lanes: claims at first, and after many were claimed and settled."""
    database = servers.database()
    workspace, sink = servers.workspace(shape.replace("_", "-")), new_id()
    fill(servers, database, workspace, sink, shape, lanes)
    if plans:
        print("\n".join(plan(database, workspace, sink)), flush=True)
    claims(database, workspace, sink, 20)
    answer: dict[str, object] = {
        "shape": shape,
        "lanes": lanes,
        "first": figures(claims(database, workspace, sink, count)),
    }
    churn(database, workspace, sink, churned)
    answer["after_churn"] = figures(claims(database, workspace, sink, count))
    answer["dead"] = dead(database, workspace)
    if plans:
        print("\n".join(plan(database, workspace, sink)), flush=True)
    # A reader with an old snapshot keeps every dead row version in place, as a long report would.
    reader = psycopg2.connect(_own_database(servers))
    reader.set_session(isolation_level="REPEATABLE READ")
    reader.cursor().execute("SELECT count(*) FROM workspace")
    churn(database, workspace, sink, HELD)
    answer[f"beside_a_reader_older_than_{HELD}_claims"] = figures(claims(database, workspace, sink, 100))
    reader.close()
    database.dispose()
    return answer


def main() -> None:
    """Every shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=1_000_000)
    parser.add_argument("--claims", type=int, default=500)
    parser.add_argument("--churn", type=int, default=20_000)
    parser.add_argument("--plans", action="store_true", help="print how Postgres finds the lane")
    parser.add_argument("--shape", choices=[*SHAPES], action="append")
    arguments = parser.parse_args()
    with bench() as servers:
        for shape in arguments.shape or SHAPES:
            found = measure(servers, shape, arguments.lanes, arguments.claims, arguments.churn, arguments.plans)
            report("claim", found)


if __name__ == "__main__":
    main()
