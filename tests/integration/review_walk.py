"""Anything that may happen to what was said in doubt, step by step, and what must be so whenever all has settled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connector_runner.audit import verifying
from connector_runner.connectors.base import SourceRecord
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.outbound.operating import policies as applying
from connector_runner.policy.settings import PolicySettings
from connector_runner.resolution import service as resolution
from connector_runner.review import ageing, policy_store, queue, switching, tending
from connector_runner.review.verdicts import Verdict
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, split
from connector_runner.world.events import SentAtom
from tests.integration import review_laws
from tests.integration.review_ground import PEOPLE, RECORDS, SYSTEMS, VOICES, Ground
from tests.integration.review_laws import short


@dataclass
class Walk(Ground):
    """What may happen, verb by verb; ``go`` takes steps, and looks whenever all has settled."""

    def say(self) -> None:
        """Somebody says something, maybe in place of what was said before."""
        self._say(self.draw.choice(self.names), self.draw.choice([*VOICES]))

    def unnoted(self) -> None:
        """Somebody says something in doubt, and the note of it is lost: only a scan may find it."""
        self.settle()
        self._say(self.draw.choice(self.names), "voice_agent", anew=True)
        self._sql("DELETE FROM pending_review")
        self.tend()

    def land(self) -> None:
        """A system of record says how a record is: other than before, with less, as it once was, or gone."""
        system, number = self.draw.choice(RECORDS)
        self.days += 1
        day = self.draw.choice([self.days, self.days, self.draw.randint(1, self.days)])
        stamp = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) if self.draw.random() < 0.5 else None
        direct = self.draw.random() < 0.3
        body = self._resource(number) if self.draw.random() < 0.85 else None
        raw = b"" if body is None else exact_json.dumps(body).encode()
        record = SourceRecord("Patient", number, raw, body, None, stamp, deleted=body is None)
        origin = SYSTEMS[system]
        self._note(f"{system}:{number} {body} {stamp}")
        self.database.retrying(
            self.workspace,
            lambda tx: self.intake.land(tx, self.workspace, origin, [record], now=utc_now(), direct=direct),
        )

    def hear(self) -> None:
        """A transcript comes, or comes anew."""
        self.desk.hear(self.draw.choice(["call-1", "call-2"]), f"Caller: Hello{'.' * self.draw.randrange(5)}")

    def look(self) -> None:
        """The loop judges one batch; it may fail, or be told more while it judges."""
        happens = self.draw.random()

        def fail() -> None:
            raise RuntimeError("out of order")

        if happens < 0.6:
            self.judge.meanwhile = self.draw.choice([fail, self.say, self.decide, self._overtaken])
        self.desk.run()
        self.judge.meanwhile = None
        self._sql("UPDATE pending_review SET due_at = clock_timestamp()")

    def _overtaken(self) -> None:
        self._sql("UPDATE pending_review SET due_at = clock_timestamp()")
        self.desk.run()

    def mood(self) -> None:
        """The judge sees things otherwise from now on."""
        self.judge.mood += 1

    def claim(self) -> None:
        """Somebody takes an item, or gives it back."""
        item, actor = self._some(["pending", "in_progress"]), self.draw.choice(PEOPLE)
        if item is not None:
            verb = self.draw.choice([queue.claim, queue.claim, queue.unclaim])
            self._refused(self._tx(lambda tx: verb(tx, self.workspace, item.id, actor=actor, now=utc_now())))

    def answer(self) -> None:
        """Somebody answers an item."""
        item, actor = self._some(["pending", "in_progress"]), self.draw.choice(PEOPLE)
        if item is None:
            return
        action, data = self.draw.choice(["approved", "rejected", "corrected"]), None
        if action == "corrected":
            data = self._facts()
        before = self._labels()
        asked = self._atoms(item)
        done = self.desk.answer(item.id, action, actor, notes="heard it", data=data)
        self._note(f"{action} {data} {short(asked)} -> {getattr(done, 'code', 'done')}")
        if self._refused(done):
            return
        assert item.id not in self.answered, "an item is decided once"
        self.answered.append(item.id)
        given = {pair for pair in asked if data is None or field_of(pair[1]) in data}
        assert not given & self.decided, "what a person decided is decided"
        self.decided |= given
        assert self._labels() - before == len(given), "each answer is a label"

    def decide(self) -> None:
        """Somebody speaks about an event, without its item."""
        if not self.said:
            return
        said = self.draw.choice([*self.said[-4:], *self.later[-4:]])
        atoms = sorted(split(said["facts"]))
        fields = self.draw.choice([(), (self.draw.choice(atoms),)])
        verdict = Verdict(said["id"], self.draw.random() < 0.4, self.draw.choice(PEOPLE), "human", fields, "heard it")
        before = self._labels()
        self._note(f"{said['id'][-4:]} {verdict.word} {fields}")
        try:
            self._tx(lambda tx: self.desk.answers.decide(tx, self.workspace, verdict, now=utc_now()))
        except BadRecord as error:
            if error.code != "claimed_by_other":
                raise
            return
        self.decided |= {(said["id"], atom) for atom in fields or atoms}
        assert self._labels() - before == len(fields or atoms), "each answer is a label"

    def expire(self) -> None:
        """Nobody touches an item for long."""
        item = self._some(["pending", "in_progress"])
        if item is not None:
            self._sql(
                "UPDATE review_item SET changed_at = changed_at - interval '400 hours' WHERE id = :id", id=item.id
            )
            self.tend()

    def lapse(self) -> None:
        """Who has an item does not come back to it."""
        self._sql("UPDATE review_item SET claimed_at = claimed_at - interval '30 hours'")
        self.tend()

    def reopen(self) -> None:
        """Somebody asks what has expired again."""
        item = self._some(["expired"])
        if item is not None:
            found = self._tx(
                lambda tx: ageing.reopen(tx, self.desk.handlers, self.workspace, item.id, actor="ruth", now=utc_now())
            )
            self._note(f"{short(self._atoms(item))} -> {getattr(found, 'code', 'done')}")
            self._refused(found)

    def tend(self) -> None:
        """What is done now and then."""
        tending.tend(self.database, self.workspace, now=utc_now())

    def lay_down(self) -> None:
        """Others look at what a source says, or nobody does; what was let go before is looked for."""
        if self.draw.random() < 0.5:
            self._review_policy()
        else:
            named = self.draw.choice(
                [{}, {"forms": ["patient"]}, {"browser": ["patient.telecom"]}, {"portal": ["patient"]}]
            )
            self._note(f"without {named}")
            policy = PolicySettings.model_validate({"without_review": named})
            applying.apply(self.database, self.workspace, policy, actor="ruth", now=utc_now())
        self.tend()

    def suspend(self) -> None:
        """A category goes back to people, or to the judge."""

        def work(tx: Any) -> None:
            now, category = utc_now(), self.draw.choice(["contact", "identity"])
            if category in policy_store.suspended(tx, self.workspace):
                switching.restore(tx, self.workspace, category, actor="ruth", reason="better", now=now)
            else:
                policy_store.switch(tx, self.workspace, category, suspended=True, actor="ruth", reason="", now=now)

        self._tx(work)

    def adopt(self) -> None:
        """A record turns out to be one that a write of ours has made."""
        record = self.draw.choice(self.names[2:])
        entity = self._entity(self.draw.choice(self.names))
        self._note(f"{record} by {entity[-4:]}")
        if self._exists(entity):
            origin = SYSTEMS[record.partition(":")[0]]
            self._tx(
                lambda tx: self.desk.world.adopt(
                    tx, self.workspace, record, entity, origin.data_source_id, now=utc_now()
                )
            )

    def send(self) -> None:
        """A write of ours brought what holds to a record of the same person."""
        record = self.draw.choice(self.names[2:])
        with self.database.begin(self.workspace) as tx:
            view = reading.view(tx, self.workspace, record)
        if view is None or view.entity_id != self._entity(record):
            return
        winners = [settled.winner for _, settled in sorted(view.folded.atoms.items())]
        high = [each for each in winners if each.confidence >= 0.8]
        if high:
            one = self.draw.choice(high)
            atom = SentAtom(one.atom, one.value, one.event_id, one.source, one.source_system, one.confidence, one.since)
            self._note(record, one.atom, one.value, one.event_id[-4:])
            self._tx(lambda tx: self.desk.world.remember_sent(tx, self.workspace, record, [atom], now=utc_now()))
            self._tx(lambda tx: self.desk.world.refold_dirty(tx, self.workspace, now=utc_now()))

    def link(self) -> None:
        """Somebody says whether two are the same."""
        one, other = self.draw.sample(self.names, 2)
        same = self.draw.random() < 0.6
        self._note(f"{one} {other} {same}")
        a, b = self._entity(one), self._entity(other)
        if a != b and self._exists(a) and self._exists(b):
            self._tx(
                lambda tx: resolution.decide(
                    tx, self.workspace, a, b, same=same, actor="ruth", reason="seen", now=utc_now()
                )
            )
            self.resolve()

    def go(self, steps: int) -> None:
        """Take so many steps, and look whenever all has settled."""
        often = {
            self.say: 8, self.unnoted: 1, self.land: 5, self.hear: 1, self.look: 4, self.mood: 1, self.claim: 2,
            self.answer: 5, self.decide: 3, self.expire: 1, self.lapse: 1, self.reopen: 2, self.tend: 1,
            self.lay_down: 1, self.suspend: 1, self.adopt: 0.4, self.link: 2, self.send: 2, self.settle: 12,
        }  # fmt: skip
        verbs, weights = list(often), list(often.values())
        before = self._beliefs()
        for _ in range(steps):
            self.told.clear()
            (verb,) = self.draw.choices(verbs, weights)
            self.steps.append(verb.__name__)
            verb()
            after = self._beliefs()
            review_laws.everybody_heard(before, after, self.told)
            before = after
        self.settle()
        with self.database.begin(self.workspace) as tx:
            assert verifying.verify(tx, self.workspace).broken is None
        audited = Counter(self.desk.actions())
        assert sum(audited[f"review.{word}"] for word in ("approved", "rejected", "corrected")) == len(self.answered)

    def settle(self) -> None:
        """Let the loop come to its end, and look."""
        for _ in range(50):
            self.resolve()
            self._sql("UPDATE pending_review SET due_at = clock_timestamp()")
            if not self.desk.run().entities and not self.desk.pending():
                break
        else:
            raise AssertionError("the loop comes to no end")
        self._look_at_all()

    def _look_at_all(self) -> None:
        asked = [(item, pair) for item in self._items(["pending", "in_progress"]) for pair in self._atoms(item)]
        over = [item for item in self._items(["expired"]) if item.ended_because == "stale"]
        stale = {pair for item in over for pair in self._atoms(item)}
        with self.database.begin(self.workspace) as tx:
            review_laws.everything_is_before_a_person_once(tx, self.workspace, asked, stale)
