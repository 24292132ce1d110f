"""Memory between a small and a large import, and CPU a resource as the database grows.

python -m benchmarks.import_scale [--steps 50000 ... ]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.import_speed import import_cpu_s
from benchmarks.machine import bench, people, report


def main() -> None:
    """Import batches of one population after another into one workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total", type=int, default=1_000_000)
    parser.add_argument("--step", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=500_000, help="resources of the one large import")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        machine.workspace("bench")
        done, seed = 0, 100
        while done < arguments.total:
            size = arguments.large if done == arguments.step else arguments.step
            directory = Path(scratch) / f"p{seed}"
            written = people(directory, size, seed)
            cpu, peak, counts = import_cpu_s(machine, directory, "bench")
            for path in directory.iterdir():
                path.unlink()
            done += size
            seed += 1
            report(
                "import_scale",
                {
                    "events_before": done - size,
                    "resources": counts["resources"],
                    "megabytes": round(written / 1e6, 1),
                    "cpu_ms": round(cpu / size * 1e3, 4),
                    "peak_mb": round(peak, 1),
                },
            )


if __name__ == "__main__":
    main()
