"""Callers speak, judges judge, people answer and time goes by, all at once: nothing is decided twice, nothing lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connector_runner.audit import verifying
from connector_runner.infra.database import Database
from connector_runner.intake import appending
from connector_runner.kernel.clock import utc_now
from connector_runner.review import policy_store, queue, tending
from connector_runner.review.items import Answer, Item, Refused
from connector_runner.review.standing import askable, standing
from connector_runner.world import reading
from tests.integration.review_desk import MAPPINGS, ReviewDesk

PEOPLE = 12
CALLS = 60
EXPECTED = {"already_decided", "claimed_by_other", "superseded", "changed", "expired"}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.words = {"language": "supported", "gender": "contradicted"}
    desk.judge.otherwise = "unclear"
    with database.begin(workspace) as tx:
        policy = {"sample": 0, "people": [], "precision_bound": 0}
        policy_store.save(tx, workspace, policy, actor="test", now=utc_now())
    return desk


def facts(draw: random.Random) -> dict[str, Any]:
    phone = {"system": "phone", "use": draw.choice(["home", "mobile"]), "value": f"+1617555{draw.randrange(10_000):04}"}
    every = {"telecom": [phone], "gender": draw.choice(["female", "male"]), "language": draw.choice(["es", "en"])}
    return {name: every[name] for name in draw.sample(sorted(every), draw.randint(1, 3))}


class Crowd:
    """Threads that each do one thing until the callers have hung up."""

    def __init__(self, desk: ReviewDesk, entities: list[str]) -> None:
        self.desk, self.entities = desk, entities
        self.hung_up = threading.Event()
        self.wrong: list[BaseException] = []
        self.decided: list[str] = []
        self.refused: set[str] = set()

    def call(self, own: Database, draw: random.Random) -> None:
        said: dict[str, str] = {}
        for _ in range(CALLS):
            entity = draw.choice(self.entities)
            document: dict[str, Any] = {"source": "voice_agent", "entity_id": entity, "facts": facts(draw)}
            if entity in said and draw.random() < 0.3:
                document["supersedes"] = said[entity]
            done = own.retrying(self.desk.workspace, lambda tx, d=document: self._append(tx, d))  # type: ignore[misc]
            said[entity] = done.events[0]["id"]

    def _append(self, tx: Any, document: dict[str, Any]) -> Any:
        return appending.append(
            tx, self.desk.world, MAPPINGS, self.desk.workspace, [document], actor="agent", now=utc_now()
        )

    def judge(self, own: Database, draw: random.Random) -> None:
        loop = replace(self.desk.loop, database=own, at_once=5)
        while not self.hung_up.is_set():
            loop.run(self.desk.workspace)

    def tend(self, own: Database, draw: random.Random) -> None:
        while not self.hung_up.is_set():
            tending.tend(own, self.desk.workspace, now=utc_now())

    def review(self, own: Database, draw: random.Random) -> None:
        actor = f"reviewer {draw.randrange(1000)}"
        while not self.hung_up.is_set():
            with own.begin(self.desk.workspace) as tx:
                waiting, _ = queue.listing(tx, self.desk.workspace, status=["pending", "in_progress"], limit=20)
            if waiting:
                self._answer(own, draw, draw.choice(waiting).id, actor)

    def _answer(self, own: Database, draw: random.Random, item_id: str, actor: str) -> None:
        workspace = self.desk.workspace
        if draw.random() < 0.5:
            own.retrying(workspace, lambda tx: queue.claim(tx, workspace, item_id, actor=actor, now=utc_now()))
        action = draw.choice(["approved", "rejected", "corrected"])
        answer = Answer(action, actor, "heard it", {"gender": "other"} if action == "corrected" else None)  # type: ignore[arg-type]
        found = own.retrying(
            workspace, lambda tx: queue.decide(tx, self.desk.handlers, workspace, item_id, answer, now=utc_now())
        )
        if isinstance(found, Item):
            self.decided.append(item_id)
        else:
            self.refused.add(found.code)

    def go(self, *works: Callable[[Database, random.Random], None]) -> None:
        """All of them, each with a connection of its own, until those that call are done."""

        def thread(work: Callable[[Database, random.Random], None], seed: int) -> None:
            own = Database(self.desk.database.url, pool_size=2)
            try:
                work(own, random.Random(seed))
            except BaseException as error:
                self.wrong.append(error)
                self.hung_up.set()
            finally:
                own.dispose()

        threads = [threading.Thread(target=thread, args=(work, n)) for n, work in enumerate(works)]
        for each in threads:
            each.start()
        for each, work in zip(threads, works, strict=True):
            if work == self.call:
                each.join()
        self.hung_up.set()
        for each in threads:
            each.join()


def test_nothing_is_decided_twice_and_nothing_is_lost(desk: ReviewDesk) -> None:
    desk.judge.meanwhile = lambda: time.sleep(0.03)
    crowd = Crowd(desk, [desk.say({"language": "en"})["entity_id"] for _ in range(PEOPLE)])
    crowd.go(*[crowd.call] * 2, *[crowd.judge] * 2, *[crowd.review] * 3, crowd.tend)
    assert crowd.wrong == []
    assert crowd.refused <= EXPECTED
    while desk.run().entities:
        pass
    assert len(crowd.decided) == len(set(crowd.decided)) > 0
    over = {item.id for item in desk.items(status=["completed", "rejected"])}
    assert set(crowd.decided) == over
    assert sum(desk.actions().count(f"review.{word}") for word in ("approved", "rejected", "corrected")) == len(over)
    asked = {item.entity_id: item.asked for item in desk.items(status=["pending", "in_progress"])}
    for entity in crowd.entities:
        with desk.database.begin(desk.workspace) as tx:
            view = reading.view(tx, desk.workspace, entity)
        assert view is not None
        open_now = {(event, atom) for event, atoms in standing(view).doubtful.items() for atom in atoms}
        waits = {(event, atom) for event, atoms in asked.get(entity, {}).items() for atom in atoms}
        assert open_now <= waits, "each doubtful claim is before a person"
        may = {(event, atom) for event, atoms in askable(view).items() for atom in atoms}
        assert waits <= may, "and nothing else is"
    with desk.database.begin(desk.workspace) as tx:
        assert verifying.verify(tx, desk.workspace).broken is None


def test_of_two_who_answer_at_once_one_is_refused(desk: ReviewDesk) -> None:
    for _ in range(10):
        desk.say({"gender": "female"})
    desk.run()
    for item in desk.items(status=["pending"]):
        together, found = threading.Barrier(2), list[Item | Refused]()

        def answer(action: str, item_id: str = item.id, at: threading.Barrier = together, to: Any = found) -> None:
            at.wait(10)
            to.append(desk.answer(item_id, action, actor=action, notes="heard it"))

        threads = [threading.Thread(target=answer, args=(action,)) for action in ("approved", "rejected")]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        (refused,) = [each for each in found if isinstance(each, Refused)]
        assert refused.code == "already_decided"
