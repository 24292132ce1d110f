"""Whether a patient's consent lets a record go to a system. Pure: over FHIR Consent facts, who asks, and the time.

After FHIR R4, consent.html: the root provision is the rule, what is nested in it are exceptions to it. Where a
record leaves something open, the answer is the one that shares less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from connector_runner.kernel.clock import EARLIEST, parse_instant

Mode = Literal["none", "opt_out", "required"]
Word = Literal["permit", "deny"]

WITHDRAWN: Final = "consent_withdrawn"
MISSING: Final = "consent_missing"
CODES: Final = frozenset({WITHDRAWN, MISSING})

NOBODYS: Final = frozenset(
    {"consent", "practitioner", "practitioner_role", "organization", "location", "healthcare_service", "schedule",
     "slot", "medication", "endpoint", "questionnaire"}
)  # fmt: skip
"""Types of records that are no patient's own; and the word about consent itself, which always goes."""

SOMEBODYS_AT_TIMES: Final = frozenset({"device"})
"""Types of which a record is a patient's own where it names one: what was implanted, not what stands in a ward."""

TRUSTED: Final = 0.8
"""A permission counts from this confidence on; a refusal counts however faintly it was heard."""

# consent.html#scopes: to be treated, to take part in research, advance directives. None is about sharing a record.
_OTHER_SCOPES: Final = frozenset({"treatment", "research", "adr"})
_ENDED: Final = frozenset({"inactive", "rejected"})
_DENIED: Final = frozenset({"deny", "opt-out", "optout"})
# v3-ActCode of Consent.policyRule.
_POLICIES: Final[dict[str, Word]] = {"OPTIN": "permit", "OPTINR": "permit", "OPTOUT": "deny", "OPTOUTE": "deny"}
_SHARING: Final = frozenset({"disclose", "access", "use", "correct"})
# Conditions on data that a write is not compared with: they limit a permission, and do not limit a refusal.
_UNTOLD: Final = ("code", "data", "dataPeriod", "securityLabel")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What is to be shared: records of a type (our name and FHIR's), with ``recipient``, for ``purpose``.

    ``purpose`` is a code of v3-PurposeOfUse.
    """

    entity_type: str
    resource_type: str
    recipient: str
    purpose: str = "TREAT"


@dataclass(frozen=True, slots=True)
class Statement:
    """One Consent record as it holds now: its facts, and how far they are believed."""

    facts: Mapping[str, Any]
    confidence: float = 1.0


def refusal(statements: Sequence[Statement], mode: Mode, asked: Disclosure, now: datetime) -> str | None:
    """The reason code why ``asked`` may not be shared; None when it may.

    ``opt_out``: it may unless it was refused or withdrawn. ``required``: only where it was permitted besides.
    """
    if mode == "none":
        return None
    permitted: datetime | None = None
    ended: datetime | None = None
    for statement in statements:
        facts = statement.facts
        if not _about_sharing(facts.get("scope")):
            continue
        status = facts.get("status")
        made = _moment(facts.get("date_time")) or EARLIEST
        if status in _ENDED:
            ended = max(ended or made, made)
        elif status == "active":
            word = _word(facts, asked, now)
            if word == "deny":
                return WITHDRAWN
            if word == "permit" and statement.confidence >= TRUSTED:
                permitted = max(permitted or made, made)
    if ended is not None and (permitted is None or permitted < ended):
        return WITHDRAWN
    return MISSING if mode == "required" and permitted is None else None


def next_change(statements: Iterable[Statement], now: datetime) -> datetime | None:
    """When time alone may next change what active records say: a period begins or ends. None for never."""
    moments = [
        moment
        for statement in statements
        if statement.facts.get("status") == "active"
        for moment in _bounds(statement.facts.get("provision"))
        if moment > now
    ]
    return min(moments, default=None)


def _bounds(provision: Any) -> Iterator[datetime]:
    for node in _objects(provision):
        period = node.get("period")
        if isinstance(period, Mapping):
            found = (_moment(period.get("start")), _moment(period.get("end"), last=True))
            yield from (moment for moment in found if moment is not None)
        yield from _bounds(node.get("provision"))


def _about_sharing(scope: Any) -> bool:
    return not (isinstance(scope, Mapping) and scope.get("code") in _OTHER_SCOPES)


def _word(facts: Mapping[str, Any], asked: Disclosure, now: datetime) -> Word | None:
    """What one active record says to what is asked; None when it does not speak of it."""
    root = facts.get("provision")
    root = root if isinstance(root, Mapping) else {}
    rule = facts.get("policy_rule")
    base = _typed(root.get("type")) or _POLICIES.get(str(rule.get("code")) if isinstance(rule, Mapping) else "")
    return _provision(root, base or "permit", asked, now)


def _provision(node: Mapping[str, Any], word: Word, asked: Disclosure, now: datetime) -> Word | None:
    if not _applies(node, asked, now):
        return None
    exceptions = {
        _provision(inner, _typed(inner.get("type")) or "deny", asked, now) for inner in _objects(node.get("provision"))
    }
    if "deny" in exceptions:
        return "deny"
    if word == "permit" and any(node.get(name) for name in _UNTOLD):
        return None
    return "permit" if "permit" in exceptions else word


def _typed(value: Any) -> Word | None:
    if value == "permit":
        return "permit"
    return "deny" if value in _DENIED else None


def _applies(node: Mapping[str, Any], asked: Disclosure, now: datetime) -> bool:
    """Whether every condition of a provision that can be told is met by what is asked."""
    kinds = {asked.entity_type.lower(), asked.resource_type.lower()}
    return (
        _within(node.get("period"), now)
        and _one_of(node.get("purpose"), {asked.purpose.lower()})
        and _one_of(node.get("class"), kinds)
        and _one_of(node.get("action"), _SHARING)
        and _addressed(node.get("actor"), asked.recipient)
    )


def _one_of(codes: Any, wanted: Iterable[str]) -> bool:
    """Whether no code is asked for, or one of ``wanted`` is. A code may be the last part of a profile's address."""
    found = [str(code.get("code") or "").lower() for item in _objects(codes) for code in _codings(item)]
    return not found or not {code.rsplit("/", 1)[-1] for code in found}.isdisjoint(wanted)


def _codings(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _objects(item.get("coding")) or _objects(item.get("codings")) or [item]


def _addressed(actors: Any, recipient: str) -> bool:
    """Whether a provision is about ``recipient``: it names nobody, only a role, or the system by its name."""
    named = [actor["reference"] for actor in _objects(actors) if isinstance(actor.get("reference"), Mapping)]
    return not named or any(recipient.lower() in _names(reference) for reference in named)


def _names(reference: Mapping[str, Any]) -> set[str]:
    identifier = reference.get("identifier")
    texts = [
        reference.get("display"),
        str(reference.get("ref") or reference.get("reference") or "").replace("/", ":").rsplit(":", 1)[-1],
        identifier.get("value") if isinstance(identifier, Mapping) else None,
    ]
    return {text.lower() for text in texts if isinstance(text, str) and text}


def _within(period: Any, now: datetime) -> bool:
    if not isinstance(period, Mapping):
        return True
    start, end = _moment(period.get("start")), _moment(period.get("end"), last=True)
    return (start is None or start <= now) and (end is None or now < end)


def _moment(text: Any, *, last: bool = False) -> datetime | None:
    """A FHIR date or time; a day, month or year is its first moment in UTC, or with ``last`` the end of it."""
    if not isinstance(text, str):
        return None
    exact = parse_instant(text)
    if exact is not None:
        return exact
    parts = text.split("-")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    year, month, day = ([int(part) for part in parts] + [1, 1])[:3]
    try:
        begun = datetime(year, month, day, tzinfo=UTC)
        if not last:
            return begun
        if len(parts) == 3:
            return begun + timedelta(days=1)
        return (
            datetime(year + 1, 1, 1, tzinfo=UTC) if len(parts) == 1 or month == 12 else begun.replace(month=month + 1)
        )
    except (ValueError, OverflowError):
        return None


def _objects(value: Any) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]
