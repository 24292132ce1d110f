"""What one sink that never answers costs nineteen others, from the append of an event to its arrival there.

python -m benchmarks.isolation [--sinks 20 --seconds 20 --rounds 4 --per-second 5 --to one --breaker 1000]

Stretches in which all sinks answer take turns with stretches in which one hangs, on the same processes, each pair in
the other order than the one before: the median over pairs, and all of a kind together. An event goes to one sink
after the other, or with ``--to all`` to all of them at once, which lets them queue for the processor. With the breaker
at its 1000 failures the hanging sink is tried all the time, which is the worst case.
"""

from __future__ import annotations

import argparse
import os
import statistics
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
from tests.acceptance.stack import Sandbox, Stack, a_stack, store_settings, wait_for

STARTING_S = 10.0
HANGING = [{"on": "PUT Patient", "kind": "hang", "rate": 1}]


def apply_sinks(stack: Stack, healthy: str, hanging: str, sinks: int, breaker: int) -> None:
    """``sinks`` data sources: the last one writes to the system that will hang."""
    documents = []
    for n in range(sinks):
        document = store_settings(hanging if n == sinks - 1 else healthy, accept_from=(f"ward{n}",))
        document["name"] = f"store{n}"
        sink = document["settings"]["sink"]
        sink["entity_types"] = ["patient"]
        sink["breaker"] = {"failures": breaker}
        # All of them write to one system here: what one made must not be found by the others.
        sink["capabilities"] = {"search": False, "validate": False}
        documents.append(document)
    stack.cli("source", "apply", stack.write("sinks.json", documents))


class Ward:
    """Where patients come from: at a steady pace, each for one sink or for all."""

    def __init__(self, runner: Runner, workspace_id: str, sinks: int, to_all: bool) -> None:
        self._runner, self._workspace_id, self._sinks, self._to_all = runner, workspace_id, sinks, to_all
        self._next = 0
        self.appended: dict[str, float] = {}

    def stretch(self, per_second: float, seconds: float) -> list[str]:
        """Append for so long; the names of those that came."""
        begin, names = time.monotonic(), []
        for n in range(int(per_second * seconds)):
            time.sleep(max(0.0, begin + n / per_second - time.monotonic()))
            names.append(self._append())
        return names

    def _append(self) -> str:
        n, self._next = self._next, self._next + 1
        source = {"source": "manual"} if self._to_all else {"source": "fhir_import"}
        system = "manual" if self._to_all else f"ward{n % self._sinks}"
        name = f"{system}:Patient:{n}"
        event: dict[str, object] = source | {
            "canonical_id": name,
            "entity_type": "patient",
            "event_type": "patient.created",
            "source_system": system,
            "confidence": 1,
            "facts": {"name": {"family": f"Bench{n}", "given": ["Test"]}, "birth_date": birth_date(n)},
        }
        with self._runner.database.begin(self._workspace_id) as tx:
            outcome = appending.append(
                tx,
                self._runner.world,
                self._runner.mappings,
                self._workspace_id,
                [event],
                actor="benchmark",
                now=utc_now(),
            )
        if outcome.errors:
            raise SystemExit(f"not appended: {outcome.errors}")
        self.appended[name] = time.time()
        for task in (RELEASE, RESOLVE):
            self._runner.publisher.hint(task, workspace_id=self._workspace_id)
        return name

    def landed(self) -> dict[str, list[str]] | None:
        """Which resources became of each patient, once every lane is done with; None before."""
        with self._runner.database.begin(self._workspace_id) as tx:
            found = rows(
                tx,
                "SELECT e.canonical_id AS name, l.sink_ref AS ref, l.state FROM sync_lane l"
                " JOIN entity e USING (workspace_id, entity_id) WHERE l.sink_ref IS NOT NULL OR l.state <> 'idle'",
            )
        if any(row["state"] != "idle" for row in found):
            return None
        resources: dict[str, list[str]] = {}
        for row in found:
            resources.setdefault(row["name"], []).append(row["ref"])
        return resources if resources.keys() >= self.appended.keys() else None


def lags(ward: Ward, names: list[str], healthy: Sandbox) -> list[float]:
    """Seconds from append to each arrival at the healthy system, once nothing is on its way to any."""
    resources = wait_for("every lane to be done with", ward.landed, timeout_s=120, every_s=1)
    when: dict[str, float] = {}
    for entry in healthy.journal():
        if entry["committed"]:
            when.setdefault(entry["resource"], entry["time"])
    return [when[ref] - ward.appended[name] for name in names for ref in resources[name] if ref in when]


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return sorted(values)[int(len(values) * 0.95)]


def load() -> float:
    """How many processes wanted a processor in the last minute."""
    return round(os.getloadavg()[0], 1)


def drive(stack: Stack, chosen: argparse.Namespace) -> dict[str, object]:
    """Pairs of stretches; the lags of healthy sinks in each kind."""
    healthy, hanging = stack.sandbox("store"), stack.sandbox("slow")
    apply_sinks(stack, healthy.fhir, hanging.fhir, chosen.sinks, chosen.breaker)
    # Reconciliation of twenty new sinks would fall into one of the stretches.
    stack.environment |= {"CONNECTOR_RUNNER_RECONCILE_EVERY_S": "86400", "CONNECTOR_RUNNER_RECONCILE_SAMPLE": "0"}
    stack.start("worker", "--pool", "io")
    # New patients are compared before they are made.
    stack.start("worker", "--pool", "cpu")
    time.sleep(STARTING_S)
    os.environ.update(stack.environment)
    workspace_id = stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
    ward = Ward(build(Settings()), workspace_id, chosen.sinks, chosen.to == "all")

    def measured(hangs: bool, seconds: float) -> list[float]:
        hanging.put("_sandbox/faults", HANGING if hangs else [])
        names = ward.stretch(chosen.per_second, seconds)
        hanging.put("_sandbox/faults", [])
        return lags(ward, names, healthy)

    measured(False, chosen.seconds / 2)
    loads = [load()]
    pairs: list[tuple[list[float], list[float]]] = []
    for number in range(chosen.rounds):
        order = (False, True) if number % 2 == 0 else (True, False)
        found = {hangs: measured(hangs, chosen.seconds) for hangs in order}
        pairs.append((found[False], found[True]))
        loads.append(load())
    all_alone = [lag for alone, _ in pairs for lag in alone]
    all_beside = [lag for _, beside in pairs for lag in beside]
    tried = [entry for entry in hanging.journal() if entry["fault"] == "hang"]
    return {
        "sinks": chosen.sinks,
        "to": chosen.to,
        "writes": sum(len(part) for pair in pairs for part in pair),
        "hanging_requests": len(tried),
        "load": [min(loads), max(loads)],
        "p50_s": round(statistics.median(statistics.median(alone) for alone, _ in pairs), 4),
        "p50_beside_s": round(statistics.median(statistics.median(beside) for _, beside in pairs), 4),
        "p95_s": round(statistics.median(p95(alone) for alone, _ in pairs), 4),
        "p95_beside_s": round(statistics.median(p95(beside) for _, beside in pairs), 4),
        "raised_of_all": round(p95(all_beside) / p95(all_alone) - 1, 3),
        "raised": round(statistics.median(p95(beside) / p95(alone) - 1 for alone, beside in pairs), 3),
        "raised_in_each": [round(p95(beside) / p95(alone) - 1, 2) for alone, beside in pairs],
    }


def main() -> None:
    """Measure with one worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sinks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--per-second", type=float, default=5)
    parser.add_argument("--to", choices=("one", "all"), default="one")
    parser.add_argument("--breaker", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, a_stack(Path(folder)) as stack:
        report("isolation", drive(stack, chosen))


if __name__ == "__main__":
    main()
