"""Sensitivity labels (``meta.security``) as categories, and what each asks for. Pure.

Codes of v3-ActCode (sensitivity, policies and obligations) and v3-Confidentiality, as FHIR R4 lists them in
https://hl7.org/fhir/R4/valueset-security-labels.html; why a category asks for consent stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

from connector_runner.policy import purposes
from connector_runner.policy.asking import Action

Demand = Literal["free", "consent", "never"]
"""What a label asks for: nothing, a consent that permits, or it may not be done at all."""

Category = Literal[
    "part2", "psychotherapy", "mental_health", "hiv", "sexual_health", "violence", "genetics", "restricted",
    "no_disclosure", "not_to_patient", "test_data", "unknown",
]  # fmt: skip
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)

_CATEGORY_OF: Final[dict[str, Category]] = {
    # Records of substance use treatment: 42 CFR 2.31 asks for written consent, 2.51 lets emergencies be.
    "42CFRPART2": "part2", "ETH": "part2", "ETHUD": "part2", "SUD": "part2", "OPIOIDUD": "part2",
    # Notes of a psychotherapist: 45 CFR 164.508(a)(2) asks for an authorization of their own, for treatment too.
    "PSYTHPN": "psychotherapy",
    # By the laws of states, which differ: consent is the side that shares less.
    "PSY": "mental_health", "MH": "mental_health", "BH": "mental_health",
    "HIV": "hiv",
    "SEX": "sexual_health", "STD": "sexual_health",
    "SDV": "violence",
    "GDIS": "genetics",
    # v3-Confidentiality: restricted and very restricted.
    "R": "restricted", "V": "restricted",
    # Obligations: no disclosure, or no further one, without the patient's word.
    "NOAUTH": "no_disclosure", "NODSCLCD": "no_disclosure", "NODSCLCDS": "no_disclosure",
    "NORDSCLCD": "no_disclosure", "NORDSCLCDS": "no_disclosure", "NORDSLCD": "no_disclosure",
    # Not to be told to the patient or the family before the provider has spoken to them.
    "NOPAT": "not_to_patient",
    # v3-ActReason: this is no patient, but a test of the system.
    "HTEST": "test_data",
}  # fmt: skip

_FREE: Final = frozenset({"U", "L", "M", "N"})
# Systems whose labels say how sound a record is or what it is for, and nothing about who may see it.
_SILENT_SYSTEMS: Final = ("v3-observationvalue", "v3-actreason")
_SYSTEMS: Final = ("v3-actcode", "v3-confidentiality", "v3-actreason")
# The same systems by their OIDs, as records that were CDA documents name them (terminologies-systems.html).
_OIDS: Final = {
    "urn:oid:2.16.840.1.113883.5.4": "v3-actcode",
    "urn:oid:2.16.840.1.113883.5.8": "v3-actreason",
    "urn:oid:2.16.840.1.113883.5.25": "v3-confidentiality",
    "urn:oid:2.16.840.1.113883.5.1063": "v3-observationvalue",
}
_PART2: Final = "42CFRPART2"
"""What begins so (42CFRPart2CD …) is about the same records."""

_DEMANDS: Final[dict[Category, dict[Action, Demand]]] = {
    "part2": {"read": "consent", "contact": "free", "write": "consent"},
    "psychotherapy": {"read": "consent", "contact": "free", "write": "consent"},
    "not_to_patient": {"read": "free", "contact": "never", "write": "free"},
    "test_data": {"read": "free", "contact": "never", "write": "never"},
}
_ELSE: Final[dict[Action, Demand]] = {"read": "consent", "contact": "free", "write": "consent"}
_STRICT_TO_TREAT: Final = frozenset({"part2", "psychotherapy"})

Demands = Mapping[str, Mapping[Action, Demand]]
"""What a workspace asks for in place of what is usual: category -> action -> demand."""


def marks(labels: Any) -> frozenset[str]:
    """The fact ``security_labels`` as texts ``<system>|<code>``; whatever is no label of ours counts as unknown."""
    if labels is None:
        return frozenset()
    items = labels if isinstance(labels, list) else [labels]
    return frozenset(_mark(item) for item in items)


def _mark(item: Any) -> str:
    if not isinstance(item, Mapping):
        return "|"
    system, code = item.get("system"), item.get("code")
    return f"{system if isinstance(system, str) else ''}|{code if isinstance(code, str) else ''}"


def code_of(mark: str) -> str:
    """The code of a label."""
    return mark.rpartition("|")[2]


def codes_of(kind: Category) -> frozenset[str]:
    """The codes of a category, small."""
    return frozenset(code.lower() for code, known in _CATEGORY_OF.items() if known == kind)


def category(mark: str) -> Category | None:
    """The category of a label; None for one that keeps nobody from anything."""
    system, _, code = mark.rpartition("|")
    last, word = system.lower().rstrip("/").rsplit("/", 1)[-1], code.upper()
    name = _OIDS.get(system.lower()) or (
        last if last.startswith("v3-") or "/v3/" not in system.lower() else f"v3-{last}"
    )
    if name not in _SYSTEMS and name not in _SILENT_SYSTEMS and system:
        return "unknown"
    found = _CATEGORY_OF.get(_PART2 if word.startswith(_PART2) else word)
    if found is not None:
        return found
    return None if word in _FREE or name in _SILENT_SYSTEMS else "unknown"


def demand(kind: Category, action: Action, purpose: str, stated: Demands) -> Demand:
    """What a category asks for. To treat a patient may be read what no federal law keeps; in an emergency, all."""
    word = stated.get(kind, {}).get(action)
    if word is None:
        word = _DEMANDS.get(kind, _ELSE)[action]
        treats = purposes.within(purpose, purposes.TREATMENT)
        if action == "read" and word == "consent" and treats and kind not in _STRICT_TO_TREAT:
            return "free"
    if word == "consent" and purpose.upper() in purposes.EMERGENCY:
        return "free"
    return word


def categories(found: Iterable[str]) -> list[Category]:
    """The categories of labels, in a fixed order."""
    kinds = {kind for kind in map(category, found) if kind is not None}
    return [kind for kind in CATEGORIES if kind in kinds]
