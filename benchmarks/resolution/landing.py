"""Records of a folder of the benchmark, landed through the product in an order, compared on the way."""

from __future__ import annotations

import csv
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import Bench
from benchmarks.resolution.dataset import FILES
from connector_runner.bootstrap import Addresses, Runner, collect_rarely
from connector_runner.infra.database import Database, rows
from connector_runner.intake.imports import running
from connector_runner.resolution import evidence_store, service
from connector_runner.review.queue import Handlers
from connector_runner.settings import Settings

MAPPINGS = {source: system for _, source, system in FILES}
Cluster = frozenset[str]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One version of a record of a source."""

    source: str
    name: str
    resource: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of comparing, our process and Postgres; of landing it is left out. ``compared`` counts every time."""

    cpu_s: float
    compared: int
    pairs: int


def final(folder: Path) -> list[Arrival]:
    """Every record in its final form."""
    return [
        Arrival(source, f"{source}:{resource.get('resourceType', 'contact')}/{resource['id']}", resource)
        for name, source, _ in FILES
        for resource in map(json.loads, (folder / name).open(encoding="utf-8"))
    ]


def in_arrival_order(folder: Path) -> list[Arrival]:
    """Every version in the order in which it arrived, early ones among them."""
    finals = {arrival.name: arrival for arrival in final(folder)}
    early = {line["record_id"]: line["resource"] for line in map(json.loads, (folder / "early_versions.ndjson").open())}
    with (folder / "arrival.csv").open() as lines:
        listed = sorted(csv.DictReader(lines), key=lambda line: int(line["seq"]))
    return [
        Arrival(found.source, found.name, early[line["record_id"]] if line["version"] == "early" else found.resource)
        for line in listed
        for found in [finals[line["record_id"]]]
    ]


def shuffled(arrivals: Sequence[Arrival], seed: int) -> list[Arrival]:
    """Another order, in which what a record said first still comes before what it said last."""
    order = list(range(len(arrivals)))
    random.Random(seed).shuffle(order)
    versions: dict[str, Iterator[Arrival]] = {}
    for arrival in arrivals:
        versions.setdefault(arrival.name, iter([a for a in arrivals if a.name == arrival.name]))
    return [next(versions[arrivals[place].name]) for place in order]


def resolve_waiting(database: Database, workspace: str) -> tuple[int, int]:
    """Compare what waits as a worker does; how many records, and how many pairs."""
    now = datetime.now(UTC)
    service.recount(database, workspace, now=now)
    compared = pairs = 0
    more = True
    while more:
        done = service.resolve(database, workspace, now=now)
        compared, pairs, more = compared + done.compared, pairs + done.pairs, done.more
    return compared, pairs


class Clinic:
    """A workspace of its own into which records are landed."""

    def __init__(self, machine: Bench, slug: str, scratch: Path) -> None:
        self._machine, self._scratch, self._slug = machine, scratch, slug
        self.workspace = machine.workspace(slug)
        settings = Settings(home=machine.home)
        collect_rarely()
        self._runner = Runner(settings, Addresses(machine.database_url, machine.redis_url))
        self._spent = Cost(0.0, 0, 0)

    @property
    def database(self) -> Database:
        """Where it is kept."""
        return self._runner.database

    @property
    def handlers(self) -> Handlers:
        """Who carries out what people answer."""
        return self._runner.answer_handlers

    def land(self, arrivals: Iterable[Arrival]) -> None:
        """Import one chunk, a file for each source; two versions of one record are in two files."""
        files: dict[str, dict[str, str]] = {}
        for arrival in arrivals:
            lines = files.setdefault(arrival.source, {})
            if arrival.name in lines:
                self._import(arrival.source, lines)
                lines.clear()
            lines[arrival.name] = json.dumps(arrival.resource)
        for source, lines in files.items():
            self._import(source, lines)

    def _import(self, source: str, lines: dict[str, str]) -> None:
        path = self._scratch / f"{source}.ndjson"
        path.write_text("\n".join(lines.values()) + "\n", encoding="utf-8")
        outcome = running.run_local(self._runner, self.workspace, source, [str(path)], mapping=MAPPINGS[source])
        if outcome["errors"] or outcome["quarantined"]:
            raise SystemExit(f"not everything was imported: {outcome['errors'][:3]}")

    def compare(self, *, all_of_it: bool) -> Cost:
        """Compare what waits as a worker does, or with an exact count as an export of clusters does; what it cost."""
        postgres, ours = self._machine.postgres_cpu_s(), time.process_time()
        if all_of_it:
            done = service.work_off(self._runner.database, self.workspace, now=datetime.now(UTC))
            compared, pairs = done.compared, done.pairs
        else:
            compared, pairs = resolve_waiting(self._runner.database, self.workspace)
        cpu_s = time.process_time() - ours + self._machine.postgres_cpu_s() - postgres
        spent = self._spent
        self._spent = Cost(spent.cpu_s + cpu_s, spent.compared + compared, spent.pairs + pairs)
        return Cost(cpu_s, compared, pairs)

    def run(self, arrivals: Sequence[Arrival], chunk: int) -> Cost:
        """Land chunk by chunk, comparing after each; what comparing cost."""
        for start in range(0, len(arrivals), chunk):
            some = arrivals[start : start + chunk]
            self.land(some)
            if len(some) == chunk:
                self.compare(all_of_it=False)
        self.compare(all_of_it=True)
        return self._spent

    def rows(self, kind: str) -> list[tuple[str, str]]:
        """(canonical id, entity) as ``clusters --csv`` tells them."""
        with self._runner.database.begin(self.workspace) as tx:
            return [(name, cluster) for name, cluster in evidence_store.every_cluster(tx, self.workspace, kind)]

    def clusters(self, kind: str) -> set[Cluster]:
        """Which records are one, by their canonical ids: entities have other ids in each workspace."""
        found: dict[str, set[str]] = {}
        for name, cluster in self.rows(kind):
            found.setdefault(cluster, set()).add(name)
        return {frozenset(names) for names in found.values()}

    def links(self, kind: str) -> list[tuple[str, str]]:
        """The pairs of canonical ids that hold clusters together."""
        with self._runner.database.begin(self.workspace) as tx:
            found = rows(
                tx,
                "SELECT a.canonical_id AS one, b.canonical_id AS other FROM pair_evidence p"
                " JOIN entity a ON a.workspace_id = p.workspace_id AND a.entity_id = p.one AND a.entity_type = :kind"
                " JOIN entity b ON b.workspace_id = p.workspace_id AND b.entity_id = p.other WHERE p.linked",
                kind=kind,
            )
        return [(row["one"], row["other"]) for row in found]

    def events(self) -> dict[str, int]:
        """How many links were made, and how many taken back."""
        with self._runner.database.begin(self.workspace) as tx:
            found = rows(tx, "SELECT action, count(*) AS n FROM link_event GROUP BY action")
        return {row["action"]: int(row["n"]) for row in found}
