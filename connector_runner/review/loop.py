"""The review loop: what was said in doubt is judged, and either believed from now on or put before a person.

An entity is taken for a time, its claims are judged with no transaction open, and what came of it is written in one
transaction, unless more became known of the entity meanwhile: then it is judged anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Database, Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import TryAgain
from connector_runner.policy import policies
from connector_runner.policy.settings import PolicySettings
from connector_runner.review import (
    item_store,
    items,
    material,
    material_store,
    nearness_store,
    pending_store,
    policy_store,
)
from connector_runner.review.categories import category_of, priority_of
from connector_runner.review.items import Question
from connector_runner.review.judge.case import Case, Judge, Judgement
from connector_runner.review.pending_store import Taken
from connector_runner.review.policy import ReviewPolicy
from connector_runner.review.reasons import CONFLICT, NOT_JUDGED, graver
from connector_runner.review.routing import Routes, Ruling, route
from connector_runner.review.standing import Standing, standing
from connector_runner.review.transcript import Material
from connector_runner.review.trimming import trim
from connector_runner.review.verdicts import Verdict, event_of, note
from connector_runner.review.waiving import is_waived
from connector_runner.world import reading
from connector_runner.world import store as world_store
from connector_runner.world.atoms import field_of
from connector_runner.world.events import StoredEvent
from connector_runner.world.fold import Claim
from connector_runner.world.reading import EntityView
from connector_runner.world.service import World

BATCH: Final = 50
MOST_ATTEMPTS: Final = 4
"""An entity that could not be judged so often is put before a person unjudged."""
JUDGE: Final = "judge"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a batch did. ``again`` are entities of which more became known meanwhile; ``more``: others are due."""

    entities: int = 0
    verdicts: int = 0
    asked: int = 0
    again: int = 0
    more: bool = False

    def __bool__(self) -> bool:
        """Whether anything is believed more now than it was."""
        return self.verdicts > 0


@dataclass(frozen=True, slots=True)
class Heard:
    """The conversation that an event came of, and the number of its transcript; 0 while there is none."""

    session: str
    material: int


@dataclass(frozen=True, slots=True)
class Looked:
    """One entity as it was judged: what is open of it, by conversation, and where each event was heard."""

    taken: Taken
    view: EntityView
    open: Standing
    cases: tuple[Case, ...]
    heard: Mapping[str, Heard]


@dataclass(frozen=True, slots=True)
class Loop:
    """What the loop works with. ``at_once``: so many entities are judged together."""

    database: Database
    world: World
    sealer: Sealer
    judge: Judge
    at_once: int = BATCH
    clock: Clock = utc_now

    def run(self, workspace_id: str) -> Reviewed:
        """Judge one batch. Safe to run many times at once."""
        taken = self.database.retrying(workspace_id, lambda tx: pending_store.take(tx, workspace_id, self.at_once))
        total = Reviewed()
        # What failed before, or whose judge did not come back, goes by itself: it holds up no other.
        first = [each for each in taken if each.attempts == 1]
        for batch in (first, *([each] for each in taken if each.attempts > 1)):
            if batch:
                total = _sum(total, self._batch(workspace_id, batch))
        if not taken:
            return total
        with self.database.begin(workspace_id) as tx:
            more = pending_store.due(tx, workspace_id)
        return Reviewed(total.entities, total.verdicts, total.asked, total.again, more)

    def _batch(self, workspace_id: str, taken: Sequence[Taken]) -> Reviewed:
        try:
            with self.database.begin(workspace_id) as tx:
                looked = self._look(tx, workspace_id, taken)
            judged = self._judged(looked)
            return self.database.retrying(
                workspace_id, lambda tx: self._settle(tx, workspace_id, taken, looked, judged)
            )
        except TryAgain:
            raise
        except Exception as error:
            # Taken again when the lease ends, each by itself.
            log.error("review_failed", entities=len(taken), exc_info=error)
            return Reviewed(len(taken))

    def _look(self, tx: Tx, workspace_id: str, taken: Sequence[Taken]) -> list[Looked]:
        policy, rules = policy_store.load(tx, workspace_id), policies.current(tx, workspace_id)
        ids = [each.entity_id for each in taken]
        asked = item_store.asked_before(tx, workspace_id, ids)
        by_id = {each.entity_id: each for each in taken}
        viewed = [(view, standing(view)) for view in reading.views(tx, ids)]
        heard = _heard(tx, workspace_id, [event for _, found in viewed for event in found.doubtful])
        anew = _heard_anew(tx, workspace_id, ids, heard) if asked.keys() & heard.keys() else frozenset()
        new = [(view, _new(found, asked, anew, view, policy, rules)) for view, found in viewed]
        judged = [left for view, left in new if by_id[view.entity_id].attempts <= MOST_ATTEMPTS]
        named = {heard[event].session for left in judged for event in left.doubtful if event in heard}
        materials = material.of_sessions(tx, self.sealer, workspace_id, sorted(named))
        return [
            Looked(by_id[view.entity_id], view, left, _cases(workspace_id, view, left, heard, materials), heard)
            for view, left in new
        ]

    def _judged(self, looked: Sequence[Looked]) -> dict[str, list[Judgement]]:
        """Entity -> the judgements of its cases; of one that failed too often, that nobody judged it."""
        cases = [case for each in looked if each.taken.attempts <= MOST_ATTEMPTS for case in each.cases]
        words = self.judge.judge(cases) if cases else []
        answers: dict[str, list[Judgement]] = {}
        for case, judgement in zip(cases, words, strict=True):
            answers.setdefault(case.entity_id, []).append(judgement)
        for each in looked:
            if each.taken.attempts > MOST_ATTEMPTS:
                answers[each.view.entity_id] = [Judgement((), NOT_JUDGED) for _ in each.cases]
        return answers

    def _settle(
        self,
        tx: Tx,
        workspace_id: str,
        taken: Sequence[Taken],
        looked: Sequence[Looked],
        judged: dict[str, list[Judgement]],
    ) -> Reviewed:
        ids = sorted(each.view.entity_id for each in looked)
        world_store.lock_entities(tx, ids)
        ours = pending_store.held(tx, workspace_id, taken)
        stamps = pending_store.stamps(tx, ids)
        still = [each for each in looked if each.view.entity_id in ours]
        moved = [each for each in still if stamps.get(each.view.entity_id) != each.view.stamp]
        still = [each for each in still if stamps.get(each.view.entity_id) == each.view.stamp]
        gone = [each for each in taken if each.entity_id in ours and each.entity_id not in ids]
        ruling = Ruling(
            policy_store.load(tx, workspace_id),
            policy_store.signed_off_types(tx, workspace_id),
            frozenset(policy_store.suspended(tx, workspace_id)),
        )
        routed = [(each, _routes(ruling, each, judged.get(each.view.entity_id, []))) for each in still]
        verdicts = self._decided(tx, workspace_id, routed)
        asked = self._asked(tx, workspace_id, routed)
        self._let_go(tx, workspace_id, routed)
        self._pass_on(tx, workspace_id, [each.entity_id for each in gone])
        pending_store.settle(tx, workspace_id, [*(each.taken for each in still), *gone], [each.taken for each in moved])
        return Reviewed(len(taken), verdicts, asked, len(moved))

    def _decided(self, tx: Tx, workspace_id: str, routed: Sequence[tuple[Looked, Routes]]) -> int:
        """Write the verdicts; how many."""
        now = self.clock()
        made = []
        for each, routes in routed:
            for verdict in _verdicts(routes):
                made.append((verdict, event_of(verdict, each.view.entity_id, each.view.entity_type)))
        if made:
            self.world.append(tx, workspace_id, [event for _, event in made], now=now, from_review=True)
            for verdict, event in made:
                note(tx, workspace_id, verdict, event, now=now)
        return len(made)

    def _asked(self, tx: Tx, workspace_id: str, routed: Sequence[tuple[Looked, Routes]]) -> int:
        """Put the questions; how many."""
        now = self.clock()
        wanted = [(each, routes) for each, routes in routed if routes.asked]
        near = nearness_store.next_appointments(tx, workspace_id, [each.view.entity_id for each, _ in wanted], now)
        questions = [_question(each, routes, near.get(each.view.entity_id), now) for each, routes in wanted]
        if questions:
            items.ask_all(tx, workspace_id, questions, now=now)
        return len(wanted)

    def _pass_on(self, tx: Tx, workspace_id: str, gone: Sequence[str]) -> None:
        """Have what was said of entities that are there no more judged of those that their records count for now."""
        if not gone:
            return
        ended = [row["id"] for row in item_store.open_of_all(tx, workspace_id, items.EVENTS, gone).values()]
        item_store.end(tx, workspace_id, ended, items.WITHDRAWN, self.clock())
        holders = world_store.adopted(tx, gone)
        if holders:
            pending_store.request(tx, workspace_id, sorted(holders.values()))

    def _let_go(self, tx: Tx, workspace_id: str, routed: Sequence[tuple[Looked, Routes]]) -> None:
        """Take out of open items what is not said any more, or was answered elsewhere, or the judge passes by now."""
        now = self.clock()
        judged = {each.view.entity_id: (each.view, routes) for each, routes in routed}
        for entity_id, row in item_store.open_of_all(tx, workspace_id, items.EVENTS, list(judged)).items():
            view, routes = judged[entity_id]
            trim(tx, workspace_id, row["id"], row["asked"], view, passed=routes.settled, now=now)


def _verdicts(routes: Routes) -> list[Verdict]:
    """A verdict for each event of which something passed, and one more for what passed by the word of others."""
    atoms: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for event_id, passed in routes.passed.items():
        for atom in passed:
            atoms.setdefault((event_id, routes.rests.get((event_id, atom), ())), []).append(atom)
    return [
        Verdict(event_id, True, JUDGE, "automated", sorted(named), version=routes.version, rests_on=others)
        for (event_id, others), named in sorted(atoms.items())
    ]


def _cases(
    workspace_id: str,
    view: EntityView,
    left: Standing,
    heard: Mapping[str, Heard],
    materials: Mapping[str, Material],
) -> tuple[Case, ...]:
    """A case for each conversation that doubtful events of an entity came of, and one for those that came of none."""
    events: dict[str, list[StoredEvent]] = {}
    for event in view.events:
        if event.id in left.doubtful:
            events.setdefault(heard[event.id].session if event.id in heard else "", []).append(event)
    return tuple(
        Case(workspace_id, view.entity_id, view.entity_type, tuple(found), view, materials.get(session))
        for session, found in sorted(events.items())
    )


def _heard(tx: Tx, workspace_id: str, events: Sequence[str]) -> dict[str, Heard]:
    """Event -> where it was heard, of those that came of a conversation."""
    found = pending_store.sessions(tx, workspace_id, events) if events else {}
    named = {event: session for event, session in found.items() if session}
    numbers = material_store.numbers(tx, workspace_id, sorted({*named.values()})) if named else {}
    return {event: Heard(session, numbers.get(session, 0)) for event, session in named.items()}


def _heard_anew(
    tx: Tx, workspace_id: str, entity_ids: Sequence[str], heard: Mapping[str, Heard]
) -> frozenset[tuple[str, str]]:
    """The atoms (event, path) that people are asked about, and whose transcript came, or came anew, since."""
    words = item_store.open_words(tx, workspace_id, entity_ids) if any(each.material for each in heard.values()) else ()
    known = {(word["event_id"], word["path"]): word.get("material", 0) for word in words}
    return frozenset(atom for atom, n in known.items() if atom[0] in heard and heard[atom[0]].material > n)


def _new(
    open_now: Standing,
    asked: Mapping[str, list[tuple[str, list[str]]]],
    anew: frozenset[tuple[str, str]],
    view: EntityView,
    policy: ReviewPolicy,
    rules: PolicySettings,
) -> Standing:
    """Of what is open only that about which nobody was asked yet, and at which somebody is to look at all.

    ``anew`` is judged though somebody was asked: more is known by now of what was said. ``rules`` say whose word needs
    no verdict. What is disputed by now was not asked about where there was less to ask.
    """

    def left(
        claims: Mapping[str, Mapping[str, Claim]], told: Callable[[str], bool] = lambda reason: True
    ) -> dict[str, dict[str, Claim]]:
        kept = {
            event_id: {atom: claim for atom, claim in atoms.items() if is_new(event_id, atom, claim, told)}
            for event_id, atoms in claims.items()
        }
        return {event_id: atoms for event_id, atoms in kept.items() if atoms}

    def is_new(event_id: str, atom: str, claim: Claim, told: Callable[[str], bool]) -> bool:
        if policy.looked_at_by(view.entity_type, claim.source, claim.source_system) == "nobody":
            return False
        if is_waived(rules, view.entity_type, field_of(atom), claim):
            return False
        before = (atoms for reason, atoms in asked.get(event_id, ()) if told(reason))
        return (event_id, atom) in anew or not any(not atoms or atom in atoms for atoms in before)

    return Standing(left(open_now.doubtful), left(open_now.disputed, lambda reason: graver(reason, CONFLICT) == reason))


def _routes(ruling: Ruling, looked: Looked, judgements: Sequence[Judgement]) -> Routes:
    """Where the claims of an entity go by the judgements of its conversations."""
    routes = Routes()
    for case, judgement in zip(looked.cases, judgements, strict=True):
        events = {event.id for event in case.events}
        claims = {event: atoms for event, atoms in looked.open.doubtful.items() if event in events}
        route(routes, ruling, looked.view, claims, judgement)
    for word in routes.said:
        where = looked.heard.get(word["event_id"])
        if where is not None:
            word.update(session=where.session, material=where.material)
    for event_id, atoms in looked.open.disputed.items():
        for atom in atoms:
            routes.put_before_person(event_id, atom, category_of(looked.view.entity_type, atom), CONFLICT)
    return routes


def _question(looked: Looked, routes: Routes, near: datetime | None, now: datetime) -> Question:
    return Question(
        items.EVENTS,
        looked.view.entity_id,
        looked.view.entity_type,
        routes.reason,
        priority_of(routes.category, near, now),
        asked={event: routes.asked[event] for event in sorted(routes.asked)},
        category=routes.category,
        analysis=routes.analysis,
        session_id=next((looked.heard[event].session for event in routes.asked if event in looked.heard), None),
    )


def _sum(one: Reviewed, other: Reviewed) -> Reviewed:
    return Reviewed(
        one.entities + other.entities, one.verdicts + other.verdicts, one.asked + other.asked, one.again + other.again
    )
