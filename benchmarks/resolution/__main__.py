"""Resolve the records of a folder of known truth: in arrival order, as one batch, and in random orders.

python -m benchmarks.resolution FOLDER [--orders 5] [--chunk 500] [--score SCORE.py] [--band]

Records land in chunks by the product's import, and are compared after each. Every order must end with the same
clusters; the first pairs that differ are shown, and the exit code is 1. ``--score`` is a program that is called with
the clusters as CSV, ``--truth``, ``--kind`` and ``--json``, and prints figures as JSON. ``--band``: last the questions
that one batch left are answered rightly, and it is scored once more.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import Bench, bench, report
from benchmarks.resolution.band import answer
from benchmarks.resolution.dataset import read
from benchmarks.resolution.landing import Arrival, Clinic, Cluster, final, in_arrival_order, shuffled

KINDS = ("patient", "practitioner")
_SHOWN = 10


def main() -> None:
    """Run every order; 1 when two of them disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--orders", type=int, default=5, help="random orders beside arrival and one batch")
    parser.add_argument("--chunk", type=int, default=500, help="records that land before they are compared")
    parser.add_argument("--score", type=Path, help="the scorer to call")
    parser.add_argument("--band", action="store_true", help="score again with possible matches answered rightly")
    arguments = parser.parse_args()
    arrivals = in_arrival_order(arguments.folder)
    orders: dict[str, tuple[list[Arrival], int]] = {"batch": (final(arguments.folder), len(arrivals) + 1)}
    orders["arrival"] = (arrivals, arguments.chunk)
    for seed in range(arguments.orders):
        orders[f"order-{seed}"] = (shuffled(arrivals, seed), arguments.chunk)
    differing, batch = 0, None
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        first: dict[str, set[Cluster]] = {}
        for name, (order, chunk) in orders.items():
            clinic, figures = _run(machine, name, order, chunk, Path(scratch))
            for kind in KINDS:
                found = clinic.clusters(kind)
                figures[kind] = {"records": sum(map(len, found)), "entities": len(found)}
                apart = found ^ first.setdefault(kind, found)
                figures[kind]["differ"] = len(apart)
                differing += len(apart)
                for cluster in sorted(apart, key=min)[:_SHOWN]:
                    print(f"{name}: {'this' if cluster in found else 'batch'}: {sorted(cluster)}", file=sys.stderr)
                if arguments.score and name == "batch":
                    figures[kind] |= _scored(arguments.score, arguments.folder, clinic.rows(kind), kind, Path(scratch))
            report("resolution", figures)
            batch = clinic if name == "batch" else batch
        if arguments.score and arguments.band and batch is not None:
            _report_band(batch, arguments.folder, arguments.score, Path(scratch))
    if differing:
        raise SystemExit(1)


def _run(machine: Bench, name: str, order: list[Arrival], chunk: int, scratch: Path) -> tuple[Clinic, dict[str, Any]]:
    clinic = Clinic(machine, name, scratch)
    cost = clinic.run(order, chunk)
    figures: dict[str, Any] = {
        "order": name,
        "versions": len(order),
        "compared": cost.compared,
        "pairs": cost.pairs,
        "cpu_s": round(cost.cpu_s, 1),
        "cpu_ms_a_version": round(cost.cpu_s / len(order) * 1000, 3),
        **clinic.events(),
    }
    return clinic, figures


def _report_band(clinic: Clinic, folder: Path, program: Path, scratch: Path) -> None:
    for kind in KINDS:
        answered = answer(clinic, kind, read(folder, kind).people)
        scored = _scored(program, folder, clinic.rows(kind), kind, scratch)
        report("resolution.band", {"kind": kind, **answered, **scored})


def _scored(program: Path, folder: Path, rows: list[tuple[str, str]], kind: str, scratch: Path) -> dict[str, float]:
    clusters = scratch / "clusters.csv"
    with clusters.open("w", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["canonical_id", "entity_id"])
        writer.writerows(rows)
    command = [
        sys.executable,
        str(program),
        str(clusters),
        "--truth",
        str(folder / "truth.csv"),
        "--kind",
        kind,
        "--json",
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    scores = json.loads(printed)
    return {name: scores[name] for name in ("precision", "recall", "f1", "false_merge_rate")}


if __name__ == "__main__":
    main()
