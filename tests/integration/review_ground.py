"""A workspace in which anything may happen to what was said in doubt: who speaks and judges, and what is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from connector_runner.infra.database import Database, execute
from connector_runner.intake import appending
from connector_runner.intake.landing import Intake, Origin
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import new_id
from connector_runner.resolution import service as resolution
from connector_runner.review import policy_store
from connector_runner.review.deciding import EventsHandler
from connector_runner.review.items import EVENTS, Item, Refused
from connector_runner.review.judge.case import Case, FieldVerdict, Judgement
from connector_runner.review.loop import Loop
from connector_runner.review.noting import Subscriber
from connector_runner.world import reading
from connector_runner.world.atoms import split
from connector_runner.world.changes import EntityChange
from connector_runner.world.service import World
from tests.integration import review_laws
from tests.integration.review_desk import MAPPINGS, ReviewDesk
from tests.integration.review_laws import Beliefs, Pair
from tests.integration.test_world import Rejected

PEOPLE: Final = ("ruth", "omar")
VOICES: Final = {"voice_agent": 0.5, "text_agent": 0.2, "forms": 0.5, "browser": 0.7, "manual": 1.0}
SYSTEMS: Final = {
    "ehr": Origin(new_id(), "ehr", "fhir_r4"),
    "portal": Origin(new_id(), "portal", "fhir_r4", source="browser", confidence=0.7),
}
RECORDS: Final = tuple((system, number) for system in SYSTEMS for number in ("1",))
REFUSALS: Final = {"already_decided", "claimed_by_other", "superseded", "changed", "expired", "not_claimed"}


@dataclass
class Moody:
    """A judge whose word follows from what is said, but for its mood, and who fails, or is told more meanwhile."""

    mood: int = 0
    meanwhile: Callable[[], None] | None = None

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return [Judgement(tuple(self._words(case)), "moody-1") for case in cases]

    def _words(self, case: Case) -> list[FieldVerdict]:
        heard = 0 if case.material is None else len(case.material.text)
        words = []
        for event in case.events:
            for atom, value in split(event.facts).items():
                draw = random.Random(f"{self.mood}|{heard}|{atom}|{exact_json.dumps(value)}")
                word = draw.choice(["supported", "supported", "unclear", "contradicted"])
                code = draw.choice(["scripted", "second_source"])
                words.append(FieldVerdict(event.id, atom, word, "rules", code))  # type: ignore[arg-type]
        return words


@dataclass
class Ground:
    """A workspace, and what was done in it. ``told``: whose lanes were asked for since the last look."""

    database: Database
    workspace: str
    seed: int
    told: set[str] = field(default_factory=set)
    said: list[dict[str, Any]] = field(default_factory=list)
    later: list[dict[str, Any]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    decided: set[Pair] = field(default_factory=set)
    steps: list[str] = field(default_factory=lambda: ["begin"])
    days: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.desk = ReviewDesk(self.database, self.workspace)
        self.judge = Moody()
        noting = Subscriber(self.desk.hinted.append)
        self.resolved = noting.resolved
        self.desk.world = World([self._changed, resolution.subscriber, noting])
        self.desk.loop = Loop(self.database, self.desk.world, self.desk.sealer, self.judge)
        self.desk.answers = EventsHandler(self.desk.world, MAPPINGS, self.desk.sealer)
        self.desk.handlers = {EVENTS: self.desk.answers}
        self.intake = Intake(self.desk.world, MAPPINGS, Rejected())
        self.names = [f"voice:Patient:{n}" for n in range(2)] + [f"{s}:Patient:{n}" for s, n in RECORDS]
        self._review_policy()
        for name in self.names[:2]:
            self._say(name, "voice_agent")

    def _changed(self, tx: Any, workspace_id: str, changes: Sequence[EntityChange]) -> None:
        self.told |= {change.entity_id for change in changes}

    def _resolved(self, tx: Any, workspace_id: str, compared: Sequence[str], regrouped: Sequence[str]) -> None:
        self.told |= {*regrouped}
        self.resolved(tx, workspace_id, compared, regrouped)

    def resolve(self) -> None:
        """Clusters are made anew."""
        while resolution.resolve(self.database, self.workspace, now=utc_now(), tell=self._resolved).more:
            pass

    def _say(self, name: str, source: str, *, anew: bool = False) -> None:
        documents = [self._document(name, source, anew) for _ in range(self.draw.choice([1, 1, 1, 2]))]
        with self.database.begin(self.workspace) as tx:
            done = appending.append(tx, self.desk.world, MAPPINGS, self.workspace, documents, actor="a", now=utc_now())
        assert not done.errors, done.errors
        for document, event in zip(documents, done.events, strict=True):
            stored = self.desk.one("SELECT facts FROM event WHERE id = :id", id=event["id"])["facts"]
            self.said.append({"id": event["id"], "name": name, "facts": stored})
            self.later += [self.said[-1]] if "supersedes" in document else []
            self._note(event["id"][-4:], document)

    def _document(self, name: str, source: str, anew: bool) -> dict[str, Any]:
        self.count += 1
        named = {"id": str(UUID(int=(self.seed << 64) + self.count, version=4)), "canonical_id": name}
        document: dict[str, Any] = {**named, "entity_type": "patient", "source": source}
        document["correlation_id"] = self.draw.choice(["call-1", "call-2"])
        same = [each for each in self.said if self._entity(each["name"]) in self._together(name)]
        if same and not anew and self.draw.random() < 0.4:
            asked = {event for item in self._items(["pending", "in_progress"]) for event in item.asked}
            document["supersedes"] = self.draw.choice([each for each in same if each["id"] in asked] or same[-6:])["id"]
        if self.draw.random() < 0.2:
            document["as_of"] = f"2020-01-{self.draw.randrange(1, 29):02}T00:00:00Z"
        if self.draw.random() < 0.5:
            document["confidence"] = VOICES[source]
        if self.draw.random() < 0.2:
            document["data"] = self._resource("new") | {
                "maritalStatus": {"text": self.draw.choice(["married", "single"])}
            }
        else:
            document["facts"] = self._facts()
        return exact_json.loads(exact_json.dumps(document))

    def _resource(self, number: str) -> dict[str, Any]:
        body: dict[str, Any] = {"resourceType": "Patient", "id": number}
        for name, values in (("gender", ["female", "male"]), ("birthDate", ["1982-03-04", "1983-03-04"])):
            if self.draw.random() < 0.6:
                body[name] = self.draw.choice(values)
        if self.draw.random() < 0.6:
            body["telecom"] = [{"system": "phone", "use": "home", "value": f"617-555-010{self.draw.randrange(4)}"}]
        return body

    def _facts(self) -> dict[str, Any]:
        draw = self.draw
        every = {
            "telecom": [
                {"system": "phone", "use": use, "value": f"+1617555010{draw.randrange(4)}"}
                for use in draw.sample(["home", "mobile"], draw.randint(1, 2))
            ],
            "gender": draw.choice(["female", "male"]),
            "birth_date": draw.choice(["1982-03-04", "1983-03-04"]),
            "language": draw.choice(["es", "en"]),
        }
        return {name: every[name] for name in draw.sample(sorted(every), draw.randint(1, 3))}

    def _review_policy(self) -> None:
        sources = {name: self.draw.choice(["judge", "person", "nobody"]) for name in ("forms", "portal", "text_agent")}
        document = {
            "sample": self.draw.choice([0, 0, 1]),
            "people": self.draw.choice([[], ["identity"]]),
            "sources": {name: by for name, by in sources.items() if by != "judge"},
            "precision_bound": 0,
        }
        self._note(document)
        self._tx(lambda tx: policy_store.save(tx, self.workspace, document, actor="ruth", now=utc_now()))

    def _note(self, *what: object) -> None:
        self.steps[-1] = " ".join([self.steps[-1], *map(str, what)])

    def _tx(self, work: Callable[[Any], Any]) -> Any:
        return self.database.retrying(self.workspace, work)

    def _sql(self, sql: str, **params: Any) -> None:
        self._tx(lambda tx: execute(tx, sql, **params))

    def _items(self, status: list[str]) -> list[Item]:
        found = [item for item in self.desk.items(status=status) if item.kind == "events"]
        return sorted(found, key=lambda item: (item.created_at, item.entity_id))

    def _some(self, status: list[str]) -> Item | None:
        found = self._items(status)
        return self.draw.choice(found) if found else None

    def _atoms(self, item: Item) -> list[Pair]:
        facts = {each["id"]: each["facts"] for each in self.desk.rows("SELECT id, facts FROM event")}
        return [(event, atom) for event, atoms in item.asked.items() for atom in atoms or split(facts[event])]

    def _labels(self) -> int:
        return int(self.desk.one("SELECT count(*) AS n FROM label WHERE kind = 'claim'")["n"])

    def _entity(self, name: str) -> str:
        with self.database.begin(self.workspace) as tx:
            return reading.entity_id(tx, self.workspace, name)

    def _exists(self, entity: str) -> bool:
        return bool(self.desk.rows("SELECT 1 FROM entity WHERE entity_id = :id", id=entity))

    def _together(self, name: str) -> tuple[str, ...]:
        with self.database.begin(self.workspace) as tx:
            view = reading.view(tx, self.workspace, name)
        return () if view is None else view.members

    def _beliefs(self) -> Beliefs:
        with self.database.begin(self.workspace) as tx:
            return review_laws.beliefs(tx)

    @staticmethod
    def _refused(found: Item | Refused) -> bool:
        if isinstance(found, Refused):
            assert found.code in REFUSALS, found
            return True
        return False
