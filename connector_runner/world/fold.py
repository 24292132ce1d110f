"""State is a fold of events: which value of each atom holds, since when, and who said otherwise.

Pure: the same events, versions and sent values give the same answer, in whatever order they arrived.

Per atom the highest confidence class wins; within a class the latest assertion time; then the higher
confidence, the later ingestion, the id. The assertion time of a source record's value is since when that
record has held it, so a record that is sent again, or mapped anew, asserts nothing anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Final

from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import EARLIEST
from connector_runner.world.atoms import SAFETY_FIELDS, field_of, join, split
from connector_runner.world.confidence import AUTHORITATIVE, HIGH, NONE, confidence_class
from connector_runner.world.events import RecordVersion, SentValue, StoredEvent
from connector_runner.world.replacing import replaced, still_said
from connector_runner.world.statuses import statuses, together

VERDICT_PREFIX = "review."
_SILENT: Final = object()
"""In place of a value that a record does not have."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One value of an atom, and everything that decides whether it holds.

    ``origin_system`` is the external system that first said it: for an echo, that of the cause.
    """

    atom: str
    value: Any
    event_id: str
    source: str
    source_system: str | None
    data_source_id: str | None
    record_key: str | None
    mapping_version: str | None
    confidence: float
    since: datetime
    ingested_at: datetime
    verdict: str | None = None
    echo: bool = False

    @property
    def rank(self) -> tuple[int, datetime, float, datetime, str]:
        """Sorts the better claim last."""
        return (confidence_class(self.confidence), self.since, self.confidence, self.ingested_at, self.event_id)

    @property
    def is_doubtful(self) -> bool:
        """Whether it is not believed enough to be relied on, and has no verdict."""
        return self.verdict is None and not self.echo and NONE < confidence_class(self.confidence) < HIGH


@dataclass(frozen=True, slots=True)
class Settled:
    """An atom's winner and its losers, best first; ``conflict`` names why a person should look."""

    winner: Claim
    losers: tuple[Claim, ...]
    conflict: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """The outcome for one entity, or for several that are one. ``status`` is active, deleted or retracted.

    ``statuses``: entity -> what its own records say of it as a whole. ``replaced`` are those in whose place their own
    system put another record (R4, patient.html#links).
    """

    atoms: dict[str, Settled]
    status: str
    statuses: Mapping[str, str] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()

    @property
    def state(self) -> dict[str, Any]:
        """The facts that hold."""
        return join({atom: settled.winner.value for atom, settled in self.atoms.items()})

    @property
    def confidence(self) -> float:
        """That of the least believed value that holds; 1.0 for an entity without values."""
        return min((settled.winner.confidence for settled in self.atoms.values()), default=1.0)

    @property
    def disputed(self) -> bool:
        """Whether a judge's word stands against that of a system of record, whichever holds."""
        every = ((claim, claims) for claims in self._claims for claim in claims)
        return any(c.verdict == "automated" and not c.echo and contradicts_record(c, claims) for c, claims in every)

    @property
    def doubted(self) -> bool:
        """Whether a claim counts that nobody vouches for."""
        return any(claim.is_doubtful for claims in self._claims for claim in claims)

    @property
    def _claims(self) -> Iterable[tuple[Claim, ...]]:
        return ((settled.winner, *settled.losers) for settled in self.atoms.values())


def fold(events: Sequence[StoredEvent], versions: Iterable[RecordVersion], sent: Iterable[SentValue] = ()) -> Folded:
    """Fold the events of an entity, or of several that are one, with the versions of their records and what was sent.

    What a record was sent because of an event that is not among ``events`` is nobody's word here: it was lent by an
    entity that was held for the same, and what the record said itself before holds.
    """
    by_id = {event.id: event for event in events}
    histories = _histories(versions, by_id)
    verdicts = _verdicts(events)
    superseded = _superseded(by_id, verdicts)
    sent_by: dict[tuple[str, str], list[SentValue]] = {}
    for value in sorted(sent, key=lambda value: value.sent_at):
        sent_by.setdefault((value.record_id, value.atom), []).append(value)
    claims: dict[str, list[Claim]] = {}

    def stands(value: SentValue) -> bool:
        """Whether anybody who was sent for says it, and nobody rejected that."""
        verdict = _verdict(value.event_id, value.atom, verdicts)
        return value.event_id in by_id and (verdict is None or confidence_class(verdict.confidence) != NONE)

    for record_id, history in histories.items():
        for claim in _record_claims(history, by_id, record_id, sent_by, stands):
            claims.setdefault(claim.atom, []).append(claim)
    for event in events:
        if event.event_type.startswith(VERDICT_PREFIX) or event.id in superseded:
            continue
        if event.snapshot and event.record_id in histories:
            continue
        for claim in _event_claims(event):
            claims.setdefault(claim.atom, []).append(claim)
    found = statuses(histories, events)
    claims = {atom: [_judged(claim, verdicts) for claim in every] for atom, every in claims.items()}
    gone = replaced(claims.get("link", ()), by_id)
    if gone.records:
        claims = {atom: still_said(every, gone.records) for atom, every in claims.items()}
    if gone.entities and any(status == "active" for entity, status in found.items() if entity not in gone.entities):
        # That a record is out of use says nothing of the person, who goes on under another.
        claims["active"] = [c for c in claims.get("active", ()) if by_id[c.event_id].entity_id not in gone.entities]
    settled = {atom: chosen for atom, every in claims.items() if (chosen := _choose(atom, every)) is not None}
    return Folded(settled, together(found.values()), found, gone.entities)


def _histories(versions: Iterable[RecordVersion], by_id: Mapping[str, StoredEvent]) -> dict[str, list[RecordVersion]]:
    histories: dict[str, list[RecordVersion]] = {}
    for version in versions:
        if version.deleted or version.event_id in by_id:
            histories.setdefault(version.record_id, []).append(version)
    for history in histories.values():
        history.sort(key=lambda version: version.order)
    return histories


def _record_claims(
    history: list[RecordVersion],
    by_id: Mapping[str, StoredEvent],
    record_id: str,
    sent: Mapping[tuple[str, str], list[SentValue]],
    stands: Callable[[SentValue], bool],
) -> list[Claim]:
    """What a source record says now; each value since the first version of its unbroken run."""
    if history[-1].deleted or history[-1].event_id is None:
        return []
    contents: dict[str, dict[str, Any]] = {}

    def atoms_of(version: RecordVersion) -> dict[str, Any]:
        if version.deleted or version.event_id is None:
            return {}
        known = contents.get(version.event_id)
        if known is None:
            known = contents[version.event_id] = split(by_id[version.event_id].facts)
        return known

    atoms = list(atoms_of(history[-1]))
    if any(not stands(echoes[-1]) for (record, _), echoes in sent.items() if record == record_id):
        # What we wrote over, or took away, may be the record's own word still.
        atoms = list(dict.fromkeys(atom for version in reversed(history) for atom in atoms_of(version)))
    told = (_said_of(atom, history, atoms_of, by_id, sent.get((record_id, atom), []), stands) for atom in atoms)
    return [claim for claim in told if claim is not None]


def _said_of(
    atom: str,
    history: list[RecordVersion],
    atoms_of: Callable[[RecordVersion], dict[str, Any]],
    by_id: Mapping[str, StoredEvent],
    sent: Sequence[SentValue],
    stands: Callable[[SentValue], bool],
) -> Claim | None:
    """What a record says of an atom by the last of ``history``, after it was sent all of ``sent``, oldest first.

    What it was sent for nobody who says it is passed over, the last first, with the versions that gave it back.
    """
    written = list(sent)
    end = len(history)
    while end:
        latest = history[end - 1]
        value = atoms_of(latest).get(atom, _SILENT)
        start = end - 1
        while start > 0 and atoms_of(history[start - 1]).get(atom, _SILENT) == value:
            start -= 1
        echo = written.pop() if written else None
        ours = echo is not None and _is_echo(echo, value, islice(history, start), atoms_of)
        if echo is None or stands(echo):
            break
        end = start if ours else end
    else:
        return None
    own = echo is not None and _is_own(by_id.get(echo.event_id), latest.record_id)
    if echo is not None and latest.seen_at < echo.sent_at and exact_json.digest(_told(value)) != echo.value_digest:
        # Seen before we wrote there, so it is no word of the record any more: it holds what it confirmed to us.
        return _put_back(atom, echo, by_id) if own else None
    if value is _SILENT:
        return None
    claim = _claim(atom, value, by_id[history[start].event_id or ""], _asserted(history[start], by_id))
    if echo is None or not ours:
        return claim
    return replace(
        claim,
        event_id=echo.event_id,
        source=echo.source,
        source_system=echo.source_system,
        confidence=echo.confidence,
        since=echo.since,
        # The record's own word, put back when a write of ours was undone, is no copy: only as old as it was.
        echo=not own,
    )


def _put_back(atom: str, sent: SentValue, by_id: Mapping[str, StoredEvent]) -> Claim | None:
    """The record's own earlier word, which it was sent again and which was not read there since."""
    cause = by_id[sent.event_id]
    value = split(cause.facts).get(atom, _SILENT)
    return _claim(atom, value, cause, sent.since) if exact_json.digest(_told(value)) == sent.value_digest else None


def _told(value: Any) -> Any:
    return None if value is _SILENT else value


def _asserted(version: RecordVersion, by_id: Mapping[str, StoredEvent]) -> datetime:
    event = by_id[version.event_id or ""]
    return min(version.last_updated or event.as_of or EARLIEST, version.seen_at)


def _is_echo(
    sent: SentValue,
    value: Any,
    earlier: Iterable[RecordVersion],
    atoms_of: Callable[[RecordVersion], dict[str, Any]],
) -> bool:
    """Whether ``value`` is ours come back.

    Not so when the record held it after we sent it, then held another, and now holds it again: that second
    time it is the record's own word.
    """
    if value is _SILENT or exact_json.digest(value) != sent.value_digest:
        return False
    return not any(version.seen_at >= sent.sent_at and atoms_of(version).get(sent.atom) == value for version in earlier)


def _is_own(cause: StoredEvent | None, record_id: str) -> bool:
    return cause is not None and cause.record_id == record_id


def _event_claims(event: StoredEvent) -> list[Claim]:
    since = min(event.effective_at or event.as_of or event.ingested_at, event.ingested_at)
    return [_claim(atom, value, event, since) for atom, value in split(event.facts).items()]


def _claim(atom: str, value: Any, event: StoredEvent, since: datetime) -> Claim:
    return Claim(
        atom=atom,
        value=value,
        event_id=event.id,
        source=event.source,
        source_system=event.source_system,
        data_source_id=event.data_source_id,
        record_key=event.record_key,
        mapping_version=event.mapping_version,
        confidence=event.confidence,
        since=since,
        ingested_at=event.ingested_at,
    )


def _verdicts(events: Sequence[StoredEvent]) -> dict[str, list[StoredEvent]]:
    """Verdicts by the event that they are about, the one that counts most last: human over automated.

    One that rests on what others said who were held for the same counts with them alone.
    """
    about: dict[str, list[StoredEvent]] = {}
    together = {event.entity_id for event in events}
    for event in events:
        if event.event_type.startswith(VERDICT_PREFIX) and together.issuperset(event.facts.get("rests_on", ())):
            about.setdefault(str(event.facts.get("about")), []).append(event)
    for verdicts in about.values():
        verdicts.sort(key=lambda event: (event.facts.get("kind") == "human", event.ingested_at, event.id))
    return about


def _superseded(by_id: Mapping[str, StoredEvent], verdicts: Mapping[str, list[StoredEvent]]) -> set[str]:
    """The events that a later word replaces: one that is believed as much, and that nobody rejected, be it in parts."""

    def worth(event: StoredEvent) -> int:
        parts = [_verdict(event.id, atom, verdicts) for atom in split(event.facts)] if event.id in verdicts else []
        if parts and all(word is not None and confidence_class(word.confidence) == NONE for word in parts):
            return NONE
        whole = [verdict for verdict in verdicts.get(event.id, ()) if not verdict.facts.get("fields")]
        return confidence_class(whole[-1].confidence if whole else event.confidence)

    return {
        old.id
        for event in by_id.values()
        if event.supersedes and (old := by_id.get(event.supersedes)) is not None and NONE < worth(event) >= worth(old)
    }


def _judged(claim: Claim, verdicts: Mapping[str, list[StoredEvent]]) -> Claim:
    verdict = _verdict(claim.event_id, claim.atom, verdicts)
    if verdict is None:
        return claim
    return replace(claim, confidence=verdict.confidence, verdict=str(verdict.facts.get("kind")))


def _verdict(event_id: str, atom: str, verdicts: Mapping[str, list[StoredEvent]]) -> StoredEvent | None:
    """The verdict that counts of an event's atom."""
    for verdict in reversed(verdicts.get(event_id, ())):
        fields = verdict.facts.get("fields")
        if not fields or atom in fields or field_of(atom) in fields:
            return verdict
    return None


def overtaken(events: Sequence[StoredEvent], sent: Iterable[SentValue]) -> list[SentValue]:
    """Values whose writes landed after the verdict that rejected them: they were under way."""
    verdicts = _verdicts(events)
    found = []
    for value in sent if verdicts else ():
        verdict = _verdict(value.event_id, value.atom, verdicts)
        if verdict is not None and confidence_class(verdict.confidence) == NONE and verdict.ingested_at < value.sent_at:
            found.append(value)
    return found


def contradicts_record(claim: Claim, claims: Iterable[Claim]) -> bool:
    """Whether a system of record says otherwise of a safety field, so that a judge's word would not count."""
    return field_of(claim.atom) in SAFETY_FIELDS and any(
        other.confidence >= AUTHORITATIVE and not other.echo and other.value != claim.value for other in claims
    )


def _choose(atom: str, claims: list[Claim]) -> Settled | None:
    claims.sort(key=lambda claim: claim.rank, reverse=True)
    best = _best(claims)
    if best is None:
        return None
    conflict = None
    if field_of(atom) in SAFETY_FIELDS and claims[best].verdict == "automated":
        for place, claim in enumerate(claims):
            if claim.confidence >= AUTHORITATIVE and not claim.echo and claim.value != claims[best].value:
                best, conflict = place, "automated_verdict_against_authoritative"
                break
    return Settled(claims[best], tuple(claims[:best] + claims[best + 1 :]), conflict)


def _best(claims: Sequence[Claim]) -> int | None:
    """The place of the best claim that anybody stands by: a copy of ours does not outlive what it copied."""
    for place, claim in enumerate(claims):
        if confidence_class(claim.confidence) == NONE:
            return None
        if not claim.echo or any(not other.echo and other.value == claim.value for other in claims):
            return place
    return None
