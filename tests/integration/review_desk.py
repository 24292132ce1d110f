"""A workspace under review, with a judge that says what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector_runner.infra.database import Database, Row, one, rows
from connector_runner.infra.sealing import Sealer
from connector_runner.intake import appending
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.releasing.release import subscriber as request_release
from connector_runner.review import items, material, queue
from connector_runner.review.deciding import EventsHandler
from connector_runner.review.items import Answer, Item, Refused
from connector_runner.review.judge.case import SUPPORTED, Case, FieldVerdict, Judgement
from connector_runner.review.loop import Loop, Reviewed
from connector_runner.review.noting import Subscriber
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, split
from connector_runner.world.service import World

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
KEY = bytes(range(32))
ADA = {
    "name": {"family": "Okafor", "given": ["Ada"]},
    "telecom": [{"system": "phone", "use": "home", "value": "+16175550101"}],
}


@dataclass
class Scripted:
    """A judge. ``words``: field -> verdict; others are ``otherwise``. ``meanwhile`` is called while it judges.

    Where there is a transcript it quotes all of it.
    """

    words: dict[str, str] = field(default_factory=dict)
    otherwise: str = SUPPORTED
    meanwhile: Callable[[], None] | None = None
    cases: list[Case] = field(default_factory=list)
    version: str = "scripted-1"
    code: str = "scripted"

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        self.cases.extend(cases)
        if self.meanwhile is not None:
            self.meanwhile()
        return [self._one(case) for case in cases]

    def _one(self, case: Case) -> Judgement:
        said = [
            FieldVerdict(
                event.id,
                atom,
                self._word(atom),
                "rules",
                self.code,  # type: ignore[arg-type]
                ((0, len(case.material.text)),) if case.material else (),
            )
            for event in case.events
            for atom in split(event.facts)
        ]
        return Judgement(tuple(said), self.version)

    def _word(self, atom: str) -> str:
        return self.words.get(atom, self.words.get(field_of(atom), self.otherwise))


@dataclass
class ReviewDesk:
    """The verbs of a review, over a real database."""

    database: Database
    workspace: str
    judge: Scripted = field(default_factory=Scripted)
    hinted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sealer = Sealer(KEY)
        self.world = World([request_release, Subscriber(self.hinted.append)])
        self.loop = Loop(self.database, self.world, self.sealer, self.judge)
        self.answers = EventsHandler(self.world, MAPPINGS, self.sealer)
        self.handlers = {items.EVENTS: self.answers}

    def say(self, facts: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """An event as a voice agent writes it; id, entity and confidence."""
        document = {"entity_type": "patient", "source": "voice_agent", "facts": dict(facts or ADA), **more}
        if "entity_id" in document:
            del document["entity_type"]
        document = exact_json.loads(exact_json.dumps(document))
        with self.database.begin(self.workspace) as tx:
            done = appending.append(tx, self.world, MAPPINGS, self.workspace, [document], actor="agent", now=utc_now())
        assert not done.errors, done.errors
        return done.events[0]

    def hear(self, session: str, said: str) -> None:
        """What was said in a conversation is handed in."""
        with self.database.begin(self.workspace) as tx:
            material.put(tx, self.sealer, self.workspace, session, said, actor="agent", now=utc_now())

    def run(self) -> Reviewed:
        """One batch of the loop."""
        return self.loop.run(self.workspace)

    def items(self, **wanted: Any) -> list[Item]:
        """The items, the most urgent first."""
        with self.database.begin(self.workspace) as tx:
            return queue.listing(tx, self.workspace, limit=1000, **wanted)[0]

    def item(self) -> Item:
        """The only one."""
        (found,) = self.items()
        return found

    def answer(self, item_id: str, action: str, actor: str = "ruth", **more: Any) -> Item | Refused:
        """A person's answer."""
        answer = Answer(action, actor, more.get("notes"), more.get("data"))  # type: ignore[arg-type]
        return self.database.retrying(
            self.workspace,
            lambda tx: queue.decide(
                tx, self.handlers, self.workspace, item_id, answer, now=utc_now(), seen_version=more.get("seen_version")
            ),
        )

    def claim(self, item_id: str, actor: str = "ruth") -> Item | Refused:
        """Take an item."""
        with self.database.begin(self.workspace) as tx:
            return queue.claim(tx, self.workspace, item_id, actor=actor, now=utc_now())

    def confidences(self, entity_id: str) -> dict[str, float]:
        """Atom -> how far the value that holds is believed."""
        with self.database.begin(self.workspace) as tx:
            view = reading.view(tx, self.workspace, entity_id)
        assert view is not None
        return {atom: settled.winner.confidence for atom, settled in view.folded.atoms.items()}

    def state(self, entity_id: str) -> dict[str, Any]:
        """What holds."""
        with self.database.begin(self.workspace) as tx:
            view = reading.view(tx, self.workspace, entity_id)
        assert view is not None
        return view.state

    def pending(self) -> int:
        """How many entities wait for the judge."""
        return int(self.one("SELECT count(*) AS n FROM pending_review")["n"])

    def actions(self) -> list[str]:
        """What was audited, in order."""
        return [row["action"] for row in self.rows("SELECT action FROM audit_log ORDER BY n")]

    def one(self, sql: str, **params: Any) -> Row:
        """A row."""
        with self.database.begin(self.workspace) as tx:
            found = one(tx, sql, **params)
        assert found is not None
        return found

    def rows(self, sql: str, **params: Any) -> list[Row]:
        """Rows."""
        with self.database.begin(self.workspace) as tx:
            return rows(tx, sql, **params)
