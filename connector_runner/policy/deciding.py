"""May this be read, said, written: every rule in order, each with its reason. Pure: over facts that are passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from connector_runner.policy import consent, labels
from connector_runner.policy.asking import (
    CHANNELS,
    LABEL,
    LISTED,
    OPTED_OUT,
    RULE,
    TEST_CALLER,
    TEST_DATA,
    Answer,
    Asked,
    Refused,
)
from connector_runner.policy.consent import Mode, Statement, Weighed
from connector_runner.policy.purposes import CODE_OF, covers
from connector_runner.policy.settings import PolicySettings, Rule

EVERY_CHANNEL: Final = "all"


@dataclass(frozen=True, slots=True)
class OptOut:
    """Somebody said that a patient is not to be reached by a channel, or ``all``; ``id`` of the entity it is from."""

    channel: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the patient whose record it is: of every record that is the same person, whoever keeps it.

    ``testers`` are entities with the number of a test caller. ``labelled``: a label -> the entities that bear it.
    """

    statements: tuple[Statement, ...] = ()
    opt_outs: tuple[OptOut, ...] = ()
    testers: tuple[str, ...] = ()
    labelled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Case:
    asked: Asked
    facts: Facts
    policy: PolicySettings
    mode: Mode
    weighed: Weighed
    now: datetime


def decide(asked: Asked, facts: Facts, policy: PolicySettings, mode: Mode, now: datetime) -> Answer:
    """Every reason against it, in order. ``mode``: whether consent is asked for."""
    weighed = consent.weigh(facts.statements, asked, now)
    case = _Case(asked, facts, policy, mode, weighed, now)
    refused = tuple(each for rule in _RULES for each in rule(case))
    return Answer(
        refused,
        {} if refused else _fields(case),
        consent.next_change(facts.statements, now),
    )


def _test_callers(case: _Case) -> Iterable[Refused]:
    """Calls from a test caller's number are no business of an external system."""
    if case.asked.action == "write" and case.facts.testers:
        yield Refused(TEST_CALLER, tuple(f"entity:{each}" for each in case.facts.testers))


def _workspace_rules(case: _Case) -> Iterable[Refused]:
    for rule in case.policy.rules:
        if not rule.fields and _meets(rule, case):
            yield Refused(RULE, (f"rule:{rule.name}",))


def _fields(case: _Case) -> dict[str, Refused]:
    """What rules keep back of a record that may go as a whole; the first rule of a field."""
    found: dict[str, Refused] = {}
    for rule in case.policy.rules:
        if rule.fields and _meets(rule, case):
            for name in rule.fields:
                found.setdefault(name, Refused(RULE, (f"rule:{rule.name}",)))
    return found


def _meets(rule: Rule, case: _Case) -> bool:
    asked = case.asked
    return (
        asked.action in rule.actions
        and (not rule.sinks or asked.recipient in rule.sinks)
        and (not rule.entity_types or asked.entity_type in rule.entity_types)
        and (not rule.purposes or any(covers(CODE_OF[word], asked.purpose) for word in rule.purposes))
        and (not rule.channels or _reaches(rule, asked))
        and (not rule.labels or not set(rule.labels).isdisjoint(labels.categories(case.facts.labelled)))
    )


def _reaches(rule: Rule, asked: Asked) -> bool:
    return asked.action == "contact" and (asked.channel is None or asked.channel in rule.channels)


def _labels(case: _Case) -> Iterable[Refused]:
    """What a label asks for. A consent that permits serves as far as a record says what it permits.

    Notes of a psychotherapist are permitted by their name alone: 45 CFR 164.508(b)(3)(ii) keeps such an authorization
    apart from every other.
    """
    asked = case.asked
    for kind in labels.categories(case.facts.labelled):
        demanded = labels.demand(kind, asked.action, asked.purpose, case.policy.demands)
        if demanded == "never" or (demanded == "consent" and not _permitted(case, kind)):
            bearers = {
                each for mark, found in case.facts.labelled.items() if labels.category(mark) == kind for each in found
            }
            code = TEST_DATA if kind == "test_data" else LABEL
            yield Refused(code, (f"label:{kind}", *(f"entity:{each}" for each in sorted(bearers))))


def _permitted(case: _Case, kind: labels.Category) -> bool:
    if case.weighed.refused("required") is not None:
        return False
    if kind != "psychotherapy":
        return True
    named = consent.naming(case.facts.statements, labels.codes_of(kind))
    return consent.weigh(named, case.asked, case.now).refused("required") is None


def _consent(case: _Case) -> Iterable[Refused]:
    refused = case.weighed.refused(case.mode)
    if refused is not None:
        yield refused


def _opt_outs(case: _Case) -> Iterable[Refused]:
    """Who said so is not reached in that way; without a channel, not where any way is closed."""
    asked = case.asked
    if asked.action != "contact":
        return
    closed = [
        each for each in case.facts.opt_outs if asked.channel is None or each.channel in (asked.channel, EVERY_CHANNEL)
    ]
    if closed:
        yield Refused(OPTED_OUT, tuple(dict.fromkeys(f"entity:{each.id}" for each in closed if each.id)))


def _listed(case: _Case) -> Iterable[Refused]:
    asked, facts = case.asked, case.facts
    if asked.action != "contact":
        return
    ways = CHANNELS if asked.channel is None else (asked.channel,)
    if any(case.policy.barred(way, facts.numbers, facts.emails) for way in ways):
        yield Refused(LISTED, ("list:do_not_contact",))


_RULES: Final[tuple[Callable[[_Case], Iterable[Refused]], ...]] = (
    _test_callers, _workspace_rules, _labels, _consent, _opt_outs, _listed,
)  # fmt: skip
