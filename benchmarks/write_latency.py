"""From the append of a verified event to a lane that is ready, and to its arrival at the sink, at a steady pace.

python -m benchmarks.write_latency [--per-second 20 --seconds 30]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.machine import birth_date, report
from connector_runner.bootstrap import Runner, build
from connector_runner.infra.database import rows
from connector_runner.infra.queue import RELEASE, RESOLVE
from connector_runner.intake import appending
from connector_runner.kernel.clock import utc_now
from connector_runner.settings import Settings
from tests.acceptance.stack import Stack, a_stack, store_settings


def drive(stack: Stack, per_second: float, seconds: float) -> dict[str, object]:
    """Append at the pace asked for; match each event with the write that its patient came to."""
    sandbox = stack.sandbox("store")
    document = store_settings(sandbox.fhir)
    document["settings"]["sink"]["rate"] = {"per_second": 200, "burst": 40, "concurrency": 8}
    stack.cli("source", "apply", stack.write("store.json", document))
    stack.start("worker", "--pool", "io")
    # New patients are compared before they are made.
    stack.start("worker", "--pool", "cpu")
    time.sleep(8)
    os.environ.update(stack.environment)
    runner = build(Settings())
    workspace_id = stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
    appended: dict[str, float] = {}
    begin = time.monotonic()
    for n in range(int(per_second * seconds)):
        time.sleep(max(0.0, begin + n / per_second - time.monotonic()))
        family = f"Bench{n}"
        event = {
            "canonical_id": f"manual:Patient:{n}",
            "entity_type": "patient",
            "event_type": "patient.created",
            "source": "manual",
            "confidence": 1,
            "facts": {"name": {"family": family, "given": ["Test"]}, "birth_date": birth_date(n)},
        }
        with runner.database.begin(workspace_id) as tx:
            outcome = appending.append(
                tx, runner.world, runner.mappings, workspace_id, [event], actor="benchmark", now=utc_now()
            )
        if outcome.errors:
            raise SystemExit(f"not appended: {outcome.errors}")
        for task in (RELEASE, RESOLVE):
            runner.publisher.hint(task, workspace_id=workspace_id)
        appended[family] = time.time()
    stack.settled()
    lag = []
    arrived = {entry["resource"]: entry["time"] for entry in sandbox.journal() if entry["committed"]}
    for resource in sandbox.every("Patient"):
        lag.append(arrived[f"Patient/{resource['id']}"] - appended[resource["name"][0]["family"]])
    lag.sort()
    ready = lanes_ready(runner, workspace_id, appended)
    return {
        "ready_p50_s": round(ready[len(ready) // 2], 3),
        "ready_p95_s": round(ready[int(len(ready) * 0.95)], 3),
        "events": len(appended),
        "written": len(lag),
        "p50_s": round(lag[len(lag) // 2], 3),
        "p95_s": round(lag[int(len(lag) * 0.95)], 3),
        "max_s": round(lag[-1], 3),
    }


def lanes_ready(runner: Runner, workspace_id: str, appended: dict[str, float]) -> list[float]:
    """Seconds from each event's commit until its lane was ready; sorted. The clocks are one machine's."""
    with runner.database.begin(workspace_id) as tx:
        found = rows(
            tx,
            "SELECT e.state->'name'->>'family' AS family, extract(epoch FROM l.wanted_at)::float8 AS ready"
            " FROM sync_lane l JOIN projection e USING (workspace_id, entity_id) WHERE l.workspace_id = :ws",
            ws=workspace_id,
        )
    return sorted(row["ready"] - appended[row["family"]] for row in found)


def main() -> None:
    """Measure with one worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, a_stack(Path(folder)) as stack:
        report("write_latency", drive(stack, arguments.per_second, arguments.seconds))


if __name__ == "__main__":
    main()
