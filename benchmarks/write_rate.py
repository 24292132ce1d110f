"""How close to its limit a sink is driven, and whether it is ever driven over it, by its own journal.

python -m benchmarks.write_rate [--per-second 10 --burst 5 --writes 150]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import report
from tests.acceptance.stack import Stack, a_stack, store_settings


def overshoot(times: list[float], per_second: float, burst: int) -> float:
    """The most by which any sliding window holds more than ``burst + per_second * length``; <= 0 is within."""
    worst = float("-inf")
    lowest = float("inf")
    # A window from i to j holds j - i + 1 arrivals: over by j + 1 - rate*t_j - (i - rate*t_i) - burst.
    for number, moment in enumerate(times):
        lowest = min(lowest, number - per_second * moment)
        worst = max(worst, number + 1 - per_second * moment - lowest - burst)
    return worst


def drive(stack: Stack, processes: int, writes: int, per_second: float, burst: int) -> dict[str, object]:
    """Make new patients known, and read the sink's journal once all are there."""
    sandbox = stack.sandbox("store")
    document = store_settings(sandbox.fhir)
    document["settings"]["sink"]["rate"] = {"per_second": per_second, "burst": burst, "concurrency": 4}
    stack.cli("source", "apply", stack.write("store.json", document))
    patients = [
        {
            "canonical_id": f"manual:Patient:{n}",
            "entity_type": "patient",
            "event_type": "patient.created",
            "source": "manual",
            "confidence": 1.0,
            "facts": {"name": {"family": f"Bench{n}", "given": ["Test"]}, "birth_date": "1980-01-01"},
        }
        for n in range(writes)
    ]
    stack.cli("event", "append", stack.write("patients.json", patients))
    for _ in range(processes):
        stack.start("worker", "--pool", "io")
    stack.settled(timeout_s=writes / per_second * 3 + 60)
    entries = [entry for entry in sandbox.journal() if entry["path"].startswith("/fhir")]
    times = sorted(entry["time"] for entry in entries)
    committed = [entry["resource"] for entry in entries if entry["committed"]]
    return {
        "processes": processes,
        "requests": len(times),
        "resources": len(set(committed)),
        "duplicates": len(committed) - len(set(committed)),
        "per_second": round((len(times) - 1) / (times[-1] - times[0]), 2),
        "overshoot": round(overshoot(times, per_second, burst), 3),
    }


def main() -> None:
    """One worker process, then four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=10)
    parser.add_argument("--burst", type=int, default=5)
    parser.add_argument("--writes", type=int, default=150)
    arguments = parser.parse_args()
    for processes in (1, 4):
        with tempfile.TemporaryDirectory() as folder, a_stack(Path(folder)) as stack:
            figures = drive(stack, processes, arguments.writes, arguments.per_second, arguments.burst)
            report("write_rate", {"limit": arguments.per_second, "burst": arguments.burst} | figures)


if __name__ == "__main__":
    main()
