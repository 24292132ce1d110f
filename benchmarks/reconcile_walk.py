"""CPU of one reconciliation of a sink where nothing is wanting: a walk over every entity that it takes.

python -m benchmarks.reconcile_walk [--entities 100000]
"""

from __future__ import annotations

import argparse
import time

import psycopg2

from benchmarks.machine import bench, report
from connector_runner.infra.database import Tx, execute
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.reconciling import reconcile_store

TERMS = 42
STRETCH = 5000


def fill(tx: Tx, workspace: str, sink: str, entities: int) -> None:
    """Entities of 2 KB, one in a hundred of a sparse type, each with its mark and its lane."""
    execute(
        tx,
        "INSERT INTO entity (workspace_id, entity_id, entity_type, canonical_id, state, provenance, confidence,"
        " event_count, first_seen_at, last_event_at, updated_at) SELECT :ws, md5('e' || n)::uuid,"
        " CASE WHEN n % 100 = 0 THEN 'patient' ELSE 'observation' END, 'ehr:X:' || n, jsonb_build_object('pad',"
        " repeat(md5(n::text), 32)), jsonb_build_object('pad', repeat(md5(n::text), 32)), 1, 1, now(), now(), now()"
        " FROM generate_series(1, :entities) n",
        ws=workspace,
        entities=entities,
    )
    execute(
        tx,
        "INSERT INTO release_mark SELECT workspace_id, entity_id, revision, :terms FROM entity",
        terms=TERMS,
    )
    execute(
        tx,
        "INSERT INTO sync_lane (workspace_id, sink_id, lane_id, entity_id, entity_type, desired_revision, client_ref)"
        " SELECT workspace_id, :sink, md5('l' || entity_id)::uuid, entity_id, entity_type, revision, '' FROM entity",
        sink=sink,
    )


def main() -> None:
    """Fill, walk, and walk again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=100_000)
    arguments = parser.parse_args()
    with bench() as servers:
        database, workspace, sink = servers.database(), servers.workspace("demo"), new_id()
        with database.begin(workspace) as tx:
            fill(tx, workspace, sink, arguments.entities)
        own = servers.admin_url.rsplit("/", 1)[0] + "/" + servers.database_url.rsplit("/", 1)[1]
        connection = psycopg2.connect(own)
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE entity, release_mark, sync_lane")
        connection.close()
        for walk in ("first", "second"):
            ours, postgres, looked, behind = time.process_time(), servers.postgres_cpu_s(), 0, 0
            for kind in ("observation", "patient"):
                after: str | None = reconcile_store.NO_ID
                while after is not None:
                    with database.begin(workspace) as tx:
                        part = reconcile_store.look(tx, workspace, sink, kind, after, TERMS, STRETCH)
                    looked, behind = looked + part.looked, behind + len(part.behind)
                    after = part.last_id if part.looked == STRETCH else None
            report(
                "reconcile_walk",
                {
                    "walk": walk,
                    "entities": looked,
                    "found": behind,
                    "ours_s": round(time.process_time() - ours, 3),
                    "postgres_s": round(servers.postgres_cpu_s() - postgres, 3),
                },
            )
        database.dispose()


if __name__ == "__main__":
    main()
