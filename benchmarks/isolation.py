"""What one sink that never answers costs nineteen others, from the append of an event to its arrival there.

python -m benchmarks.isolation [--sinks 20 --seconds 25 --rounds 2 --per-second 1 --breaker 1000]

Stretches in which all sinks answer take turns with stretches in which one hangs, on the same processes. With the
breaker at its 1000 failures the hanging sink is tried all the time, which is the worst case.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.machine import report
from connector_runner.bootstrap import Runner, build
from connector_runner.infra.queue import RELEASE
from connector_runner.intake import appending
from connector_runner.kernel.clock import utc_now
from connector_runner.settings import Settings
from tests.acceptance.stack import Sandbox, Stack, a_stack, store_settings, wait_for

STARTING_S = 10.0
HANGING = [{"on": "PUT Patient", "kind": "hang", "rate": 1}]


def apply_sinks(stack: Stack, healthy: str, hanging: str, sinks: int, breaker: int) -> None:
    """``sinks`` data sources: the last one writes to the system that will hang."""
    documents = []
    for n in range(sinks):
        document = store_settings(hanging if n == sinks - 1 else healthy)
        document["name"] = f"store{n}"
        document["settings"]["sink"]["entity_types"] = ["patient"]
        document["settings"]["sink"]["breaker"] = {"failures": breaker}
        # All of them write to one system here: what one made must not be found by the others.
        document["settings"]["sink"]["capabilities"] = {"search": False, "validate": False}
        documents.append(document)
    stack.cli("source", "apply", stack.write("sinks.json", documents))


def stretch(runner: Runner, workspace_id: str, first: int, per_second: float, seconds: float) -> dict[str, float]:
    """Append patients at a steady pace; family name -> when."""
    appended: dict[str, float] = {}
    begin = time.monotonic()
    for n in range(first, first + int(per_second * seconds)):
        time.sleep(max(0.0, begin + (n - first) / per_second - time.monotonic()))
        event = {
            "canonical_id": f"manual:Patient:{n}",
            "entity_type": "patient",
            "event_type": "patient.created",
            "source": "manual",
            "confidence": 1,
            "facts": {"name": {"family": f"Bench{n}", "given": ["Test"]}, "birth_date": "1980-01-01"},
        }
        with runner.database.begin(workspace_id) as tx:
            outcome = appending.append(
                tx, runner.world, runner.mappings, workspace_id, [event], actor="benchmark", now=utc_now()
            )
        if outcome.errors:
            raise SystemExit(f"not appended: {outcome.errors}")
        runner.publisher.hint(RELEASE, workspace_id=workspace_id)
        appended[f"Bench{n}"] = time.time()
    return appended


def lags(sandbox: Sandbox, appended: dict[str, float], sinks: int) -> list[float]:
    """Seconds from append to each arrival at the healthy system, once all are there."""
    expected = len(appended) * sinks

    def arrived() -> list[float] | None:
        found, resources = [], sandbox.every("Patient")
        when = {entry["resource"]: entry["time"] for entry in sandbox.journal() if entry["committed"]}
        for resource in resources:
            family = resource["name"][0]["family"]
            if family in appended:
                found.append(when[f"Patient/{resource['id']}"] - appended[family])
        return sorted(found) if len(found) >= expected else None

    return wait_for("every healthy sink to have everything", arrived, timeout_s=120, every_s=2)


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return sorted(values)[int(len(values) * 0.95)]


def drive(stack: Stack, chosen: argparse.Namespace) -> dict[str, object]:
    """Stretches by turns; the lags of healthy sinks in each kind."""
    healthy, hanging = stack.sandbox("store"), stack.sandbox("slow")
    apply_sinks(stack, healthy.fhir, hanging.fhir, chosen.sinks, chosen.breaker)
    stack.start("worker", "--pool", "io")
    time.sleep(STARTING_S)
    os.environ.update(stack.environment)
    runner = build(Settings())
    workspace_id = stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
    found: dict[str, list[float]] = {"warm": [], "all_answer": [], "one_hangs": []}
    first = 0
    for kind in ("warm", *("all_answer", "one_hangs") * chosen.rounds):
        hanging.put("_sandbox/faults", HANGING if kind == "one_hangs" else [])
        appended = stretch(runner, workspace_id, first, chosen.per_second, chosen.seconds)
        first += len(appended)
        found[kind] += lags(healthy, appended, chosen.sinks - 1)
    tried = [entry for entry in hanging.journal() if not entry["committed"] and entry["path"].startswith("/fhir")]
    alone, beside = found["all_answer"], found["one_hangs"]
    return {
        "sinks": chosen.sinks,
        "writes": len(alone) + len(beside),
        "hanging_requests": len(tried),
        "p50_s": round(alone[len(alone) // 2], 4),
        "p95_s": round(p95(alone), 4),
        "p95_beside_s": round(p95(beside), 4),
        "raised": round(p95(beside) / p95(alone) - 1, 3),
    }


def main() -> None:
    """Measure with one worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sinks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--per-second", type=float, default=1)
    parser.add_argument("--breaker", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, a_stack(Path(folder)) as stack:
        report("isolation", drive(stack, chosen))


if __name__ == "__main__":
    main()
