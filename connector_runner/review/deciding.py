"""What a person's answer about events means: verdicts or a correction, and labels, in the transaction of the answer.

The entity is folded with what is appended, and its sinks are asked for: a lane that failed on confidence, and what
waited for it, is planned anew, and what was rejected leaves no lane any more, as lanes are planned when they are
drained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import entity_id_of
from connector_runner.review import item_store, label_store, switching, verdicts
from connector_runner.review.categories import category_of, gravest
from connector_runner.review.correcting import Schema, malformed, schema_of, wrong_with
from connector_runner.review.items import EVENTS, WITHDRAWN, Answer, Asked, Done, Item, Refused
from connector_runner.review.judge.case import SUPPORTED
from connector_runner.review.label_store import Said
from connector_runner.review.routing import SCORES
from connector_runner.review.standing import explained, remaining
from connector_runner.review.trimming import trim
from connector_runner.review.verdicts import Verdict, event_of
from connector_runner.unification.loader import MappingSet
from connector_runner.world import reading
from connector_runner.world import store as world_store
from connector_runner.world.atoms import field_of, split
from connector_runner.world.confidence import AUTHORITATIVE
from connector_runner.world.events import NewEvent, StoredEvent
from connector_runner.world.fold import VERDICT_PREFIX
from connector_runner.world.reading import EntityView
from connector_runner.world.service import World

CORRECTED: Final = "corrected"
"""Why a value is rejected that a person put right."""

_Word = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventsHandler:
    """Answers to items about events; a Handler."""

    world: World
    mappings: MappingSet
    sealer: Sealer

    def lock(self, tx: Tx, workspace_id: str, item: Item) -> None:
        """Lock the entity, or who adopted its record: nothing joins its events until the answer is carried out."""
        world_store.lock_entities(tx, [reading.entity_id(tx, workspace_id, item.entity_id)])

    def changed(self, tx: Tx, workspace_id: str, item: Item, *, now: datetime) -> Sequence[Mapping[str, Any]]:
        """Events that are not said any more, or that a person judged elsewhere; the item asks about them no more."""
        view = reading.view(tx, workspace_id, item.entity_id)
        if view is None:
            item_store.end(tx, workspace_id, [item.id], WITHDRAWN, now)
            return [{"event_id": event, "because": WITHDRAWN} for event in item.event_ids]
        return trim(tx, workspace_id, item.id, item.asked, view, now=now)

    def gone(self, tx: Tx, workspace_id: str, item: Item, asked: Asked) -> Sequence[Mapping[str, Any]]:
        """What of ``asked`` is not said any more, or was answered; event by event."""
        view = reading.view(tx, workspace_id, item.entity_id)
        if view is None:
            return [{"event_id": event, "because": WITHDRAWN} for event in asked]
        return explained(view, asked, item.asked if item.is_open else {})

    def answered(self, tx: Tx, workspace_id: str, item: Item, answer: Answer, *, now: datetime) -> Done | Refused:
        """Write verdicts, or a correction; Refused for a correction that the entity's type does not allow.

        What a correction does not speak of is left to be asked: nobody has said that it is true.
        """
        view = reading.view(tx, workspace_id, item.entity_id)
        if view is None:
            return Refused("unknown_entity", "there is no such entity any more", where=item.entity_id)
        corrected: NewEvent | None = None
        if answer.action == "corrected":
            data = answer.data or {}
            wrong = wrong_with(self.schema(view), data) or malformed(view.entity_type, data, now)
            if wrong is not None:
                return wrong
            corrected = _correction(view, item, answer)
        holds = _holds(view, item, answer)
        made = _verdicts(view, holds, answer)
        events = [event_of(verdict, view.entity_id, view.entity_type) for verdict in made]
        everything = [*events, *([corrected] if corrected else [])]
        self.world.append(tx, workspace_id, everything, now=now, from_review=True)
        after = reading.view(tx, workspace_id, item.entity_id)
        for verdict, event in zip(made, events, strict=True):
            verdicts.note(tx, workspace_id, verdict, event, detail={"item": item.id}, now=now)
        words = _words(item.analysis)
        self._label(tx, workspace_id, view, words, holds, answer.actor, answer.notes, item.id, now)
        fields = sorted({field_of(atom) for atoms in holds.values() for atom in atoms} | set(answer.data or ()))
        detail = {
            "fields": fields,
            "before": self._digests(workspace_id, view, fields),
            "after": self._digests(workspace_id, after, fields),
        }
        left = _left(after, item.asked, holds) if after and corrected else {}
        about = gravest(category_of(view.entity_type, atom) for atoms in left.values() for atom in atoms)
        written = () if corrected else _written(tx, workspace_id, view, holds)
        return Done(tuple(event.id for event in everything), detail, left, about, written)

    def schema(self, view: EntityView) -> Schema:
        """The JSON Schema of a correction of an entity."""
        known = {field for event in view.events if not _is_verdict(event) for field in event.facts}
        return schema_of(self.mappings, view.entity_type, sorted(known), view.state)

    def decide(self, tx: Tx, workspace_id: str, verdict: Verdict, *, now: datetime) -> str:
        """A person's word about one event without its item; what an open item asks about it is answered with that.

        Returns the id of the verdict's event. Raises as ``verdicts.decide`` does, and BadRecord (``claimed_by_other``)
        for what is asked in an item that somebody else works on.
        """
        about = reading.event(tx, verdict.event_id)
        if about is None:
            return verdicts.decide(tx, self.world, workspace_id, verdict, now=now)
        entity = reading.entity_id(tx, workspace_id, about["entity_id"])
        world_store.lock_entities(tx, [entity])
        found = item_store.open_of(tx, workspace_id, EVENTS, entity)
        if found and verdict.event_id in found["asked"] and found["assigned_to"] not in (None, verdict.actor):
            message = "another person works on the item that asks about this event"
            raise BadRecord(message, code="claimed_by_other", where=found["id"])
        before = reading.view(tx, workspace_id, entity)
        made = verdicts.decide(tx, self.world, workspace_id, verdict, now=now)
        after = reading.view(tx, workspace_id, entity)
        if before is None or after is None:
            return made
        if found is not None:
            trim(tx, workspace_id, found["id"], found["asked"], after, now=now)
        named = set(verdict.fields)
        atoms = [atom for atom in split(about["facts"]) if not named or {atom, field_of(atom)} & named]
        holds = {verdict.event_id: dict.fromkeys(atoms, verdict.approve)}
        words = _words(found["analysis"]) if found else {}
        item_id = found["id"] if found else None
        self._label(tx, workspace_id, before, words, holds, verdict.actor, verdict.reason, item_id, now)
        return made

    def _label(
        self,
        tx: Tx,
        workspace_id: str,
        view: EntityView,
        words: Mapping[tuple[str, str], _Word],
        holds: Mapping[str, Mapping[str, bool]],
        actor: str,
        notes: str | None,
        item_id: str | None,
        now: datetime,
    ) -> None:
        """Keep the answers as labels, and take from the judge a category in which they prove it wrong too often."""
        known = {**_passed(view), **words}
        said = [
            _said(view, event_id, atom, self._name(workspace_id, atom), true, known.get((event_id, atom)))
            for event_id, atoms in holds.items()
            for atom, true in atoms.items()
        ]
        label_store.add(tx, workspace_id, said, actor=actor, reason=notes or "", item_id=item_id, now=now)
        judged = [(each.category, each.version) for each in said if each.version and each.verdict]
        switching.check(tx, workspace_id, judged, now=now)

    def _name(self, workspace_id: str, atom: str) -> str:
        """An atom by its field, and one of several by what stands for its key, which may hold what was said."""
        field = field_of(atom)
        if field == atom:
            return field
        return f"{field}[{self.sealer.keyed_digest(workspace_id, 'review', atom).hex()[:12]}]"

    def _digests(self, workspace_id: str, view: EntityView | None, fields: Iterable[str]) -> dict[str, str | None]:
        """Field -> what stands for its value, so that the log shows a change without telling what it was."""
        state = view.state if view else {}
        return {
            field: self.sealer.keyed_digest(workspace_id, "review", exact_json.dumps(state[field])).hex()
            if field in state
            else None
            for field in fields
        }


def _is_verdict(event: StoredEvent) -> bool:
    return event.event_type.startswith(VERDICT_PREFIX)


def _correction(view: EntityView, item: Item, answer: Answer) -> NewEvent:
    return NewEvent(
        entity_id=view.entity_id,
        entity_type=view.entity_type,
        event_type=f"{view.entity_type}.corrected",
        facts=dict(answer.data or {}),
        source="manual",
        confidence=AUTHORITATIVE,
        snapshot=False,
        canonical_id=view.canonical_id,
        caused_by=min(item.event_ids, default=None),
        actor=answer.actor,
        correlation_id=item.session_id,
    )


def _holds(view: EntityView, item: Item, answer: Answer) -> dict[str, dict[str, bool]]:
    """Event -> atom -> whether it is true by the answer. A correction tells only of the fields that it gives."""
    asked = _atoms(view, item.asked)
    if answer.action != "corrected":
        return {event: dict.fromkeys(atoms, answer.action == "approved") for event, atoms in asked.items()}
    right = split(dict(answer.data or {}))
    given = {field_of(atom) for atom in right} | set(answer.data or ())
    values = {event.id: split(event.facts) for event in view.events if event.id in asked}
    found = {
        event: {a: right.get(a) == values[event].get(a) for a in atoms if field_of(a) in given}
        for event, atoms in asked.items()
    }
    return {event: atoms for event, atoms in found.items() if atoms}


def _written(
    tx: Tx, workspace_id: str, view: EntityView, holds: Mapping[str, Mapping[str, bool]]
) -> tuple[Mapping[str, Any], ...]:
    """The records that were last sent what is rejected, and since when that was known: a person takes it back."""
    untrue = {(event, atom) for event, atoms in holds.items() for atom, true in atoms.items() if not true}
    if not untrue:
        return ()
    records = {**view.records, **{key: source for other in view.others for key, source in other.records.items()}}
    keys = {entity_id_of(workspace_id, key): key for key in records}
    known = {event.id: event.ingested_at for event in view.events}
    sent = [each for each in world_store.sent_values_of(tx, sorted(keys)) if (each.event_id, each.atom) in untrue]
    found = {
        (keys[each.record_id], field_of(each.atom)): known[each.event_id].isoformat()
        for each in sorted(sent, key=lambda each: known[each.event_id], reverse=True)
    }
    return tuple(
        {"entity_id": view.entity_id, "record": record, "field": field, "since": since}
        for (record, field), since in sorted(found.items())
    )


def _left(view: EntityView, asked: Asked, holds: Mapping[str, Mapping[str, bool]]) -> Asked:
    """What was asked, and neither answered nor settled by the answer."""
    rest = {event: [a for a in atoms if a not in holds.get(event, ())] for event, atoms in _atoms(view, asked).items()}
    return remaining(view, {event: atoms for event, atoms in rest.items() if atoms})[0]


def _atoms(view: EntityView, asked: Asked) -> dict[str, list[str]]:
    """Event -> its atoms that are asked about."""
    return {
        event.id: list(asked[event.id] or split(event.facts))
        for event in view.events
        if event.id in asked and not _is_verdict(event)
    }


def _verdicts(view: EntityView, holds: Mapping[str, Mapping[str, bool]], answer: Answer) -> list[Verdict]:
    """One or two verdicts an event; one that is about all of the event names no fields."""
    made = []
    whole = {event.id: set(split(event.facts)) for event in view.events if event.id in holds}
    reason = CORRECTED if answer.action == "corrected" else answer.notes
    for event_id, atoms in sorted(holds.items()):
        for approve in (True, False):
            fields = sorted(atom for atom, true in atoms.items() if true is approve)
            if fields:
                named = () if set(fields) == whole[event_id] else fields
                made.append(Verdict(event_id, approve, answer.actor, fields=named, reason=reason))
    return made


def _words(analysis: Mapping[str, Any] | None) -> dict[tuple[str, str], _Word]:
    """(event, atom) -> the judge's word, of an item's analysis."""
    said = analysis or {}
    return {(w["event_id"], w["path"]): {"version": said.get("version"), **w} for w in said.get("fields", ())}


def _passed(view: EntityView) -> dict[tuple[str, str], _Word]:
    """(event, atom) -> the judge's word about what it passed, by its own verdicts."""
    atoms = {event.id: list(split(event.facts)) for event in view.events if not _is_verdict(event)}
    found: dict[tuple[str, str], _Word] = {}
    for event in view.events:
        if _is_verdict(event) and event.facts.get("kind") == "automated" and event.confidence > 0:
            about = str(event.facts.get("about"))
            word = {"verdict": SUPPORTED, "by": None, "version": event.facts.get("version") or "unknown"}
            for atom in event.facts.get("fields") or atoms.get(about, []):
                found[about, atom] = word
    return found


def _said(view: EntityView, event_id: str, atom: str, name: str, true: bool, word: _Word | None) -> Said:
    category = category_of(view.entity_type, atom)
    if word is None:
        return Said(view.entity_id, event_id, name, category, true)
    return Said(
        view.entity_id,
        event_id,
        name,
        category,
        true,
        word["verdict"],
        word["by"],
        SCORES[word["verdict"]],
        word.get("version"),
        float(word.get("weight", 1.0)),
    )
