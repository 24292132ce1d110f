"""``make bench``: every benchmark, one after the other, at sizes that take minutes; each prints lines of JSON.

Names choose some: ``make bench ARGS="import_speed write_rate"``.
"""

from __future__ import annotations

import subprocess
import sys

ALL = {
    "import_speed": ["--resources", "100000"],
    "export_speed": [],
    "import_scale": ["--total", "300000", "--step", "50000", "--large", "150000"],
    "write_rate": [],
    "isolation": [],
    "write_latency": [],
    "write_cost": ["--writes", "1000"],
    "claim": [],
    "reconcile_walk": [],
    "push_latency": [],
    "audit_append": [],
    "audit_volume": ["--sizes", "50000"],
    "review_rate": [],
    "review_model": [],
    "review_volume": ["--decided", "100000", "--pending", "20000", "--items", "20000", "--labels", "20000"],
    "explain": [],
    "lookup": [],
    "poll_cost": [],
    "cadence": ["--sources", "50", "--minutes", "2"],
}


def main() -> None:
    """Run the benchmarks named, or all."""
    for name in sys.argv[1:] or ALL:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *ALL[name]], check=True)


if __name__ == "__main__":
    main()
