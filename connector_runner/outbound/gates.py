"""Gates: may this claim leave for this sink? Pure functions; a closed gate answers its reason code.

In order: source eligibility, confidence. Each is asked per claim, so that one ineligible value withholds
itself and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.world.fold import Claim

SAME_SYSTEM: Final = "same_system"
SOURCE_NOT_ACCEPTED: Final = "source_not_accepted"
BELOW_THRESHOLD: Final = "below_threshold"

# Who writes events on behalf of an external system; everybody else is an agent or a person of ours.
_INTEGRATIONS: Final = frozenset({"connector_runner", "fhir_import", "browser"})
_OURS: Final = frozenset({"voice_agent", "text_agent", "forms", "manual", "review"})

Gate = Callable[[Claim, SinkTerms, str], str | None]


def external_system(claim: Claim) -> str | None:
    """The external system whose word a claim is; None for what an agent or a person of ours said.

    A claim that came back from a sink has the origin of its cause, so it counts as what it was.
    """
    if claim.source in _OURS:
        return None
    if claim.source in _INTEGRATIONS:
        return claim.source_system or ""
    return claim.source_system


def source_eligibility(claim: Claim, terms: SinkTerms, entity_type: str) -> str | None:
    """Never back to the system it came from; other systems' word only to sinks that opted in; ours always."""
    system = external_system(claim)
    if system is None:
        return None
    if system == terms.name:
        return SAME_SYSTEM
    return None if system in terms.accept_from else SOURCE_NOT_ACCEPTED


def confidence(claim: Claim, terms: SinkTerms, entity_type: str) -> str | None:
    """At least the threshold of the entity type in this sink."""
    return None if claim.confidence >= terms.entity_types[entity_type] else BELOW_THRESHOLD


GATES: Final[tuple[tuple[str, Gate], ...]] = (
    ("source_eligibility", source_eligibility),
    ("confidence", confidence),
)


def first_closed(claim: Claim, terms: SinkTerms, entity_type: str) -> str | None:
    """The reason code of the first gate that does not let the claim through; None when all do."""
    for _, gate in GATES:
        code = gate(claim, terms, entity_type)
        if code is not None:
            return code
    return None


def verdicts(claim: Claim, terms: SinkTerms, entity_type: str) -> dict[str, str]:
    """What every gate says of a claim, for a person to read: gate -> ``open`` or its reason code."""
    return {name: gate(claim, terms, entity_type) or "open" for name, gate in GATES}
