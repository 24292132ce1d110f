"""Which claims of an entity nobody vouches for yet, and which of those that somebody asked about still stand. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connector_runner.review.items import Asked
from connector_runner.world.atoms import field_of
from connector_runner.world.confidence import NONE, confidence_class
from connector_runner.world.events import StoredEvent
from connector_runner.world.fold import Claim, contradicts_record
from connector_runner.world.reading import EntityView

ANSWERED: Final = "answered"
SUPERSEDED: Final = "superseded"
WITHDRAWN: Final = "withdrawn"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is open of an entity: event -> atom -> the claim.

    ``doubtful`` are claims that are not believed enough and have no verdict. ``disputed`` have an automated verdict,
    and a system of record says otherwise of the same safety field: only a person may decide.
    """

    doubtful: Mapping[str, Mapping[str, Claim]] = field(default_factory=dict)
    disputed: Mapping[str, Mapping[str, Claim]] = field(default_factory=dict)


def standing(view: EntityView) -> Standing:
    """What is open of the entity itself; what was said of others that are the same is open with them."""
    own = {event.id for event in view.events if event.entity_id == view.entity_id}
    doubtful: dict[str, dict[str, Claim]] = {}
    disputed: dict[str, dict[str, Claim]] = {}
    for atom, claims in _claims(view):
        for claim in claims:
            if claim.event_id not in own or claim.echo:
                continue
            if claim.is_doubtful:
                doubtful.setdefault(claim.event_id, {})[atom] = claim
            elif claim.verdict == "automated" and contradicts_record(claim, claims):
                disputed.setdefault(claim.event_id, {})[atom] = claim
    return Standing(doubtful, disputed)


def claims_of(view: EntityView, atom: str) -> tuple[Claim, ...]:
    """All claims of an atom, the winner first."""
    settled = view.folded.atoms.get(atom)
    return () if settled is None else (settled.winner, *settled.losers)


def askable(view: EntityView) -> dict[str, dict[str, Claim]]:
    """Event -> atom -> the claim, of all that a person may still decide: it stands, and no person has."""
    found: dict[str, dict[str, Claim]] = {}
    for atom, claims in _claims(view):
        for claim in claims:
            if not claim.echo and claim.verdict != "human" and confidence_class(claim.confidence) != NONE:
                found.setdefault(claim.event_id, {})[atom] = claim
    return found


def remaining(view: EntityView, asked: Asked) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Of what was asked: what a person may still decide (event -> atoms), and what changed, event by event."""
    open_now = askable(view)
    left: dict[str, list[str]] = {}
    changed: list[dict[str, Any]] = []
    for event_id, atoms in asked.items():
        there = open_now.get(event_id, {})
        kept = sorted(there) if not atoms else [atom for atom in atoms if atom in there]
        gone = [] if (kept and not atoms) else [atom for atom in atoms if atom not in there]
        if kept:
            left[event_id] = kept
        if gone or not kept:
            changed.append(_change(view, event_id, gone))
    return left, changed


def explained(view: EntityView, seen: Asked, asked: Asked) -> list[dict[str, Any]]:
    """What became of what was asked once and is not any more: of what nobody may decide, or the judge has passed."""
    _, changed = remaining(view, seen)
    told = {each["event_id"] for each in changed}
    for event_id, atoms in seen.items():
        out = [atom for atom in atoms if atom not in asked.get(event_id, ())]
        if out and event_id not in told:
            changed.append(_change(view, event_id, out))
    return changed


def _change(view: EntityView, event_id: str, gone: Sequence[str]) -> dict[str, Any]:
    fields = sorted({field_of(atom) for atom in gone})
    said = next((event for event in view.events if event.id == event_id), None)
    later = next((event.id for event in view.events if _replaces(event, said)), None)
    if later is not None:
        return {"event_id": event_id, "because": SUPERSEDED, "by": later, "fields": fields}
    verdicts = [event.id for event in view.events if event.facts.get("about") == event_id]
    because = ANSWERED if verdicts else WITHDRAWN
    return {"event_id": event_id, "because": because, "by": verdicts[-1] if verdicts else None, "fields": fields}


def _replaces(later: StoredEvent, said: StoredEvent | None) -> bool:
    """Whether an event is said in place of another one, or is a later version of the same record."""
    if said is None:
        return False
    version = later.snapshot and said.snapshot and later.record_id == said.record_id is not None
    return later.supersedes == said.id or (version and later.ingested_at > said.ingested_at)


def _claims(view: EntityView) -> Iterator[tuple[str, tuple[Claim, ...]]]:
    for atom, settled in view.folded.atoms.items():
        yield atom, (settled.winner, *settled.losers)
