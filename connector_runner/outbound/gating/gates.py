"""Gates: may this claim leave for this sink? Five, in order, each pure; a closed one answers its reason code.

Each is asked per claim, so that one ineligible value withholds itself and nothing else. Consent is about the
entity as a whole: it is looked up before, and closes the last gate to every claim alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.policy.policies import USUAL
from connector_runner.policy.settings import PolicySettings
from connector_runner.review.waiving import needs_verdict
from connector_runner.world.atoms import SAFETY_FIELDS, field_of
from connector_runner.world.confidence import AUTHORITATIVE, NONE, confidence_class
from connector_runner.world.fold import Claim

SAME_SYSTEM: Final = "same_system"
SOURCE_NOT_ACCEPTED: Final = "source_not_accepted"
BELOW_THRESHOLD: Final = "below_threshold"
REJECTED: Final = "rejected"
NOT_REVIEWED: Final = "not_reviewed"
CONFLICT: Final = "conflict"
NEEDS_PERSON: Final = "needs_human_review"

UNVERIFIED: Final = frozenset({BELOW_THRESHOLD, NOT_REVIEWED, NEEDS_PERSON, CONFLICT, REJECTED})
"""Reasons that a verdict may lift."""

# Who writes events on behalf of an external system; everybody else is an agent or a person of ours.
_INTEGRATIONS: Final = frozenset({"connector_runner", "fhir_import", "browser"})
_OURS: Final = frozenset({"voice_agent", "text_agent", "forms", "manual", "review"})


@dataclass(frozen=True, slots=True)
class GateFacts:
    """What the gates go by, for one entity and one sink.

    ``sink`` and ``accept_from`` are names of systems. ``human_review``: records of this type leave only with a
    person's approval. ``consent`` is the reason why policy forbids it, and ``rests_on`` what that rests on; ``fields``
    are those that it keeps back alone. ``authoritative`` are values that a system of record holds for the very atom
    that is judged, where it is one of safety. ``again_in_s``: in so many seconds the consent may be another by
    itself; 0 for never. ``policy`` says of which source what needs no review; ``about_field`` is that of the atom.
    """

    sink: str
    accept_from: frozenset[str]
    threshold: float
    human_review: bool = False
    consent: str | None = None
    authoritative: tuple[Any, ...] = ()
    again_in_s: float = 0.0
    rests_on: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    policy: PolicySettings = USUAL
    entity_type: str = ""
    about_field: str = ""

    @classmethod
    def of(cls, terms: SinkTerms, entity_type: str, consent: str | None = None) -> GateFacts:
        """What the terms of a sink say of a type that it takes."""
        return cls(
            terms.name,
            terms.accept_from,
            terms.entity_types[entity_type],
            entity_type in terms.human_review,
            consent,
        )

    def about(self, atom: str, claims: Iterable[Claim]) -> GateFacts:
        """The same for one atom, of which ``claims`` are all there are."""
        name, facts = field_of(atom), self
        if self.policy.without_review or name in self.fields:
            facts = replace(facts, about_field=name, consent=facts.consent or facts.fields.get(name))
        if name not in SAFETY_FIELDS:
            return facts
        held = tuple(claim.value for claim in claims if claim.confidence >= AUTHORITATIVE and not claim.echo)
        return replace(facts, authoritative=held) if held else facts


Gate = Callable[[Claim, GateFacts], str | None]


def external_system(claim: Claim) -> str | None:
    """The external system whose word a claim is; None for what an agent or a person of ours said.

    A claim that came back from a sink has the origin of its cause, so it counts as what it was.
    """
    if is_ours(claim.source, claim.source_system):
        return None
    return claim.source_system or ""


def is_ours(source: str, source_system: str | None) -> bool:
    """Whether who says something is an agent or a person of ours, and no external system."""
    return source in _OURS or (source not in _INTEGRATIONS and source_system is None)


def source_eligibility(claim: Claim, facts: GateFacts) -> str | None:
    """Never back to the system it came from; other systems' word only to sinks that opted in; ours always."""
    system = external_system(claim)
    if system is None:
        return None
    if system == facts.sink:
        return SAME_SYSTEM
    return None if system in facts.accept_from else SOURCE_NOT_ACCEPTED


def confidence(claim: Claim, facts: GateFacts) -> str | None:
    """At least the threshold of the entity type in this sink."""
    return None if claim.confidence >= facts.threshold else BELOW_THRESHOLD


def automated_review(claim: Claim, facts: GateFacts) -> str | None:
    """What was heard in a conversation leaves only after a verdict, however low a threshold is set.

    What was rejected never leaves. An automated verdict on a safety field does not stand against a system of
    record that says otherwise. A workspace may say which word of a source needs no verdict, or which else does; what
    was said in a conversation about a field of safety needs one all the same.
    """
    if confidence_class(claim.confidence) == NONE:
        return REJECTED
    if claim.verdict is None:
        needed = needs_verdict(facts.policy, facts.entity_type, facts.about_field, claim)
        return NOT_REVIEWED if needed else None
    if claim.verdict == "automated" and any(value != claim.value for value in facts.authoritative):
        return CONFLICT
    return None


def human_review(claim: Claim, facts: GateFacts) -> str | None:
    """Where a person must sign off: a person's verdict, or the word of a system of record or of a person."""
    if not facts.human_review or claim.verdict == "human":
        return None
    return None if claim.verdict is None and claim.confidence >= AUTHORITATIVE else NEEDS_PERSON


def consent(claim: Claim, facts: GateFacts) -> str | None:
    """As policy decided of the entity, or of this field of it."""
    return facts.consent


GATES: Final[tuple[tuple[str, Gate], ...]] = (
    ("source_eligibility", source_eligibility),
    ("confidence", confidence),
    ("automated_review", automated_review),
    ("human_review", human_review),
    ("consent", consent),
)


def first_closed(claim: Claim, facts: GateFacts) -> str | None:
    """The reason code of the first gate that does not let the claim through; None when all do."""
    for _, gate in GATES:
        code = gate(claim, facts)
        if code is not None:
            return code
    return None


def verdicts(claim: Claim, facts: GateFacts) -> dict[str, str]:
    """What every gate says of a claim, for a person to read: gate -> ``open`` or its reason code."""
    return {name: gate(claim, facts) or "open" for name, gate in GATES}
