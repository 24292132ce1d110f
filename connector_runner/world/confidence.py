"""How far a statement is believed: classes, and the ceiling that each kind of source has."""

from __future__ import annotations

from connector_runner.kernel.errors import Forbidden

AUTHORITATIVE = 1.0
HUMAN_APPROVED = 0.95
REVIEWED = 0.85
SCRAPED = 0.7
CONVERSATION = 0.5
REJECTED = 0.0

HIGH, MEDIUM, LOW, NONE = 3, 2, 1, 0

REVIEW_SOURCE = "review"

# What a source may claim at the most, whatever it says of itself. An unknown one is taken for a conversation.
CEILINGS = {
    "connector_runner": AUTHORITATIVE,
    "fhir_import": AUTHORITATIVE,
    "manual": AUTHORITATIVE,
    "browser": SCRAPED,
    "voice_agent": CONVERSATION,
    "text_agent": CONVERSATION,
    "forms": CONVERSATION,
}


def confidence_class(confidence: float) -> int:
    """High (>= 0.8), medium (>= 0.5), low (> 0) or none: within a class the later assertion wins."""
    if confidence >= 0.8:
        return HIGH
    if confidence >= 0.5:
        return MEDIUM
    return LOW if confidence > 0 else NONE


def ceiling(source: str) -> float:
    """The highest confidence that events of ``source`` may have."""
    return CEILINGS.get(source, CONVERSATION)


def capped(source: str, claimed: float, *, from_review: bool) -> float:
    """``claimed`` under the ceiling of ``source``.

    Raises Forbidden when anyone but review writes a verdict's source.
    """
    if source == REVIEW_SOURCE:
        if not from_review:
            raise Forbidden("verdicts come only from review", code="verdict_scope")
        return claimed
    return min(claimed, ceiling(source))
