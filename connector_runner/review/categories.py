"""What a claim is about, clinically, and how soon a person should look at it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from connector_runner.world.atoms import SAFETY_FIELDS, field_of

OTHER: Final = "other"

_BY_TYPE: Final = {
    "allergy_intolerance": "allergy", "allergy": "allergy",
    "medication": "medication", "medication_order": "medication", "medication_statement": "medication",
    "medication_request": "medication", "immunization": "medication",
    "condition": "condition", "procedure": "condition", "encounter": "condition", "care_plan": "condition",
    "goal": "condition", "flag": "condition", "family_member_history": "condition",
    "lab_result": "result", "observation": "result", "diagnostic_report": "result", "specimen": "result",
    "appointment": "appointment", "appointment_response": "appointment", "slot": "appointment",
    "insurance_plan": "coverage", "coverage": "coverage", "claim": "coverage", "account": "coverage",
    "consent": "consent",
}  # fmt: skip
_BY_FIELD: Final = {
    "allergies": "allergy", "allergy": "allergy", "reaction": "allergy", "criticality": "allergy",
    "medications": "medication", "medication": "medication", "dosage": "medication",
    "telecom": "contact", "address": "contact", "contact": "contact", "language": "contact",
    "coverage": "coverage", "consent": "consent",
}  # fmt: skip
CATEGORIES: Final = (
    "allergy", "medication", "consent", "appointment", "condition", "result", "identity", "coverage", "contact", OTHER,
)  # fmt: skip
"""By how much harm a wrong or late answer does, the most first."""

_STEP: Final = 10
_NEAR: Final = ((timedelta(hours=24), 30), (timedelta(days=3), 20), (timedelta(days=7), 10))
MOST_URGENT: Final = 0


def category_of(entity_type: str, atom: str) -> str:
    """The category of one atom of an entity; that of the type goes first, as all of a medication order is about it."""
    field = field_of(atom)
    known = _BY_TYPE.get(entity_type) or _BY_FIELD.get(field)
    if known is not None:
        return known
    return "identity" if field in SAFETY_FIELDS else OTHER


def gravest(categories: Iterable[str]) -> str:
    """The category among these in which a wrong answer does the most harm."""
    return min(categories, key=CATEGORIES.index, default=OTHER)


def priority_of(category: str, appointment: datetime | None, now: datetime) -> int:
    """From 0, which goes first, to 100: by category, and sooner the nearer the next appointment of who it is about."""
    base = _STEP * (CATEGORIES.index(category) + 1)
    if appointment is None or appointment < now:
        return base
    for within, sooner in _NEAR:
        if appointment - now <= within:
            return max(MOST_URGENT, base - sooner)
    return base
