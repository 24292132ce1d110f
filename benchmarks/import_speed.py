"""CPU a resource of an import, end to end, against a bare COPY of the same bodies in the same run.

python -m benchmarks.import_speed [--resources 50000]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psycopg2

from benchmarks.machine import Bench, bench, people, report, run


def copy_cpu_s(machine: Bench, directory: Path) -> tuple[float, int]:
    """CPU of COPY into an otherwise bare jsonb table with a primary key, client included."""
    connection = psycopg2.connect(machine.admin_url)
    before, client = machine.postgres_cpu_s(), time.process_time()
    resources = 0
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb)")
        for path in sorted(directory.iterdir()):
            escaped = path.with_suffix(".copy")
            with path.open() as lines, escaped.open("w") as out:
                for line in lines:
                    out.write(line.replace("\\", "\\\\"))
                    resources += 1
            with escaped.open() as rows:
                cursor.copy_expert("COPY bare (body) FROM STDIN", rows)
            escaped.unlink()
        cursor.execute("SELECT count(*) FROM bare")
    connection.commit()
    cpu = machine.postgres_cpu_s() - before + time.process_time() - client
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE bare")
    connection.close()
    return cpu, resources


def import_cpu_s(machine: Bench, directory: Path, slug: str) -> tuple[float, float, dict[str, object]]:
    """CPU and peak memory of one import by the command line, database included."""
    before = machine.postgres_cpu_s()
    command = [sys.executable, "-m", "connector_runner.cli", "import", str(directory)]
    done = run([*command, "--workspace", slug, "--source", "partner", "--json"], machine.environment())
    return done.cpu_s + machine.postgres_cpu_s() - before, done.peak_mb, json.loads(done.stdout)


def main() -> None:
    """Measure COPY, a first import and an unchanged second one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=50_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        directory = Path(scratch) / "ndjson"
        size = people(directory, arguments.resources)
        machine.workspace("bench")
        bare, resources = copy_cpu_s(machine, directory)
        first, peak, counts = import_cpu_s(machine, directory, "bench")
        again, _, repeat = import_cpu_s(machine, directory, "bench")
        report(
            "import_speed",
            {
                "resources": resources,
                "megabytes": round(size / 1e6, 1),
                "copy_cpu_ms": round(bare / resources * 1e3, 4),
                "import_cpu_ms": round(first / resources * 1e3, 4),
                "import_to_copy": round(first / bare, 2),
                "unchanged_cpu_ms": round(again / resources * 1e3, 4),
                "unchanged_to_import": round(again / first, 3),
                "peak_mb": round(peak, 1),
                "events_created": counts["events_created"],
                "events_created_again": repeat["events_created"],
                "quarantined": counts["quarantined"],
            },
        )


if __name__ == "__main__":
    main()
