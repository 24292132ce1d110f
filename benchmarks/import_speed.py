"""CPU a resource of an import, end to end, against a COPY of the same bodies in the same run.

The COPY is measured bare, into jsonb with a primary key, and with the indexes that a table of events has. The bare
one is so short that it is measured before, between and after the imports, and its median taken; all three are told.
Of several rounds the medians are told besides: a machine that others share is not equally quick from minute to minute.

python -m benchmarks.import_speed [--resources 50000] [--rounds 1]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from statistics import median

import psycopg2

from benchmarks.machine import Bench, bench, people, report, run

BARE = "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb)"
INDEXED = (
    "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb, workspace_id uuid,"
    " entity_id uuid, content_hash bytea);"
    " CREATE INDEX ON bare (workspace_id, entity_id, id); CREATE UNIQUE INDEX ON bare (workspace_id, content_hash)"
)
WORKSPACE = "01a1fc00-0000-7000-8000-000000000000"


def copy_cpu_s(machine: Bench, directory: Path, table: str) -> tuple[float, int]:
    """CPU of COPY of every body into a table, client included; the rows are prepared beforehand."""
    connection = psycopg2.connect(machine.admin_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(table)
    lines = [line.rstrip("\n") for path in sorted(directory.iterdir()) for line in path.open()]
    rows = io.StringIO("".join(_row(line, indexed=table == INDEXED) for line in lines))
    columns = "body, workspace_id, entity_id, content_hash" if table == INDEXED else "body"
    before, client = machine.postgres_cpu_s(), time.process_time()
    with connection, connection.cursor() as cursor:
        cursor.copy_expert(f"COPY bare ({columns}) FROM STDIN", rows)
    cpu = machine.postgres_cpu_s() - before + time.process_time() - client
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE bare")
    connection.close()
    return cpu, len(lines)


def _row(line: str, *, indexed: bool) -> str:
    body = line.replace("\\", "\\\\")
    if not indexed:
        return body + "\n"
    digest = blake2b(line.encode(), digest_size=16).hexdigest()
    return f"{body}\t{WORKSPACE}\t{digest}\t\\\\x{digest}\n"


def import_cpu_s(machine: Bench, directory: Path, slug: str) -> tuple[float, float, dict[str, object]]:
    """CPU and peak memory of one import by the command line, database included."""
    before = machine.postgres_cpu_s()
    command = [sys.executable, "-m", "connector_runner.cli", "import", str(directory)]
    done = run([*command, "--workspace", slug, "--source", "partner", "--json"], machine.environment())
    return done.cpu_s + machine.postgres_cpu_s() - before, done.peak_mb, json.loads(done.stdout)


def main() -> None:
    """Measure COPY, a first import and an unchanged second one, in each round on fresh servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "ndjson"
        size = people(directory, arguments.resources)
        for _ in range(arguments.rounds):
            found.append(_round(directory))
            report("import_speed", {"megabytes": round(size / 1e6, 1)} | found[-1])
    if arguments.rounds > 1:
        names = ("copy_cpu_ms", "import_cpu_ms", "unchanged_cpu_ms", "import_to_copy", "unchanged_to_import")
        medians = {name: round(median(float(str(each[name])) for each in found), 4) for name in names}
        report("import_speed", {"rounds": arguments.rounds, "medians": medians})


def _round(directory: Path) -> dict[str, object]:
    with bench() as machine:
        machine.workspace("bench")
        before, resources = copy_cpu_s(machine, directory, BARE)
        indexed, _ = copy_cpu_s(machine, directory, INDEXED)
        first, peak, counts = import_cpu_s(machine, directory, "bench")
        between, _ = copy_cpu_s(machine, directory, BARE)
        again, _, repeat = import_cpu_s(machine, directory, "bench")
        after, _ = copy_cpu_s(machine, directory, BARE)
    copies = sorted((before, between, after))
    bare = copies[1]
    return {
        "resources": resources,
        "copy_cpu_ms": round(bare / resources * 1e3, 4),
        "copies_cpu_ms": [round(one / resources * 1e3, 4) for one in copies],
        "copy_indexed_cpu_ms": round(indexed / resources * 1e3, 4),
        "import_cpu_ms": round(first / resources * 1e3, 4),
        "import_to_copy": round(first / bare, 2),
        "import_to_copy_indexed": round(first / indexed, 2),
        "unchanged_cpu_ms": round(again / resources * 1e3, 4),
        "unchanged_to_import": round(again / first, 3),
        "peak_mb": round(peak, 1),
        "events_created": counts["events_created"],
        "events_created_again": repeat["events_created"],
        "quarantined": counts["quarantined"],
    }


if __name__ == "__main__":
    main()
