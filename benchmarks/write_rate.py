"""How close to its limit a sink is driven, and whether it is ever driven over it, by its own journal.

python -m benchmarks.write_rate [--per-second 1 10 100 --seconds 15 --burst 5 --processes 1 4]

All that is to be written is ready before the sink is opened, so what is measured is the drain.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.machine import birth_date, report
from connector_runner.infra.database import Database, execute, one
from tests.acceptance.stack import Stack, a_stack, store_settings, wait_for

STARTING_S = 10.0
REQUESTS_A_CREATE = 2
"""A search for duplicates, and the create."""


def overshoot(times: list[float], per_second: float, burst: int) -> float:
    """The most by which any sliding window holds more than ``burst + per_second * length``; <= 0 is within."""
    worst = float("-inf")
    lowest = float("inf")
    # A window from i to j holds j - i + 1 arrivals: over by j + 1 - rate*t_j - (i - rate*t_i) - burst.
    for number, moment in enumerate(times):
        lowest = min(lowest, number - per_second * moment)
        worst = max(worst, number + 1 - per_second * moment - lowest - burst)
    return worst


def prepare(stack: Stack, fhir: str, writes: int, rate: dict[str, object]) -> Database:
    """A sink that is paused, and new patients that are ready to go there."""
    document = store_settings(fhir)
    document["settings"]["sink"]["rate"] = rate
    stack.cli("source", "apply", stack.write("store.json", document))
    database = Database(stack.services.services.database_url)
    workspace_id = stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
    with database.begin(workspace_id) as tx:
        execute(tx, "UPDATE data_source SET sink_paused_reason = 'benchmark', sink_next_wake_at = NULL")
    patients = [
        {
            "canonical_id": f"manual:Patient:{n}",
            "entity_type": "patient",
            "event_type": "patient.created",
            "source": "manual",
            "confidence": 1.0,
            "facts": {"name": {"family": f"Bench{n}", "given": ["Test"]}, "birth_date": birth_date(n)},
        }
        for n in range(writes)
    ]
    stack.cli("event", "append", stack.write("patients.json", patients))
    return database


def count(database: Database, state: str) -> int:
    """How many lanes are in a state."""
    with database.sweep() as tx:
        found = one(tx, "SELECT count(*) AS n FROM sync_lane WHERE state = :state", state=state)
    return 0 if found is None else int(found["n"])


def waiting(database: Database) -> int:
    """How many entities wait to be compared with others before they are made anywhere."""
    with database.sweep() as tx:
        found = one(tx, "SELECT count(*) AS n FROM pending_resolution")
    return 0 if found is None else int(found["n"])


def drive(stack: Stack, processes: int, per_second: float, burst: int, seconds: float) -> dict[str, object]:
    """Open the sink to workers that are up, and read its journal once all is written."""
    sandbox = stack.sandbox("store")
    writes = round(per_second * seconds / REQUESTS_A_CREATE) + burst
    rate: dict[str, object] = {"per_second": per_second, "burst": burst, "concurrency": 4}
    database = prepare(stack, sandbox.fhir, writes, rate)
    comparing = stack.start("worker", "--pool", "cpu")
    wait_for("everybody to be compared", lambda: not waiting(database), timeout_s=120)
    stack.end(comparing)
    for _ in range(processes):
        stack.start("worker", "--pool", "io")
    wait_for("every lane to be ready", lambda: count(database, "ready") == writes, timeout_s=120)
    time.sleep(STARTING_S)
    workspace_id = stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
    with database.begin(workspace_id) as tx:
        execute(tx, "UPDATE data_source SET sink_paused_reason = NULL")
    # Looked at seldom and cheaply: that is done on the processors which are measured.
    wait_for("every lane to be idle", lambda: count(database, "idle") == writes, timeout_s=seconds * 3 + 60, every_s=1)
    database.dispose()
    entries = [entry for entry in sandbox.journal() if entry["path"].startswith("/fhir")]
    times = sorted(entry["time"] for entry in entries)
    committed = [entry["resource"] for entry in entries if entry["committed"]]
    driven = (len(times) - 1) / (times[-1] - times[0])
    return {
        "processes": processes,
        "load": round(os.getloadavg()[0], 1),
        "requests": len(times),
        "resources": len(set(committed)),
        "duplicates": len(committed) - len(set(committed)),
        "per_second": round(driven, 2),
        "utilisation": round(driven / per_second, 3),
        "overshoot": round(overshoot(times, per_second, burst), 3),
    }


def main() -> None:
    """Each limit with each number of worker processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, nargs="+", default=[1, 10, 100])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--burst", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    chosen = parser.parse_args()
    for per_second in chosen.per_second:
        for processes in chosen.processes:
            with tempfile.TemporaryDirectory() as folder, a_stack(Path(folder)) as stack:
                figures = drive(stack, processes, per_second, chosen.burst, chosen.seconds)
                report("write_rate", {"limit": per_second, "burst": chosen.burst} | figures)


if __name__ == "__main__":
    main()
