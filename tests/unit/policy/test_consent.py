"""What a patient's Consent records allow to be shared, with whom, when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.policy.consent import MISSING, WITHDRAWN, Disclosure, Mode, Statement, next_change, refusal

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ASKED = Disclosure("lab_result", "Observation", "store")


def consent(kind: str | None = "permit", *, status: str = "active", made: str = "2026-01-01", **root: Any) -> Statement:
    provision = {**({"type": kind} if kind else {}), **root}
    return Statement(
        {"status": status, "scope": {"code": "patient-privacy"}, "date_time": made, "provision": provision}
    )


def more(statement: Statement, **facts: Any) -> Statement:
    return Statement({**statement.facts, **facts}, statement.confidence)


def actor(name: str) -> list[dict[str, Any]]:
    return [{"role": {"coding": [{"code": "PRCP"}]}, "reference": {"ref": f"ehr:Organization:{name}"}}]


SOME = [{"coding": [{"code": "55284-4"}]}]
DENY_US = {"type": "deny", "actor": actor("store")}
DENY_LABS = {"type": "deny", "class": [{"code": "Observation"}]}

CASES: list[tuple[str, list[Statement], str | None, str | None]] = [
    # what, the records, the answer of a sink that goes by opt_out, that of one where consent is required
    ("nothing is known", [], None, MISSING),
    ("permitted", [consent()], None, None),
    ("refused", [consent("deny")], WITHDRAWN, WITHDRAWN),
    ("ended", [consent(status="inactive")], WITHDRAWN, WITHDRAWN),
    ("turned down", [consent(status="rejected")], WITHDRAWN, WITHDRAWN),
    ("only a draft", [consent(status="draft")], None, MISSING),
    ("only proposed, and a refusal", [consent("deny", status="proposed")], None, MISSING),
    ("entered in error", [consent("deny", status="entered-in-error")], None, MISSING),
    ("ended, and given anew later", [consent(status="inactive"), consent(made="2026-02-01")], None, None),
    ("given, and a later one ended", [consent(), consent(status="inactive", made="2026-02-01")], WITHDRAWN, WITHDRAWN),
    ("ended and given the same day", [consent(status="inactive"), consent()], None, None),
    ("an ended one without a date", [more(consent(status="inactive"), date_time=None), consent()], None, None),
    ("a refusal stands beside a permission", [consent("deny"), consent(made="2026-03-01")], WITHDRAWN, WITHDRAWN),
    ("about research", [more(consent("deny"), scope={"code": "research"})], None, MISSING),
    ("about being treated", [more(consent(), scope={"code": "treatment"})], None, MISSING),
    ("of no scope", [more(consent("deny"), scope=None)], WITHDRAWN, WITHDRAWN),
    ("no root type, policy opts out", [more(consent(None), policy_rule={"code": "OPTOUT"})], WITHDRAWN, WITHDRAWN),
    ("no root type, policy opts in", [more(consent(None), policy_rule={"code": "OPTIN"})], None, None),
    ("no provision at all", [more(consent(), provision=None)], None, None),
    ("provision that is no object", [more(consent(), provision="?")], None, None),
    ("of some data, and none of it for us", [consent(code=SOME, provision=[DENY_US])], WITHDRAWN, WITHDRAWN),
    ("of some data, permitted anew within", [consent(code=SOME, provision=[{"type": "permit"}])], None, MISSING),
    ("not yet", [consent(period={"start": "2027"})], None, MISSING),
    ("no longer", [consent(period={"end": "2026-06-14"})], None, MISSING),
    ("until today, inclusive", [consent(period={"end": "2026-06-15"})], None, None),
    ("until this month, inclusive", [consent(period={"end": "2026-06"})], None, None),
    ("until this year, inclusive", [consent(period={"end": "2026"})], None, None),
    ("until last month", [consent(period={"end": "2026-05"})], None, MISSING),
    ("until an hour ago, elsewhere", [consent(period={"end": "2026-06-15T13:00:00+02:00"})], None, MISSING),
    ("a refusal that is over", [consent("deny", period={"end": "2026-01-31"})], None, MISSING),
    ("for another purpose", [consent(purpose=[{"code": "HMARKT"}])], None, MISSING),
    ("for treatment", [consent(purpose=[{"code": "HMARKT"}, {"code": "TREAT"}])], None, None),
    ("a refusal of marketing", [consent("deny", purpose=[{"code": "HMARKT"}])], None, MISSING),
    ("of another type of record", [consent(**{"class": [{"code": "Patient"}]})], None, MISSING),
    ("of this type of record", [consent("deny", **{"class": [{"code": "lab_result"}]})], WITHDRAWN, WITHDRAWN),
    ("of this type by its profile", [consent("deny", **{"class": [{"code": "http://hl7.org/x/Observation"}]})],
     WITHDRAWN, WITHDRAWN),
    ("to somebody else", [consent(actor=actor("lab"))], None, MISSING),
    ("to this system", [consent(actor=actor("store"))], None, None),
    ("this system is refused", [consent("deny", actor=actor("store"))], WITHDRAWN, WITHDRAWN),
    ("somebody else is refused", [consent("deny", actor=actor("lab"))], None, MISSING),
    ("a role and nobody by name", [consent("deny", actor=[{"role": {"text": "all"}}])], WITHDRAWN, WITHDRAWN),
    ("only to be collected", [consent(action=[{"coding": [{"code": "collect"}]}])], None, MISSING),
    ("to be disclosed", [consent(action=[{"coding": [{"code": "disclose"}]}])], None, None),
    ("permitted for some data only", [consent(dataPeriod={"end": "2020"})], None, MISSING),
    ("refused for some data", [consent("deny", securityLabel=[{"code": "R"}])], WITHDRAWN, WITHDRAWN),
    ("all but labs", [consent(provision=[DENY_LABS])], WITHDRAWN, WITHDRAWN),
    ("nothing but labs", [consent("deny", provision=[{**DENY_LABS, "type": "permit"}])], None, None),
    ("all but what others hold", [consent(provision=[{"type": "deny", "actor": actor("lab")}])], None, None),
    ("an exception to the exception", [consent(provision=[{**DENY_LABS, "provision": [
        {"type": "permit", "actor": actor("store")}]}])], None, None),
    ("an exception that does not say what it is", [consent(provision=[{"class": [{"code": "Observation"}]}])],
     WITHDRAWN, WITHDRAWN),
    ("an exception within a rule that is over", [consent(period={"end": "2025"}, provision=[DENY_LABS])], None,
     MISSING),
    ("a permission that was only heard", [Statement(consent().facts, 0.5)], None, MISSING),
    ("a refusal that was only heard", [Statement(consent("deny").facts, 0.3)], WITHDRAWN, WITHDRAWN),
]  # fmt: skip


@pytest.mark.parametrize(("said", "opt_out", "required"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_consent(said: list[Statement], opt_out: str | None, required: str | None) -> None:
    answers: dict[Mode, str | None] = {"opt_out": opt_out, "required": required, "none": None}
    assert {mode: refusal(said, mode, ASKED, NOW) for mode in answers} == answers
    assert {mode: refusal(list(reversed(said)), mode, ASKED, NOW) for mode in answers} == answers


@pytest.mark.parametrize(
    ("statements", "when"),
    [
        ([], None),
        ([consent()], None),
        ([consent("deny", period={"end": "2026-06-15T13:00:00Z"})], datetime(2026, 6, 15, 13, tzinfo=UTC)),
        ([consent(period={"start": "2027"}), consent("deny", period={"end": "2026-07"})],
         datetime(2026, 8, 1, tzinfo=UTC)),
        ([consent(provision=[{"type": "deny", "period": {"start": "2026-01", "end": "2026-06-15"}}])],
         datetime(2026, 6, 16, tzinfo=UTC)),
        ([consent("deny", period={"end": "2025"})], None),
        ([consent("deny", status="inactive", period={"end": "2027"})], None),
        ([consent("deny", period={"end": "?"})], None),
    ],
)  # fmt: skip
def test_when_time_alone_may_change_the_answer(statements: list[Statement], when: datetime | None) -> None:
    assert next_change(statements, NOW) == when
