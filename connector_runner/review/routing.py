"""Where each judged claim goes: on with a verdict, or before a person, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from connector_runner.review.categories import category_of, gravest
from connector_runner.review.judge.case import CONTRADICTED, SUPPORTED, UNCLEAR, FieldVerdict, Judgement
from connector_runner.review.policy import ReviewPolicy
from connector_runner.review.reasons import CONFLICT, FAINT, REASONS, SAMPLE, SIGN_OFF, SUSPENDED
from connector_runner.review.standing import claims_of
from connector_runner.world.confidence import AUTHORITATIVE
from connector_runner.world.fold import Claim, contradicts_record
from connector_runner.world.reading import EntityView

AGREED: Final = frozenset({"agrees_with_authority", "second_source"})
"""Codes of the judge for a claim that it passed by what somebody else says."""

SCORES: Final = {SUPPORTED: 0.85, UNCLEAR: 0.5, CONTRADICTED: 0.15}
"""How likely a claim is by the judge's word. What it supports is worth as much as its verdict makes it."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """By what a workspace goes: its policy, types that a sink wants signed off, categories that went back to people."""

    policy: ReviewPolicy
    signed_off: frozenset[str] = frozenset()
    suspended: frozenset[str] = frozenset()


@dataclass(slots=True)
class Routes:
    """What becomes of an entity's claims. ``passed`` and ``asked``: event -> atoms; ``analysis`` is the judge's.

    ``rests``: (event, atom) -> the other entities on whose word it is that it passed.
    ``reasons`` are those for which a person is asked, ``categories`` what about.
    """

    passed: dict[str, list[str]] = field(default_factory=dict)
    rests: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    categories: set[str] = field(default_factory=set)
    said: list[dict[str, Any]] = field(default_factory=list)
    version: str = ""

    @property
    def reason(self) -> str:
        """The gravest of the reasons."""
        return min(self.reasons, key=REASONS.index)

    @property
    def category(self) -> str:
        """The gravest of the categories."""
        return gravest(self.categories)

    @property
    def settled(self) -> dict[str, list[str]]:
        """What goes on by the judge's word, and no person is to see."""
        return {e: [a for a in atoms if a not in self.asked.get(e, ())] for e, atoms in self.passed.items()}

    @property
    def analysis(self) -> dict[str, Any] | None:
        """What a reviewer is told of the judge's word: codes, atoms and places, never what was said; None without."""
        return {"version": self.version, "fields": self.said} if self.version else None

    def put_before_person(self, event_id: str, atom: str, category: str, reason: str) -> None:
        """Have a person asked about an atom."""
        self.asked.setdefault(event_id, []).append(atom)
        self.reasons.add(reason)
        self.categories.add(category)


def route(
    routes: Routes, ruling: Ruling, view: EntityView, doubtful: Mapping[str, Mapping[str, Claim]], judgement: Judgement
) -> None:
    """Add to ``routes`` where each doubtful claim goes by a judgement. One that it does not speak of is unclear."""
    said = {(word.event_id, word.path): word for word in judgement.fields}
    routes.version = judgement.version
    for event_id, claims in doubtful.items():
        for atom, claim in sorted(claims.items()):
            word = said.get((event_id, atom)) or FieldVerdict(event_id, atom, UNCLEAR, "rules", "not_spoken_of")
            category = category_of(view.entity_type, atom)
            reason = why_person(ruling, view, atom, claim, word, category)
            entry: dict[str, Any] = {
                "event_id": event_id,
                "path": atom,
                "verdict": word.verdict,
                "by": word.by,
                "code": word.code,
                "quotes": [list(place) for place in word.quotes],
                "version": judgement.version,
                "category": category,
                "weight": 1.0,
            }
            if reason is None:
                routes.passed.setdefault(event_id, []).append(atom)
                if others := _rests_on(view, atom, claim, word):
                    routes.rests[event_id, atom] = others
                if not in_sample(event_id, ruling.policy.sample):
                    continue
                entry["weight"] = 1.0 / ruling.policy.sample
                reason = SAMPLE
            routes.said.append(entry)
            routes.put_before_person(event_id, atom, category, reason)


def why_person(
    ruling: Ruling, view: EntityView, atom: str, claim: Claim, word: FieldVerdict, category: str
) -> str | None:
    """Why a person decides about a claim; None when the judge's word is enough."""
    policy = ruling.policy
    if word.verdict == CONTRADICTED:
        return CONTRADICTED
    if word.verdict == SUPPORTED and contradicts_record(claim, claims_of(view, atom)):
        return CONFLICT
    if category in policy.people or view.entity_type in ruling.signed_off:
        return SIGN_OFF
    if policy.looked_at_by(view.entity_type, claim.source, claim.source_system) == "person":
        return SIGN_OFF
    if claim.confidence < policy.automatic_from:
        return FAINT
    if category in ruling.suspended:
        return SUSPENDED
    return None if word.verdict == SUPPORTED else UNCLEAR


def _rests_on(view: EntityView, atom: str, claim: Claim, word: FieldVerdict) -> tuple[str, ...]:
    """The others that are the same, where it is by what they say that the judge passed a claim."""
    if word.code not in AGREED:
        return ()
    whose = {event.id: event.entity_id for event in view.events}
    said = [each for each in claims_of(view, atom) if each.event_id != claim.event_id and not each.echo]
    own = [each for each in said if whose[each.event_id] == view.entity_id and each.confidence >= AUTHORITATIVE]
    if any(each.value == claim.value for each in own):
        return ()
    return tuple(sorted({whose[each.event_id] for each in said if each.confidence > 0} - {view.entity_id}))


def in_sample(event_id: str, share: float) -> bool:
    """Whether an event is among the share that people see though the judge passed it; all of its atoms or none."""
    drawn = int.from_bytes(blake2b(event_id.encode(), digest_size=6, person=b"review").digest(), "big")
    return drawn < share * (1 << 48)
