"""Any walk through edits, calls, links and their taking back, lost answers and deletions, against worlds without the
links that were taken back by then: whenever all is settled, both worlds and their systems are the same.

Records that were made of one person before they were held for one are there twice in one world and once in the other:
a person is asked about them (``duplicate_in_sink``), and they are left out. Where answers are lost, what was read too
early may have been passed on to others who are the same: only when all are apart are both worlds the same then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
import requests

from connector_runner.infra.database import rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.lanes.sweeping import sweep
from connector_runner.outbound.planning.members import DUPLICATE_IN_SINK
from connector_runner.outbound.reconciling.reconcile import reconcile
from tests.integration.merging_stack import a_contact, clinic, compare, decide, said, state, two_systems
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment
from tests.integration.test_drain import BOTH

__all__ = ["clinic"]

EHR, SECOND, STORE, VOICE = "ehr:Patient:p1", "ehr:Patient:p2", "store:Patient:c1", "voice:Person:v1"
PEOPLE = (EHR, SECOND, STORE, VOICE)
PLACES = {EHR: ("ehr", "Patient/p1"), SECOND: ("ehr", "Patient/p2"), STORE: ("store", "Patient/c1")}
SYSTEMS = ("ehr", "store")
NATIVE = {ref for _, ref in PLACES.values()}


@dataclass(frozen=True)
class Step:
    """A verb of Told, with what it is done to."""

    name: str
    args: tuple[Any, ...] = ()


@dataclass
class Told:
    """A world in which a story is told."""

    clinic: Clinic
    systems: dict[str, System]
    gone: set[str] = field(default_factory=set)

    def put(self, system: str, resource: dict[str, Any]) -> None:
        """As a user of the system, who meets no faults."""
        switch = f"{self.systems[system].running.switchboard}/faults"
        faults = requests.get(switch, timeout=10).json()
        self.systems[system].faults()
        self.systems[system].put(resource)
        self.systems[system].faults(*faults)

    def edited(self, name: str, what: str, value: str) -> None:
        system, ref = PLACES[name]
        if name in self.gone:
            return
        resource = self.systems[system].get(ref)
        if what in ("phone", "email"):
            kept = [each for each in resource.get("telecom", ()) if each["system"] != what]
            new = [{"system": what, "use": "home", "value": value}] if value else []
            resource = {**resource, "telecom": [*kept, *new]}
            if not resource["telecom"]:
                del resource["telecom"]
        elif value:
            resource = {**resource, what: value}
        else:
            resource.pop(what, None)
        self.put(system, resource)

    def heard(self, what: str, value: str) -> None:
        said(self.clinic, VOICE, **({"phone": value} if what == "phone" else {"birth_date": value}))

    def deleted(self, name: str) -> None:
        system, ref = PLACES[name]
        if name in self.gone:
            return
        self.gone.add(name)
        requests.delete(f"{self.systems[system].running.base_url}/{ref}", timeout=10).raise_for_status()
        self.clinic.delete(system, ref.partition("/")[2])

    def booked(self, number: int, name: str) -> None:
        if name in self.gone:
            return
        self.put("ehr", an_appointment(f"a{number}", PLACES[name][1].partition("/")[2]))

    def link(self, one: str, other: str) -> None:
        decide(self.clinic, one, other, same=True)

    def part(self, one: str, other: str) -> None:
        decide(self.clinic, one, other, same=False)

    def fault(self, system: str, kind: str) -> None:
        self.systems[system].faults(*({"on": f"{verb} Patient", "kind": kind, "next": 1} for verb in ("PUT", "POST")))

    def repaired(self) -> None:
        for system in self.systems.values():
            system.faults()

    def polled(self, system: str) -> None:
        for kind in ("Patient", "Appointment"):
            self.clinic.poll(system, kind)
        compare(self.clinic)

    def drained(self, system: str) -> None:
        self.clinic.flow(system)

    def projected(self) -> None:
        self.clinic.project()
        compare(self.clinic)

    def reconciled(self, system: str) -> None:
        reconcile(self.clinic.outbound, self.clinic.workspace, self.clinic.ids[system], "test", every_s=0.0)

    def settled(self, most: int = 40) -> None:
        before: Any = None
        quiet = 0
        for _ in range(most):
            for system in SYSTEMS:
                self.polled(system)
            for system in SYSTEMS:
                self.drained(system)
            self.projected()
            sweep(self.clinic.database, hint_every_s=0)
            busy = [
                lane for s in SYSTEMS for lane in self.clinic.lanes(s) if lane["state"] not in ("idle", "quarantined")
            ]
            now = [len(self.systems[s].writes()) for s in SYSTEMS]
            quiet = quiet + 1 if now == before and not any(lane["state"] == "unknown" for lane in busy) else 0
            if quiet >= 2:
                return
            if busy:
                time.sleep(0.1)
            before = now
        raise AssertionError([(lane["state"], lane["reason"], lane["reason_detail"]) for lane in busy])

    def held(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, system in self.systems.items():
            patients = {f"Patient/{each['id']}": content(each) for each in system.all("Patient")}
            made = self.made_once(name)
            found[name] = sorted({text for ref, text in patients.items() if ref in made})
            found[f"{name} own"] = sorted(text for ref, text in patients.items() if ref in NATIVE)
            for each in system.all("Appointment"):
                actors = [p["actor"]["reference"] for p in each["participant"]]
                found.setdefault(f"{name} appointments", []).append(
                    exact_json.dumps([each["status"], each["start"], [patients.get(a, a) for a in actors]])
                )
        return {name: sorted(each) for name, each in found.items()}

    def made_once(self, system: str) -> set[str]:
        """Records in a system, made for those who are there, of whom it has no other."""
        with self.clinic.database.begin(self.clinic.workspace) as tx:
            found = rows(
                tx,
                "SELECT sink_ref FROM sync_lane JOIN entity USING (entity_id) WHERE sink_id = :sink"
                " AND entity.status = 'active' AND sink_ref IS NOT NULL AND NOT withheld @> CAST(:twice AS jsonb)",
                sink=self.clinic.ids[system],
                twice=exact_json.dumps([{"code": DUPLICATE_IN_SINK}]),
            )
        return {row["sink_ref"] for row in found} - NATIVE

    def states(self) -> dict[str, str]:
        return {name: state(self.clinic, name) for name in PEOPLE}


def content(resource: dict[str, Any]) -> str:
    """All but the names that a record goes by in a run of its own, and the order of what has none."""
    numbers = [each for each in resource.get("identifier", ()) if not each["system"].startswith("urn:connector-runner")]
    kept = {key: value for key, value in resource.items() if key not in ("id", "meta")}
    lists = {"identifier": sorted(numbers, key=str), "telecom": sorted(resource.get("telecom", ()), key=str)}
    return exact_json.dumps(kept | lists)


VERBS = {
    "edit": 5, "hear": 2, "link": 4, "part": 3, "delete": 0.5, "book": 1, "fault": 1, "poll": 2, "drain": 3,
    "project": 1, "reconcile": 1, "settle": 3,
}  # fmt: skip
"""What may happen in a story, and how often."""


@dataclass
class Story:
    """A walk as it is made up; links are taken back now and then."""

    chance: random.Random
    linked: list[tuple[str, str]] = field(default_factory=list)
    used: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def step(self, number: int) -> Step | None:
        """The next one; None where there is nothing to be taken back."""
        chance = self.chance
        what = chance.choices([*VERBS], [*VERBS.values()])[0]
        match what:
            case "edit" | "hear":
                return self._word(number, heard=what == "hear")
            case "link":
                self.linked.append(chance.choice(list(combinations(PEOPLE, 2))))
                return Step("link", self.linked[-1])
            case "part":
                return self._part()
            case "delete":
                return Step("deleted", (chance.choice((EHR, SECOND, STORE)),))
            case "book":
                return Step("booked", (number, chance.choice((EHR, SECOND))))
            case "fault":
                return Step("fault", (chance.choice(SYSTEMS), chance.choice(["drop_answer", "reset"])))
            case "poll" | "drain" | "reconcile":
                return Step(f"{what}{'d' if what.endswith('e') else 'ed'}", (chance.choice(SYSTEMS),))
        return Step({"project": "projected", "settle": "settled"}[what])

    def _word(self, number: int, *, heard: bool) -> Step:
        """Somebody says something, maybe what was said before, or takes it back."""
        chance = self.chance
        who = VOICE if heard else chance.choice((EHR, SECOND, STORE))
        what = chance.choice(["phone", "birthDate"] if heard else ["phone", "email", "birthDate"])
        before = self.used.setdefault((who, what), [])
        if before and chance.random() < 0.25:
            value = chance.choice(before)
        elif not heard and chance.random() < 0.15 and what != "birthDate":
            value = ""
        elif what == "phone":
            value = f"617-555-{1000 + number + 37 * chance.randint(0, 99)}"
        elif what == "email":
            value = f"m{number}@example.org"
        else:
            value = f"19{50 + number}-03-{10 + chance.randint(0, 9)}"
        if value:
            before.append(value)
        return Step("heard", (what, value)) if heard else Step("edited", (who, what, value))

    def _part(self) -> Step | None:
        if not self.linked:
            return None
        two = self.linked.pop(self.chance.randrange(len(self.linked)))
        self.linked = [each for each in self.linked if each != two]
        return Step("part", two)


def a_story(chance: random.Random, length: int) -> list[Step]:
    """Steps of a walk."""
    story = Story(chance)
    return [step for number in range(length) if (step := story.step(number)) is not None]


def without_parted(steps: Sequence[Step]) -> list[Step]:
    """The story in which links that were taken back were never made; those that hold are made when they last were."""
    last: dict[tuple[Any, ...], int] = {}
    for number, step in enumerate(steps):
        if step.name == "part":
            last[step.args] = number
    kept = []
    for number, step in enumerate(steps):
        if step.name == "part" or (step.name == "link" and number < last.get(step.args, -1)):
            continue
        kept.append(step)
    return kept


def tell(clinic: Clinic, ehr: System, store: System, steps: Sequence[Step]) -> list[Any]:
    """Tell a story; what all say and hold at each settling, the end among them."""
    for system in (ehr, store):
        system.reset()
    told = Told(clinic, {"ehr": ehr, "store": store})
    two_systems(clinic, ehr, store, **BOTH)
    store.put(a_contact())
    ehr.put(a_patient())
    ehr.put(a_patient("p2", "617-555-0102"))
    for system in SYSTEMS:
        clinic.poll(system, "Patient")
    said(clinic, VOICE)
    for one, other in combinations(PEOPLE, 2):
        decide(clinic, one, other, same=False)
    seen = []
    for step in steps:
        getattr(told, step.name)(*step.args)
        if step.name == "settled":
            seen.append((told.states(), told.held()))
    return seen


def order(workspace: str) -> list[str]:
    """The people by their ids, which decide for whom a record is made."""
    return sorted(PEOPLE, key=lambda name: entity_id_of(workspace, name))


@pytest.mark.parametrize("seed", [100, 105, 118])
def test_walk(clinic: Clinic, ehr: System, store: System, new_workspace: Callable[[], str], seed: int) -> None:
    steps = [*a_story(random.Random(seed), 14), *(Step("part", two) for two in combinations(PEOPLE, 2))]
    steps += [Step("repaired"), Step("settled")]
    merged = tell(clinic, ehr, store, steps)[-1]
    assert merged == never(clinic, ehr, store, steps, new_workspace), steps


@pytest.mark.parametrize("seed", [101, 204, 406])
def test_each_settling(clinic: Clinic, ehr: System, store: System, new_workspace: Callable[[], str], seed: int) -> None:
    steps = [*(step for step in a_story(random.Random(seed), 18) if step.name != "fault"), Step("settled")]
    merged = tell(clinic, ehr, store, steps)
    for place, number in enumerate(n for n, step in enumerate(steps) if step.name == "settled"):
        so_far = steps[: number + 1]
        assert merged[place] == never(clinic, ehr, store, so_far, new_workspace), so_far


def never(clinic: Clinic, ehr: System, store: System, steps: Sequence[Step], new_workspace: Callable[[], str]) -> Any:
    """How a world ends in which what was taken back never was."""
    twin = next(made for made in iter(new_workspace, "") if order(made) == order(clinic.workspace))
    return tell(Clinic(clinic.outbound, twin), ehr, store, without_parted(steps))[-1]
