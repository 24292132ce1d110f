"""Folding several entities as one: in any order the same, whichever is asked, and lent values are nobody's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.kernel import exact_json
from connector_runner.world.events import RecordVersion, SentValue, StoredEvent
from connector_runner.world.fold import fold

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PEOPLE = ("a", "b", "c")
FIELDS = ("gender", "language")


@dataclass
class Told:
    """What happened, as the tables hold it."""

    events: list[StoredEvent] = field(default_factory=list)
    versions: list[RecordVersion] = field(default_factory=list)
    sent: list[SentValue] = field(default_factory=list)
    holds: dict[str, dict[str, str]] = field(default_factory=dict)

    def state(self, *people: str) -> str:
        events = [event for event in self.events if event.entity_id in people]
        records = {event.record_id for event in events}
        return exact_json.dumps(
            fold(
                events,
                [version for version in self.versions if version.record_id in records],
                [value for value in self.sent if value.record_id in records],
            ).state
        )

    def event(self, who: str, minute: int, facts: dict[str, Any], *, record: bool) -> StoredEvent:
        at = T0 + timedelta(minutes=minute)
        made = StoredEvent(
            id=f"{len(self.events):04}-{who}", entity_id=who, entity_type="patient", event_type="patient.updated",
            facts=facts, snapshot=record, source="fhir_import" if record else "voice_agent",
            source_system="ehr" if record else None, data_source_id="d" if record else None,
            record_id=who if record else None, record_key=f"ehr:Patient:{who}" if record else None,
            mapping_version="1", confidence=1.0 if record else 0.95, supersedes=None, effective_at=None, as_of=None,
            ingested_at=at, actor=None,
        )  # fmt: skip
        self.events.append(made)
        return made

    def seen(self, who: str, minute: int, **changed: str) -> None:
        """The record as its system holds it by now."""
        self.holds[who] = {**self.holds.get(who, {}), **changed}
        at, made = T0 + timedelta(minutes=minute), self.event(who, minute, dict(self.holds[who]), record=True)
        self.versions.append(RecordVersion(who, len(self.versions), who, "d", b"", at, at, made.id, last_updated=at))

    def wrote(self, who: str, minute: int, atom: str, cause: StoredEvent) -> None:
        """We wrote somebody's word into a record, which is read back afterwards."""
        self.sent.append(
            SentValue(
                who,
                atom,
                exact_json.digest(cause.facts[atom]),
                cause.id,
                cause.source,
                cause.source_system,
                cause.confidence,
                cause.ingested_at,
                T0 + timedelta(minutes=minute),
            )
        )
        self.seen(who, minute + 1, **{atom: cause.facts[atom]})


values = st.sampled_from(["u", "v", "w"])
steps = st.lists(
    st.tuples(st.sampled_from(["record", "voice", "lend"]), st.sampled_from(PEOPLE), st.sampled_from(FIELDS), values),
    min_size=1,
    max_size=10,
)


def told(story: list[tuple[str, str, str, str]], *, merged: bool) -> Told:
    """``merged``: what others said is written into records as long as they are one; a record's people write others."""
    so_far = Told()
    for who in PEOPLE:
        so_far.seen(who, 0, **dict.fromkeys(FIELDS, "first"))
    lent: set[tuple[str, str]] = set()
    for number, (kind, who, atom, value) in enumerate(story):
        minute = 10 * (number + 1)
        if kind == "voice":
            so_far.event(who, minute, {atom: f"{value}{number}"}, record=False)
        elif kind == "record" and (who, atom) not in lent:
            # Somebody in the system edits what is their own; an edit of what was lent is another story.
            untouched = {f: so_far.holds[who][f] for f in FIELDS if f != atom}
            so_far.seen(who, minute, **untouched, **{atom: f"{value}{number}"})
        elif kind == "lend" and merged:
            others = [e for e in so_far.events if e.entity_id != who and atom in e.facts and e.facts[atom] != "first"]
            own = so_far.holds[who][atom]
            if others and others[-1].facts[atom] != own and others[-1].record_id != who:
                so_far.wrote(who, minute, atom, others[-1])
                lent.add((who, atom))
    return so_far


def never_lent(story: list[tuple[str, str, str, str]]) -> Told:
    """The same without a merge: those edits fall away that fell away above, for they depend on what was lent."""
    kept: list[tuple[str, str, str, str]] = []
    lent: set[tuple[str, str]] = set()
    sent = {(value.record_id, value.atom, value.sent_at) for value in told(story, merged=True).sent}
    for number, (kind, who, atom, value) in enumerate(story):
        at = T0 + timedelta(minutes=10 * (number + 1))
        if kind == "lend" and (who, atom, at) in sent:
            lent.add((who, atom))
        if kind == "record" and (who, atom) in lent:
            kept.append(("lend", who, atom, value))
        else:
            kept.append((kind, who, atom, value))
    return told(kept, merged=False)


@given(steps)
def test_what_was_lent_leaves_each_state_as_if_it_never_had_been(story: list[tuple[str, str, str, str]]) -> None:
    merged, never = told(story, merged=True), never_lent(story)
    for who in PEOPLE:
        assert merged.state(who) == never.state(who)


@given(steps, st.randoms(use_true_random=False))
def test_folded_together_the_order_of_everything_is_of_no_account(
    story: list[tuple[str, str, str, str]], chance: Any
) -> None:
    so_far = told(story, merged=True)
    expected = so_far.state(*PEOPLE)
    shuffled = replace(so_far, events=[*so_far.events], versions=[*so_far.versions], sent=[*so_far.sent])
    for rows in (shuffled.events, shuffled.versions, shuffled.sent):
        chance.shuffle(rows)
    assert shuffled.state(*reversed(PEOPLE)) == expected


@given(steps)
def test_together_what_was_lent_is_said_by_whom_it_came_from(story: list[tuple[str, str, str, str]]) -> None:
    so_far = told(story, merged=True)
    own_words = {exact_json.dumps(event.facts.get(atom)) for event in so_far.events for atom in FIELDS}
    found = exact_json.loads(so_far.state(*PEOPLE))
    assert {exact_json.dumps(found[atom]) for atom in FIELDS} <= own_words
