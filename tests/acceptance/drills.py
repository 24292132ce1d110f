"""A clinic under load for drills: an EHR that two sinks follow, what they must hold, and the laws that always hold.

What a sink was told is read from the files in which the simulated systems keep each commit and each request, so
that looking costs the sink no request.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector_runner.infra.database import Database, rows
from connector_runner.infra.embedded.home import choose_port
from tests.acceptance.drill_clinic import (
    BREAKER_S,
    FAMILIES,
    GIVENS,
    QUIET_S,
    RATE,
    appointment,
    documents,
    patient,
)
from tests.acceptance.stack import Sandbox, Stack, a_stack, wait_for

SEED = int(os.environ.get("DRILL_SEED", "20261122"))
RESUME_S = 30.0 + QUIET_S + BREAKER_S
WORKER, BEAT = ("worker", "--pool", "io", "-c", "8"), ("beat",)
COMPARER = ("worker", "--pool", "cpu", "-c", "1")
"""Nobody is made in a sink before they were compared with others, so somebody has to compare."""
FIRST_TOKEN = "first-token"


def written(folder: Path, file: str) -> Iterator[dict[str, Any]]:
    """The whole lines of a simulated system's file; a line may just be on its way."""
    data = (folder / file).read_bytes()
    yield from map(json.loads, data[: data.rfind(b"\n") + 1].splitlines())


@dataclass(frozen=True)
class Version:
    """One version of a resource that a sink committed."""

    kind: str
    id: str
    body: dict[str, Any] | None

    @property
    def ref(self) -> str:
        return f"{self.kind}/{self.id}"

    @property
    def key(self) -> str:
        """Which record of the EHR it is a copy of."""
        body = self.body or {}
        if self.kind == "Contact":
            return f"Drill{FAMILIES.index(body['lastName']) + 16 * GIVENS.index(body['firstName'])}"
        if self.kind == "Activity":
            return str(body.get("subject", "").partition(" ")[0])
        return next(i["value"] for i in body["identifier"] if i["system"] == "urn:mrn")

    @property
    def word(self) -> int:
        """The number that the EHR gave to what it said."""
        body = self.body or {}
        if self.kind in ("Patient", "Contact"):
            phone = body.get("phone") or next(t["value"] for t in body["telecom"] if t["system"] == "phone")
            return int(phone[-4:])
        return int((body.get("description") or body["subject"]).rpartition(" ")[2])


@dataclass
class Told:
    """A sink as its own files tell of it."""

    name: str
    kinds: tuple[str, str]
    sandbox: Sandbox
    folder: Path

    def versions(self) -> list[Version]:
        """Every version of the drill's kinds, in order."""
        return [
            Version(kind, resource_id, body)
            for line in written(self.folder, "commits.ndjson")
            for kind, resource_id, _, _, body in line.get("commit", ())
            if kind in self.kinds
        ]

    def holds(self) -> dict[str, int]:
        """The latest word on each record."""
        return {version.key: version.word for version in self.versions()}

    def requests(self) -> list[dict[str, Any]]:
        """Each request once, as it ended."""
        return list({line["seq"]: line for line in written(self.folder, "requests.ndjson")}.values())

    def faults(self, *orders: dict[str, Any]) -> None:
        self.sandbox.put("_sandbox/faults", list(orders))

    def behave(self, **behaviour: Any) -> None:
        self.sandbox.put("_sandbox/behaviour", behaviour)


def overshoot(times: Sequence[float]) -> float:
    """The most by which a sliding window holds more arrivals than it may; above 0 the rate was exceeded."""
    worst, lowest = float("-inf"), float("inf")
    for number, moment in enumerate(sorted(times)):
        lowest = min(lowest, number - RATE["per_second"] * moment)
        worst = max(worst, number + 1 - RATE["per_second"] * moment - lowest - RATE["burst"])
    return worst


@dataclass
class Clinic:
    """The stack, its systems, and what the EHR has said so far."""

    stack: Stack
    database: Database
    workspace_id: str
    ehr: Sandbox
    store: Told
    crm: Told
    token: Path
    said: dict[str, int] = field(default_factory=dict)
    unshared: dict[str, int] = field(default_factory=dict)
    """Records that the store may no longer be told of, and the last word that it may have."""
    words: int = 0
    ehr_writes: int = 0
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    comparer: subprocess.Popen[bytes] | None = None
    resumed: dict[str, float] = field(default_factory=dict)

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        with self.database.begin(self.workspace_id) as tx:
            return [dict(row) for row in rows(tx, sql, **values)]

    # what the EHR says

    def put(self, resource: dict[str, Any]) -> None:
        self.ehr.put(f"fhir/{resource['resourceType']}/{resource['id']}", resource)
        self.ehr_writes += 1

    def say(self, *numbers: int, times: int = 1) -> None:
        """A new word about the patients of these numbers and their appointments; those that are new are made."""
        for _ in range(times):
            for number in numbers:
                self.words += 1
                self.put(patient(number, self.words))
                self.put(appointment(number, self.words))
                self.said |= {f"Drill{number}": self.words, f"visit{number}": self.words}

    def missing(self) -> dict[str, dict[str, int]]:
        """By sink, what it should hold and does not."""
        owed = {"store": self.said | self.unshared, "crm": self.said}
        have = {"store": self.store.holds(), "crm": self.crm.holds()}
        lacking = {
            name: {key: word for key, word in owed[name].items() if have[name].get(key) != word} for name in owed
        }
        return {name: keys for name, keys in lacking.items() if keys}

    def wait_told(self, what: str, timeout_s: float) -> None:
        """Until the sinks hold what they should; a failure tells what they lack and where its lanes are."""
        try:
            wait_for("all to be told", self._all_told, timeout_s=timeout_s, every_s=0.1)
        except AssertionError as error:
            log = (self.stack.folder / "processes.log").read_text(errors="replace").splitlines()[-4000:]
            last = "\n".join([line for line in log if '"level":"warn' in line or '"level":"err' in line][-30:])
            raise AssertionError(f"{what}: {error}: {self.missing()}, lanes {self.stack.lanes()}\n{last}") from None

    # how it goes on

    def ready(self) -> None:
        """Two workers and a beat, nothing wrong with any system, nothing on its way."""
        self._supervise()
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
        for sink in (self.store, self.crm):
            sink.faults()
        if not any(process.poll() is None for process in self.beats):
            self.stack.start(*BEAT)
        self.wait_told("before a drill", 90)

    def _all_told(self) -> bool:
        self._supervise()
        return not self.missing()

    def _supervise(self) -> None:
        """Replace workers that a drill killed, as whatever runs the Procfile does; none ends by itself."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            assert worker.returncode == -signal.SIGKILL, f"a worker ended by itself ({worker.returncode})"
            self.workers.remove(worker)
            self.stack.processes.remove(worker)
        while len(self.workers) < 2:
            self.workers.append(self.stack.start(*WORKER))
        if self.comparer is None:
            self.comparer = self.stack.start(*COMPARER)

    @property
    def beats(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self.stack.processes if process not in (*self.workers, self.comparer)]

    def resumes(self, what: str, since: float | None = None) -> None:
        """Wait until all is told; within 30 s, the breaker's and the quiet period of ``since``, when it could be."""
        began = time.monotonic() if since is None else since
        self.wait_told(what, 120)
        took = self.resumed[what] = round(time.monotonic() - began, 1)
        print(f"{what}: resumed within {took} s", flush=True)
        assert took <= RESUME_S, f"{what}: resumed after {took} s"

    def drainer(self) -> subprocess.Popen[bytes]:
        """The worker whose request to the store is on its way now."""

        def look() -> subprocess.Popen[bytes] | None:
            owners = self.query(
                "SELECT l.lease_owner FROM open_intent i JOIN sync_lane l USING (workspace_id, lane_id)"
                " JOIN data_source d ON d.workspace_id = l.workspace_id AND d.data_source_id = l.sink_id"
                " WHERE l.state = 'leased' AND d.name = 'store'"
            )
            pids = {int(row["lease_owner"].split(":")[1]) for row in owners}
            return next((worker for worker in self.workers if worker.pid in pids), None)

        return wait_for("a worker that drains", look, every_s=0.02)

    def breaker(self) -> Any:
        """Until when the store's breaker is open."""
        return self.query("SELECT sink_breaker_until AS until FROM data_source WHERE name = 'store'")[0]["until"]

    def lane(self, sink: str, name: str) -> dict[str, Any]:
        """Where the lane of an entity is."""
        return self.query(
            "SELECT l.state, l.reason FROM sync_lane l JOIN entity e USING (workspace_id, entity_id)"
            " JOIN data_source d ON d.data_source_id = l.sink_id WHERE d.name = :sink AND e.canonical_id = :name",
            sink=sink,
            name=name,
        )[0]

    def leases_of(self, worker: subprocess.Popen[bytes]) -> int:
        """How many lanes a worker has leased."""
        found = self.query(
            "SELECT count(*) AS n FROM sync_lane WHERE state = 'leased' AND split_part(lease_owner, ':', 2) = :pid",
            pid=str(worker.pid),
        )
        return int(found[0]["n"])

    def check(self) -> None:
        """The laws: nothing lost, nothing twice, nothing stale, nothing left open, never too fast, nothing back."""
        wait_for("the intents to close", lambda: not self.query("SELECT lane_id FROM open_intent"))
        assert self.missing() == {}, "lost"
        for sink in (self.store, self.crm):
            unlike(sink)
            told = sink.requests()
            assert overshoot([entry["time"] for entry in told]) <= 0, f"{sink.name}: too fast"
        back = [entry for entry in self.ehr.journal() if entry["committed"]]
        assert len(back) == self.ehr_writes, "something returned to the EHR"


def unlike(sink: Told) -> None:
    """No record is there twice, none was ever put back to an older word, none was removed."""
    refs: dict[tuple[str, str], set[str]] = defaultdict(set)
    last: Counter[str] = Counter()
    for version in sink.versions():
        assert version.body is not None, f"{sink.name}: {version.ref} was removed"
        refs[version.kind, version.key].add(version.ref)
        assert version.word >= last[version.ref], f"{sink.name}: {version.ref} was put back"
        last[version.ref] = version.word
    twice = {key: found for key, found in refs.items() if len(found) > 1}
    assert not twice, f"{sink.name}: made twice: {twice}"
    made = Counter(
        ref
        for entry in sink.requests()
        if entry["committed"] and entry["status"] in (201, None) and entry["method"] == "POST"
        for ref in entry["resources"]
        if ref.partition("/")[0] in sink.kinds
    )
    assert max(made.values(), default=1) == 1, f"{sink.name}: created twice: {made.most_common(3)}"


def a_sink(stack: Stack, system: str, port: int = 0) -> Sandbox:
    """A simulated system that keeps what it holds, so that it can go down and come back."""
    return stack.sandbox(system, "--state", str(stack.folder / f"{system}-state"), "--port", str(port))


@contextmanager
def a_clinic(folder: Path) -> Iterator[Clinic]:
    """All of it, with eight patients told."""
    print(f"DRILL_SEED={SEED}")
    with a_stack(folder) as stack:
        # The store comes back where it was: on a port that no connection is given meanwhile.
        ehr, crm = stack.sandbox("ehr", "--patients", "0"), a_sink(stack, "crm")
        store = a_sink(stack, "store", choose_port())
        token = folder / "token"
        token.write_text(FIRST_TOKEN + "\n")
        stack.cli("source", "apply", stack.write("sources.json", documents(ehr, store, crm, token)))
        database = Database(stack.services.services.database_url)
        workspace_id = stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
        clinic = Clinic(
            stack, database, workspace_id, ehr,
            Told("store", ("Patient", "Appointment"), store, folder / "store-state"),
            Told("crm", ("Contact", "Activity"), crm, folder / "crm-state"), token,
        )  # fmt: skip
        clinic.store.behave(token=FIRST_TOKEN)
        try:
            clinic.say(*range(8))
            clinic.ready()
            yield clinic
        finally:
            for worker in clinic.workers:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGCONT)
            database.dispose()
            print(f"resumed within s: {clinic.resumed}")


def chance(name: str) -> random.Random:
    """The chances of one drill: the same for the same seed, whatever ran before it."""
    return random.Random(f"{SEED}:{name}")


def until(what: str, look: Callable[[], Any], timeout_s: float = 240) -> Any:
    """``wait_for``, looking often."""
    return wait_for(what, look, timeout_s=timeout_s, every_s=0.05)
