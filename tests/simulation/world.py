"""One simulated run: workers, sink, clinic and faults of a seed; and the checks at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.sinks import Capabilities, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel.errors import RunnerError
from connector_runner.kernel.ids import derived_id, new_id
from connector_runner.outbound.lanes.drain import work_off
from connector_runner.outbound.lanes.lane import State, client_ref
from connector_runner.outbound.ports import Runtime
from connector_runner.resilience.limiter import Limiter
from tests.simulation.clinic import FOREIGN, OWNED, PATIENT, Clinic, Entity, moment
from tests.simulation.effects import LONGEST_FREEZE_S, Effects, InterruptedStore
from tests.simulation.memory_store import MemoryLaneStore
from tests.simulation.pace import VirtualLimiter
from tests.simulation.scheduling import Crashed, Process, Scheduler
from tests.simulation.server import Network, Server
from tests.simulation.shape import Shape
from tests.simulation.sql_store import VirtualDatabase, lane_store

WORKSPACE = "00000000-0000-7000-8000-000000000001"
SINK = "00000000-0000-7000-8000-000000000002"
PATIENCE_S = 4000.0


@dataclass
class Sabotage:
    """What a mutation takes away; the engine as it is has nothing taken."""

    name: str = ""
    store: Callable[[Any], Any] = lambda tx: tx
    sink: Callable[[Sink], Sink] = lambda sink: sink
    terms: Callable[[SinkTerms], SinkTerms] = lambda terms: terms
    limiter: Callable[[VirtualLimiter], Any] = lambda limiter: limiter


class Failed(AssertionError):
    """A promise was broken."""


@dataclass
class Run:
    """Everything of one seed. ``store``: where lanes are kept, given the clock."""

    seed: int
    shape: Shape
    sabotage: Sabotage = field(default_factory=Sabotage)
    make_store: Callable[[Run], Any] | None = None

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.seed)
        self.effects = Effects(self.scheduler, self.shape)
        shape = self.shape
        # Where no version is checked, a copy that lags would be believed: nothing could help.
        self.server = Server(
            self.scheduler, shape.late_s, shape.lag_s, shape.if_match is not None, shape.if_match or 412
        )
        self.network = Network(
            self.scheduler, self.server, shape.timeout_s, dict(shape.faults), slowness=shape.slowness
        )
        self.limiter = self.sabotage.limiter(VirtualLimiter(lambda: self.scheduler.now, self.effects.point))
        self.entities: dict[str, Entity] = {}
        self.about: dict[str, str] = {}
        self.patients = [derived_id(SINK, f"entity {self.seed} {number}") for number in range(shape.entities)]
        self.foreign: dict[str, list[tuple[float, str, str]]] = {}
        self._ids = 0
        self.terms = self.sabotage.terms(
            SinkTerms(
                SINK,
                "store",
                "fhir_r4",
                {"patient": 0.8, "appointment": 0.8},
                per_second=shape.per_second,
                burst=shape.burst,
                concurrency=shape.concurrency,
                quiet_period_s=shape.quiet_s,
                request_timeout_s=shape.timeout_s,
                client_id=shape.client_id,
            )
        )
        capabilities = Capabilities(client_id=shape.client_id, if_match=shape.if_match, transaction=shape.transaction)
        sink = FHIRSink(self.network, capabilities, clock=lambda: moment(self.scheduler.now))
        self.sink = self.sabotage.sink(cast(Sink, sink))
        self.lanes: Any = self.make_store(self) if self.make_store else MemoryLaneStore(WORKSPACE, self._clock)
        self.store = InterruptedStore(self.lanes, self.effects, self.sabotage.store, self._committed)
        self._before: dict[str, int] = {}
        self.clinic = Clinic(
            self.new_id,
            lambda tx, lane: cast(Any, tx).known(lane),
            self.entities,
            lambda tx, entity: cast(Any, tx).place(SINK, entity),
            lambda tx, entity: cast(Any, tx).wake(SINK, entity),
            shape.client_id,
        )
        self.runtime = Runtime(
            clock=self._clock,
            sleep=self.scheduler.sleep,
            chance=self.scheduler.chance,
            new_id=self.new_id,
            spawn=self.scheduler.spawn,
            round_s=shape.round_s,
        )

    @property
    def again(self) -> str:
        """The command that shows this run."""
        where = " --sql" if self.make_store else ""
        without = f" --without {self.sabotage.name}" if self.sabotage.name else ""
        return f"python -m tests.simulation --seed {self.seed}{where}{without}"

    def _clock(self) -> float:
        return self.scheduler.now

    def new_id(self) -> str:
        """The next one; the same in every run of the seed."""
        self._ids += 1
        return f"00000000-0000-7000-9000-{self._ids:012x}"

    def go(self) -> None:
        """Run it and check it. Raises Failed, or what a worker raised that it should not have."""
        own = Process("director", faulty=False)
        for number in range(self.shape.workers):
            self.scheduler.start(f"w{number}", own, lambda number=number: self._employ(number))
        self.scheduler.start("director", own, self._direct)
        self.scheduler.start("sweep", own, self._sweep)
        self.over = False
        self.scheduler.run()
        self._check()

    def _committed(self) -> None:
        """What must hold after every commit: a lane never forgets, nor is free while something of it is open."""
        tables = getattr(self.lanes, "tables", None)
        if tables is None:
            return
        for key, row in tables.lanes.items():
            known = self._before.get(key, 0)
            if row.lane.synced_revision < known:
                raise Failed(f"{row.lane.client_ref[-6:]}: what landed as {known} was forgotten")
            self._before[key] = row.lane.synced_revision
            if key in tables.intents and row.lane.state in (State.IDLE, State.READY, State.WAITING):
                raise Failed(f"{row.lane.client_ref[-6:]}: {row.lane.state} while a write of it is open")

    def _employ(self, number: int) -> None:
        """A place of work: whoever dies there is followed by another one."""
        life = 0
        while not self.over:
            process = Process(f"w{number}.{life}")
            finished = self.scheduler.start(process.name, process, lambda p=process: self._work(p))
            while not finished.done:
                self.scheduler.sleep(1.0 if self.effects.disturbed else 5.0)
            if finished.error is not None and not isinstance(finished.error, Crashed):
                raise finished.error
            finished.error = None
            life += 1

    def _work(self, process: Process) -> None:
        chance = self.scheduler.chance
        limiter = cast(Limiter, self.limiter)
        while not self.over:
            # Hints are lost, come twice, and to several at once.
            self.scheduler.sleep(chance.choice([0.0, chance.uniform(0.0, 1.0), chance.uniform(0.5, 4.0)]))
            try:
                done = work_off(
                    self.store, lambda _: self.clinic, lambda _: (self.terms, self.sink), limiter, SINK,
                    process.name, 10.0, self.runtime,
                )  # fmt: skip
            except RunnerError as error:
                self.scheduler.note(f"task failed: {error.code}")
                continue
            if not done.more and not done.outcomes:
                self.scheduler.sleep(min(max(done.wait_s, chance.uniform(0.5, 3.0)), 30.0))

    def _sweep(self) -> None:
        while not self.over:
            self.scheduler.sleep(2.0)
            with self.lanes.begin() as tx:
                tx.reap(500)
            if self.effects.disturbed and self.scheduler.chance.random() < 0.02:
                self.limiter.forget()

    def _direct(self) -> None:
        """Entities change, other users edit; then all faults end, and everything must settle."""
        shape, chance = self.shape, self.scheduler.chance
        moments = []
        for entity_id in self.patients:
            count = chance.randint(1, shape.changes)
            moments += [(chance.uniform(0, shape.disturbed_s * 0.8), entity_id, "ours") for _ in range(count)]
            if shape.appointments:
                moments += self._appointments(entity_id, min(at for at, entity, _ in moments if entity == entity_id))
            edits = chance.choice([0, 1, 2, 3, 8])
            moments += [(chance.uniform(2, shape.disturbed_s), entity_id, chance.choice(["gender", "gender", "both"]))
                        for _ in range(edits)]  # fmt: skip
        for number, (at, entity_id, what) in enumerate(sorted(moments)):
            self.scheduler.sleep(max(0.0, at - self.scheduler.now))
            if what == "ours":
                self.change(entity_id, f"n{number}")
            else:
                self._edit(entity_id, what, number)
        self.scheduler.sleep(max(0.0, shape.disturbed_s - self.scheduler.now))
        self.network.rates = {}
        self.effects.disturbed = False
        self.scheduler.note("all faults end")
        self._settle()
        self.over = True

    def _appointments(self, patient: str, first: float) -> list[tuple[float, str, str]]:
        """Of a patient of whom is known since ``first``, mostly made at the same moment; when each is said anew."""
        chance = self.scheduler.chance
        moments = []
        for number in range(chance.randint(0, 2)):
            entity_id = derived_id(patient, f"appointment {number}")
            self.about[entity_id] = patient
            if chance.random() < 0.8:
                moments.append((first, entity_id, "ours"))
            count = chance.randint(1, self.shape.changes)
            moments += [(chance.uniform(0, self.shape.disturbed_s * 0.8), entity_id, "ours") for _ in range(count)]
            edits = chance.choice([0, 1, 3])
            moments += [(chance.uniform(2, self.shape.disturbed_s), entity_id, "gender") for _ in range(edits)]
        return moments

    def change(self, entity_id: str, said: str) -> None:
        """We know better from now on."""
        if entity_id in self.entities and entity_id in self.about and self.scheduler.chance.random() < 0.4:
            # It turns out to be another patient's, who may be new as well.
            self.about[entity_id] = self.scheduler.chance.choice(self.patients)
        about = self.about.get(entity_id)
        with self.lanes.begin() as tx:
            tx.want(SINK, entity_id, about=about)
            known = self.entities.get(entity_id)
            self.entities[entity_id] = Entity(entity_id, said, 1, self.scheduler.now, about) if known is None else known
            if known is not None:
                known.said, known.revision, known.since = said, known.revision + 1, self.scheduler.now
                known.about = about
        self.scheduler.note(f"wanted: {client_ref(SINK, entity_id)[-6:]} {said}")

    def _edit(self, entity_id: str, what: str, number: int) -> None:
        """Another user of the sink, who sees only what is there."""
        resource = next(iter(self.of(entity_id)), None)
        if resource is None or (self.shape.if_match is None and not self._at_rest(entity_id)):
            return
        held = resource.last.body
        after = {FOREIGN: f"f{number}"} | ({OWNED: f"x{number}"} if what == "both" else {})
        self.server.edit(resource.ref, {key: held.get(key) for key in after if key in held}, after)

    def _at_rest(self, entity_id: str) -> bool:
        """Where the sink checks no version, who writes at the same moment as others may undo their word."""
        with self.lanes.begin() as tx:
            return bool(tx.state_of(SINK, entity_id) is State.IDLE) and not self.network.under_way

    def of(self, entity_id: str) -> list[Any]:
        """Resources in the sink that are this entity's."""
        ref = client_ref(SINK, entity_id)
        return [
            resource
            for resource in self.server.resources.values()
            if resource.ref.endswith(ref)
            or any(item.get("value") == ref for item in resource.last.body.get("identifier", []))
        ]

    def _settle(self) -> None:
        idle_since, end = self.scheduler.now, self.scheduler.now + PATIENCE_S
        while self.scheduler.now < end:
            self.scheduler.sleep(5.0)
            with self.lanes.begin() as tx:
                tx.replay()
                states = tx.states()
            if any(state is not State.IDLE for state in states):
                idle_since = self.scheduler.now
            elif self.scheduler.now - idle_since > LONGEST_FREEZE_S + self.shape.late_s + self.shape.lag_s + 11:
                # Whoever was frozen has come to, and what was under way has arrived.
                return
        raise Failed(f"not settled: {states}")

    def _check(self) -> None:
        self._check_pace()
        with self.lanes.begin() as tx:
            if tx.open_intents():
                raise Failed("an intent is open at the end")
            if any(state is not State.IDLE for state in tx.states()):
                raise Failed(f"lanes are {tx.states()}")
        if self.server.dangling:
            raise Failed(self.server.dangling[0])
        for entity in self.entities.values():
            self._check_entity(entity)

    def _check_entity(self, entity: Entity) -> None:
        name = client_ref(SINK, entity.entity_id)[-6:]
        found = self.of(entity.entity_id)
        if len(found) != 1:
            raise Failed(f"{name}: {'lost' if not found else f'{len(found)} resources'}")
        if entity.about and found[0].last.body[PATIENT]["reference"] != self.of(entity.about)[0].ref:
            raise Failed(f"{name}: is not about the right patient")
        versions = found[0].versions
        owned = [v for before, v in zip([None, *versions], versions, strict=False)
                 if before is None or before.body.get(OWNED) != v.body.get(OWNED)]  # fmt: skip
        ours = [int(version.body[OWNED][1:]) for version in owned if not version.foreign]
        if ours != sorted(ours):
            raise Failed(f"{name}: written out of order: {ours}")
        self._check_content(name, entity, versions, [version for version in owned if version.foreign])
        edits = [v.body[FOREIGN] for v in versions if v.foreign]
        if edits and found[0].last.body.get(FOREIGN) != edits[-1]:
            raise Failed(f"{name}: another's edit {edits[-1]} is gone")

    @staticmethod
    def _check_content(name: str, entity: Entity, versions: list[Any], theirs: list[Any]) -> None:
        """The last word is whose knowledge is newer.

        A resource has one time for all its fields. So another's word also stands where anything in its resource
        was changed after we came to know better, and before we saw it.
        """
        says = versions[-1].body.get(OWNED)
        if theirs and theirs[-1].at > entity.since:
            if says != theirs[-1].body[OWNED]:
                raise Failed(f"{name}: says {says}, overwrote another's {theirs[-1].body[OWNED]}, which is newer")
            return
        touched = [v.body.get(OWNED) for v in versions if v.foreign and v.at > entity.since]
        if says != entity.said and not (theirs and says == theirs[-1].body[OWNED] and says in touched):
            raise Failed(f"{name}: says {says}, should say {entity.said}")

    def _check_pace(self) -> None:
        """In any window of w seconds at most burst + rate * w requests."""
        arrivals, shape = self.network.arrivals, self.shape
        lowest = float("inf")
        for number, at in enumerate(arrivals):
            # arrivals[m..n] break it when n - m + 1 > burst + rate * (t_n - t_m).
            lowest = min(lowest, number - shape.per_second * at)
            if number + 1 - shape.per_second * at - lowest > shape.burst + 1e-6:
                raise Failed(f"too fast at {at:.3f} s")


def report(run: Run, error: BaseException | None) -> str:
    """A run as a person reads it: what failed, in which run, how it came about, and how to see it again."""
    outcome = "passed" if error is None else f"{type(error).__name__}: {error}"
    lines = [f"{at:9.3f} {task:12} {what}" for at, task, what in run.scheduler.trace]
    return "\n".join([f"seed {run.seed}: {outcome}", str(run.shape), *lines, f"again: {run.again}"])


def simulate(
    seed: int, *, sabotage: Sabotage | None = None, make_store: Callable[[Run], Any] | None = None, small: bool = False
) -> Run:
    """One run, checked. Raises Failed with the whole story."""
    run = Run(seed, Shape.of(seed, small=small), sabotage or Sabotage(), make_store)
    try:
        run.go()
    except Exception as error:
        raise Failed(report(run, error)) from error
    return run


def on_sql(database: VirtualDatabase) -> Callable[[Run], Any]:
    """Lanes in Postgres, in a workspace of the run's own."""
    return lambda run: lane_store(database, new_id(), SINK, lambda: run.scheduler.now)
