"""From an answer to its meaning: the first rule that holds, vendors before standards, standards before HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from connector_runner.connectors.classification.crm_rules import CRM_RULES
from connector_runner.connectors.classification.ehr_rules import EHR_RULES, FHIR_RULES
from connector_runner.connectors.classification.evidence import (
    ERROR_SEVERITY,
    ISSUE_TYPES,
    Evidence,
    Purpose,
    evidence_of,
)
from connector_runner.connectors.classification.http_rules import HTTP_RULES
from connector_runner.connectors.classification.rules import NEXT_MINUTE, UNCLASSIFIED, Rule
from connector_runner.connectors.rate_headers import pace_of, retry_after_s
from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.infra.http import Answer

RULES: Final[tuple[Rule, ...]] = (*EHR_RULES, *CRM_RULES, *FHIR_RULES, *HTTP_RULES)
NOTHING_KNOWN: Final = Rule(Outcome.UNKNOWN, UNCLASSIFIED, "no rule holds")
_MOST_WAIT_S: Final = 24 * 3600.0
_NAMED: Final = ISSUE_TYPES.union(*(rule.codes for rule in RULES))


@dataclass(frozen=True, slots=True)
class Classified:
    """An answer with the rule that it fell under. ``reply`` has neither ref nor ETag nor body yet."""

    evidence: Evidence
    rule: Rule
    reply: Reply


@lru_cache(2000)
def _rules_of(status: int, vendor: str, purpose: Purpose) -> tuple[Rule, ...]:
    """Those that can hold for answers of a status to requests for a purpose."""
    return tuple(rule for rule in RULES if rule.may_hold(status, vendor, purpose))


def rule_for(evidence: Evidence) -> Rule:
    """The rule that an answer falls under."""
    able = _rules_of(evidence.status, evidence.vendor, evidence.purpose)
    return next((rule for rule in able if rule.holds(evidence)), NOTHING_KNOWN)


def classify(answer: Answer, purpose: Purpose, vendor: str, now: datetime) -> Classified:
    """What ``answer`` to a request for ``purpose`` means."""
    evidence = evidence_of(answer, purpose, vendor)
    rule = rule_for(evidence)
    landed = rule.outcome is Outcome.LANDED
    wait = retry_after_s(answer.headers, now, most_s=_MOST_WAIT_S)
    reply = Reply(
        rule.outcome,
        "" if landed else _code(evidence, rule),
        answer.status,
        raw=answer.body,
        retry_after_s=_wait(rule, now) if wait is None and not landed else wait,
        pace=pace_of(answer.headers, now),
        cause=rule.cause,
        where=evidence.where,
    )
    return Classified(evidence, rule, reply)


def _code(evidence: Evidence, rule: Rule) -> str:
    """Ours for what is wrong with a success, else the status with the first code that some rule knows."""
    if evidence.status // 100 == 2 and rule.cause != UNCLASSIFIED:
        return rule.cause
    named = [code for code in evidence.codes if code in _NAMED and code != ERROR_SEVERITY]
    meant = next((code for code in named if code in rule.codes), named[0] if named else "")
    return f"http_{evidence.status}" + (f"_{meant.rpartition(':')[2]}" if meant else "")


def _wait(rule: Rule, now: datetime) -> float | None:
    if rule.wait == NEXT_MINUTE:
        return 60.0 - now.second - now.microsecond / 1e6
    return rule.wait if isinstance(rule.wait, float) else None
