"""What a patient's Consent records say to what is asked. Pure: over FHIR Consent facts, what is asked, and the time.

After FHIR R4, consent.html: the root provision is the rule, what is nested in it are exceptions to it. Of records
that differ, the one that refuses stands. Where a record leaves something open, or says what cannot be read here, the
answer is the one that shares less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from connector_runner.kernel.clock import EARLIEST
from connector_runner.policy import purposes
from connector_runner.policy.asking import MISSING, UNCLEAR, WITHDRAWN, Asked, Refused
from connector_runner.policy.conditions import Met, applies, codes_in, in_force, moment, narrowed, objects

Mode = Literal["none", "opt_out", "required"]
Word = Literal["permit", "deny", "unclear"]
"""``unclear`` refuses: there is a refusal, or it may be one, and whether it is meant for this cannot be read."""

NOBODYS: Final = frozenset(
    {"consent", "practitioner", "practitioner_role", "organization", "location", "healthcare_service", "schedule",
     "slot", "medication", "endpoint", "questionnaire"}
)  # fmt: skip
"""Types of records that are no patient's own; and the word about consent itself, which always goes."""

SOMEBODYS_AT_TIMES: Final = frozenset({"device"})
"""Types of which a record is a patient's own where it names one: what was implanted, not what stands in a ward."""

TRUSTED: Final = 0.8
"""A permission counts from this confidence on; a refusal counts however faintly it was heard."""

# consent.html#scopes: to be treated, advance directives. Neither is about sharing a record; research is for research.
_OTHER_SCOPES: Final = frozenset({"treatment", "adr"})
# consentcategorycodes and LOINC, valueset-consent-category.html: that a notice was read, which permits nothing.
_NOTICES: Final = frozenset({"npp", "57016-8", "57017-6"})
_RESEARCH_SCOPE: Final = "research"
_ENDED: Final = frozenset({"inactive", "rejected"})
_SILENT: Final = frozenset({"draft", "proposed", "entered-in-error"})
_DENIED: Final = frozenset({"deny", "opt-out", "optout"})
# v3-ActCode of Consent.policyRule; and consentpolicycodes, which are authorizations to share by law.
_OPTED_IN: Final = frozenset({"optin", "optinr", "hipaa-auth"})
_OPTED_OUT: Final = frozenset({"optout", "optoute"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One Consent record as it holds now: its facts, how far they are believed, and its entity's id."""

    facts: Mapping[str, Any]
    confidence: float = 1.0
    id: str = ""


@dataclass(slots=True)
class Weighed:
    """What all records together say: the ids of those that refuse, that cannot be read, that ended, that permit."""

    denied: list[str]
    unclear: list[str]
    ended: list[str]
    permitted: list[str]
    ended_at: datetime | None = None
    permitted_at: datetime | None = None

    def refused(self, mode: Mode) -> Refused | None:
        """Why not, under a mode."""
        if mode == "none":
            return None
        if self.denied:
            return Refused(WITHDRAWN, _rests(self.denied))
        if self.ended_at is not None and (self.permitted_at is None or self.permitted_at < self.ended_at):
            return Refused(WITHDRAWN, _rests(self.ended))
        if self.unclear:
            return Refused(UNCLEAR, _rests(self.unclear))
        return Refused(MISSING) if mode == "required" and self.permitted_at is None else None


def _rests(ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"consent:{each}" for each in ids if each)


def weigh(statements: Sequence[Statement], asked: Asked, now: datetime) -> Weighed:
    """What each record says to what is asked. That a consent ended takes nothing from who may read."""
    found = Weighed([], [], [], [])
    for statement in statements:
        facts = statement.facts
        if not _speaks(facts.get("scope"), asked):
            continue
        status, notice = facts.get("status"), _is_notice(facts)
        made = moment(facts.get("date_time")) or EARLIEST
        if status in _ENDED:
            if asked.action != "read" and not notice:
                found.ended.append(statement.id)
                found.ended_at = max(found.ended_at or made, made)
            continue
        if status in _SILENT:
            continue
        word = _word(facts, asked, now)
        if status != "active":
            word = "unclear" if word in ("deny", "unclear") else None
        if word == "deny":
            found.denied.append(statement.id)
        elif word == "unclear":
            found.unclear.append(statement.id)
        elif word == "permit" and statement.confidence >= TRUSTED and not notice:
            found.permitted.append(statement.id)
            found.permitted_at = max(found.permitted_at or made, made)
    return found


def refusal(statements: Sequence[Statement], mode: Mode, asked: Asked, now: datetime) -> str | None:
    """The reason code why ``asked`` may not be; None when it may.

    ``opt_out``: it may unless it was refused or withdrawn. ``required``: only where it was permitted besides.
    """
    refused = None if mode == "none" else weigh(statements, asked, now).refused(mode)
    return None if refused is None else refused.code


def next_change(statements: Iterable[Statement], now: datetime) -> datetime | None:
    """When time alone may next change what active records say: a period begins or ends. None for never."""
    moments = [
        at
        for statement in statements
        if statement.facts.get("status") == "active"
        for at in _bounds(statement.facts.get("provision"))
        if at > now
    ]
    return min(moments, default=None)


def _bounds(provision: Any) -> Iterator[datetime]:
    for node in objects(provision):
        period = node.get("period")
        if isinstance(period, Mapping):
            found = (moment(period.get("start")), moment(period.get("end"), last=True))
            yield from (at for at in found if at is not None)
        yield from _bounds(node.get("provision"))


def naming(statements: Iterable[Statement], codes: Collection[str]) -> list[Statement]:
    """Those of the records that speak of one of these security labels (small codes) by name."""
    return [each for each in statements if _names_label(each.facts.get("provision"), codes)]


def _names_label(provision: Any, codes: Collection[str]) -> bool:
    return any(
        not set(codes_in(node.get("securityLabel"))).isdisjoint(codes) or _names_label(node.get("provision"), codes)
        for node in objects(provision)
    )


def _speaks(scope: Any, asked: Asked) -> bool:
    """Whether a record of this scope is about what is asked."""
    codes = set(codes_in(scope))
    if codes == {_RESEARCH_SCOPE}:
        return purposes.within(asked.purpose, purposes.RESEARCH)
    return not codes or not codes <= _OTHER_SCOPES


def _is_notice(facts: Mapping[str, Any]) -> bool:
    """Whether it only records that a notice was read; a refusal in it is one all the same."""
    codes = set(codes_in(facts.get("category")))
    return bool(codes) and codes <= _NOTICES


def _word(facts: Mapping[str, Any], asked: Asked, now: datetime) -> Word | None:
    """What one record says to what is asked; None when it does not speak of it.

    R4 calls the root provision both a constraint to the policy and an exception to it, and gives it no type of its
    own. So who opted out, and permits something at the root, refuses all else; and a root of no type that names
    somebody or something may mean either: it takes nothing back from who opted out, and permits nothing.
    """
    root = facts.get("provision")
    if root is not None and not isinstance(root, Mapping):
        return "unclear"
    root = root or {}
    kind, rule = root.get("type"), _rule(facts.get("policy_rule"))
    open_ended = kind is None and narrowed(root)
    word = rule if kind is None else _typed(kind)
    if open_ended and rule == "permit":
        word = "unclear"
    found = _provision(root, word, asked, now)
    excepted = word == "permit" or (open_ended and in_force(root, now))
    return "deny" if found is None and rule == "deny" and excepted else found


def _rule(rule: Any) -> Word | None:
    """What the policy is that a record rests on; without one, that there is a consent at all."""
    codes = set(codes_in(rule))
    if not codes.isdisjoint(_OPTED_OUT):
        return "deny"
    # A policy that is not known here permits nothing by itself; what is nested in it holds all the same.
    return "permit" if not codes or not codes.isdisjoint(_OPTED_IN) else None


def _provision(node: Mapping[str, Any], word: Word | None, asked: Asked, now: datetime) -> Word | None:
    met = applies(node, asked, now)
    if met is Met.NO:
        return None
    nested = node.get("provision")
    exceptions = {
        _provision(inner, "deny" if inner.get("type") is None else _typed(inner["type"]), asked, now)
        for inner in objects(nested)
    }
    if "deny" in exceptions:
        return "deny"
    if "unclear" in exceptions or len(objects(nested)) != _count(nested):
        return "unclear"
    if word == "permit" and met is not Met.YES:
        return None
    if met is Met.UNREADABLE:
        return None if word is None else "unclear"
    return "permit" if "permit" in exceptions else word


def _count(nested: Any) -> int:
    """How many things stand where provisions should: what is no object is one that cannot be read."""
    return len(nested) if isinstance(nested, list) else int(nested is not None)


def _typed(value: Any) -> Word:
    if value == "permit":
        return "permit"
    return "deny" if value in _DENIED else "unclear"
