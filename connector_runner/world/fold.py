"""State is a fold of events: which value of each atom holds, since when, and who said otherwise.

Pure: the same events, versions and sent values give the same answer, in whatever order they arrived.

Per atom the highest confidence class wins; within a class the latest assertion time; then the higher
confidence, the later ingestion, the id. The assertion time of a source record's value is since when that
record has held it, so a record that is sent again, or mapped anew, asserts nothing anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import EARLIEST
from connector_runner.world.atoms import SAFETY_FIELDS, field_of, join, split
from connector_runner.world.confidence import AUTHORITATIVE, NONE, confidence_class
from connector_runner.world.events import RecordVersion, SentValue, StoredEvent

VERDICT_PREFIX = "review."


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
        return (
            confidence_class(self.confidence),
            self.since,
            self.confidence,
            self.ingested_at,
            self.event_id,
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """An atom's winner and its losers, best first; ``conflict`` names why a person should look."""

    winner: Claim
    losers: tuple[Claim, ...]
    conflict: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """The outcome for one entity. ``status`` is active, deleted or retracted."""

    atoms: dict[str, Settled]
    status: str

    @property
    def state(self) -> dict[str, Any]:
        """The facts that hold."""
        return join({atom: settled.winner.value for atom, settled in self.atoms.items()})

    @property
    def confidence(self) -> float:
        """That of the least believed value that holds; 1.0 for an entity without values."""
        return min((settled.winner.confidence for settled in self.atoms.values()), default=1.0)


def fold(events: Sequence[StoredEvent], versions: Iterable[RecordVersion], sent: Iterable[SentValue] = ()) -> Folded:
    """Fold one entity's events, the versions of its source records, and what its records were sent."""
    by_id = {event.id: event for event in events}
    histories = _histories(versions, by_id)
    verdicts = _verdicts(events)
    superseded = _superseded(by_id, verdicts)
    sent_by = {(value.record_id, value.atom): value for value in sent}
    claims: dict[str, list[Claim]] = {}
    for record_id, history in histories.items():
        for claim in _record_claims(history, by_id, record_id, sent_by):
            claims.setdefault(claim.atom, []).append(claim)
    for event in events:
        if event.event_type.startswith(VERDICT_PREFIX) or event.id in superseded:
            continue
        if event.snapshot and event.record_id in histories:
            continue
        for claim in _event_claims(event):
            claims.setdefault(claim.atom, []).append(claim)
    settled = {
        atom: chosen
        for atom, candidates in claims.items()
        if (chosen := _choose(atom, [_judged(claim, verdicts) for claim in candidates])) is not None
    }
    return Folded(settled, _status(histories, events))


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
    sent: Mapping[tuple[str, str], SentValue],
) -> list[Claim]:
    """What a source record says now; each value since the first version of its unbroken run."""
    latest = history[-1]
    if latest.deleted or latest.event_id is None:
        return []
    contents: dict[str, dict[str, Any]] = {}

    def atoms_of(version: RecordVersion) -> dict[str, Any]:
        if version.deleted or version.event_id is None:
            return {}
        known = contents.get(version.event_id)
        if known is None:
            known = contents[version.event_id] = split(by_id[version.event_id].facts)
        return known

    claims = []
    for atom, value in atoms_of(latest).items():
        echo = sent.get((record_id, atom))
        if echo is not None and latest.seen_at < echo.sent_at and exact_json.digest(value) != echo.value_digest:
            # Seen before we wrote there, so it is no word of the record any more: it holds what it confirmed to us.
            continue
        start = len(history) - 1
        while start > 0 and atoms_of(history[start - 1]).get(atom) == value:
            start -= 1
        claim = _claim(atom, value, by_id[history[start].event_id or ""], _asserted(history[start], by_id))
        if echo is not None and _is_echo(echo, value, [(v.seen_at, atoms_of(v).get(atom)) for v in history[:start]]):
            claim = replace(
                claim,
                event_id=echo.event_id,
                source=echo.source,
                source_system=echo.source_system,
                confidence=echo.confidence,
                since=echo.since,
                # The record's own word, put back when a write of ours was undone, is no copy: only as old as it was.
                echo=not _is_own(by_id.get(echo.event_id), record_id),
            )
        claims.append(claim)
    return claims


def _asserted(version: RecordVersion, by_id: Mapping[str, StoredEvent]) -> datetime:
    event = by_id[version.event_id or ""]
    return min(version.last_updated or event.as_of or EARLIEST, version.seen_at)


def _is_echo(sent: SentValue, value: Any, earlier: Sequence[tuple[datetime, Any]]) -> bool:
    """Whether ``value`` is ours come back.

    Not so when the record held it after we sent it, then held another, and now holds it again: that second
    time it is the record's own word.
    """
    if exact_json.digest(value) != sent.value_digest:
        return False
    return not any(seen_at >= sent.sent_at and held == value for seen_at, held in earlier)


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
    """Verdicts by the event that they are about, the one that counts most last: human over automated."""
    about: dict[str, list[StoredEvent]] = {}
    for event in events:
        if event.event_type.startswith(VERDICT_PREFIX):
            about.setdefault(str(event.facts.get("about")), []).append(event)
    for verdicts in about.values():
        verdicts.sort(key=lambda event: (event.facts.get("kind") == "human", event.ingested_at, event.id))
    return about


def _superseded(by_id: Mapping[str, StoredEvent], verdicts: Mapping[str, list[StoredEvent]]) -> set[str]:
    """The events that a later word replaces: one that is believed as much, and that nobody rejected."""

    def worth(event: StoredEvent) -> int:
        whole = [verdict for verdict in verdicts.get(event.id, ()) if not verdict.facts.get("fields")]
        return confidence_class(whole[-1].confidence if whole else event.confidence)

    return {
        old.id
        for event in by_id.values()
        if event.supersedes and (old := by_id.get(event.supersedes)) is not None and NONE < worth(event) >= worth(old)
    }


def _judged(claim: Claim, verdicts: Mapping[str, list[StoredEvent]]) -> Claim:
    for verdict in reversed(verdicts.get(claim.event_id, ())):
        fields = verdict.facts.get("fields")
        if not fields or claim.atom in fields or field_of(claim.atom) in fields:
            return replace(claim, confidence=verdict.confidence, verdict=str(verdict.facts.get("kind")))
    return claim


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


def _status(histories: Mapping[str, list[RecordVersion]], events: Sequence[StoredEvent]) -> str:
    """What the entity's own source record says of it as a whole; without one of its own, what all its records say.

    A copy that we made elsewhere does not keep alive what its source deleted.
    """
    own = histories.get(events[0].entity_id) if events else None
    latest = [own[-1]] if own else [history[-1] for history in histories.values()]
    if not latest:
        return "active"
    if all(version.deleted for version in latest):
        return "deleted"
    kinds = {event.id: event.event_type for event in events}
    if all(not version.deleted and kinds[version.event_id or ""].endswith(".retracted") for version in latest):
        return "retracted"
    return "active"
