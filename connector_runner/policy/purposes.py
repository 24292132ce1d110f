"""What a record is used for: our words, and the codes of v3-PurposeOfUse that stand for them.

Codes and their tree are of https://terminology.hl7.org/CodeSystem-v3-ActReason.html, below _PurposeOfUse; only those
that a Consent is likely to name. A code that is not here is one that cannot be compared.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Purpose = Literal[
    "treatment", "emergency", "outreach", "payment", "operations", "research", "marketing", "public_health",
    "patient_request",
]  # fmt: skip
"""``outreach`` is to reach a patient about their own care, as with a reminder: coordination of care, no marketing."""

PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)

CODE_OF: Final[dict[Purpose, str]] = {
    "treatment": "TREAT",
    "emergency": "ETREAT",
    "outreach": "COC",
    "payment": "HPAYMT",
    "operations": "HOPERAT",
    "research": "HRESCH",
    "marketing": "HMARKT",
    "public_health": "PUBHLTH",
    "patient_request": "PATRQT",
}

EMERGENCY: Final = frozenset({"ETREAT", "BTG"})
TREATMENT: Final = "TREAT"
RESEARCH: Final = "HRESCH"

_PARENT: Final[dict[str, str | None]] = {
    "TREAT": None, "COC": "TREAT", "ETREAT": "TREAT", "BTG": "ETREAT",
    "HPAYMT": None, "COVERAGE": "HPAYMT", "CLMATTCH": "HPAYMT", "COVAUTH": "HPAYMT", "ELIGDTRM": "HPAYMT",
    "ELIGVER": "HPAYMT", "ENROLLM": "HPAYMT", "REMITADV": "HPAYMT",
    "HOPERAT": None, "HDIRECT": "HOPERAT", "PATADMIN": "HOPERAT", "RECORDMGT": "HOPERAT", "HQUALIMP": "HOPERAT",
    "HACCRED": "HOPERAT", "HCOMPL": "HOPERAT", "HLEGAL": "HOPERAT", "HOUTCOMS": "HOPERAT", "FRAUD": "HOPERAT",
    "HSYSADMIN": "HOPERAT", "TRAIN": "HOPERAT", "PATSFTY": "HOPERAT", "PERFMSR": "HOPERAT",
    "HRESCH": None, "CLINTRCH": "HRESCH",
    "HMARKT": None, "PUBHLTH": None, "DISASTER": "PUBHLTH", "THREAT": "PUBHLTH",
    "PATRQT": None, "FAMRQT": "PATRQT", "PWATRNY": "PATRQT", "SUPNWK": "PATRQT",
}  # fmt: skip


def known(code: str) -> bool:
    """Whether a code can be compared."""
    return code.upper() in _PARENT


def covers(code: str, purpose: str) -> bool:
    """Whether a condition on ``code`` is met by ``purpose``: it is that one or one below it."""
    at: str | None = purpose.upper()
    while at is not None:
        if at == code.upper():
            return True
        at = _PARENT.get(at)
    return False


def within(purpose: str, code: str) -> bool:
    """Whether ``purpose`` is ``code`` or below it."""
    return covers(code, purpose)
