"""What a patient's Consent records allow to be shared, with whom, when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.policy.asking import MISSING, UNCLEAR, WITHDRAWN, Asked
from connector_runner.policy.consent import Mode, Statement, next_change, refusal

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ASKED = Asked("lab_result", "Observation", "store")


def consent(kind: str | None = "permit", *, status: str = "active", made: str = "2026-01-01", **root: Any) -> Statement:
    provision = {**({"type": kind} if kind else {}), **root}
    return Statement(
        {"status": status, "scope": {"code": "patient-privacy"}, "date_time": made, "provision": provision}
    )


def more(statement: Statement, **facts: Any) -> Statement:
    return Statement({**statement.facts, **facts}, statement.confidence)


def actor(name: str) -> list[dict[str, Any]]:
    return [{"role": {"coding": [{"code": "PRCP"}]}, "reference": {"ref": f"ehr:Organization:{name}"}}]


def under(rule: str, kind: str | None = None, **root: Any) -> Statement:
    """A record that rests on a policy of this code, which need not be the first that it names."""
    return more(consent(kind, **root), policy_rule={"code": "house", "codings": [{"code": "house"}, {"code": rule}]})


def of_category(statement: Statement, *codes: str) -> Statement:
    return more(statement, category=[{"code": code} for code in codes])


HELD = [{"role": {"coding": [{"code": "CST"}]}, "reference": {"ref": "ehr:Organization:hospital"}}]
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
    ("provision that is no object", [more(consent(), provision="?")], UNCLEAR, UNCLEAR),
    ("an exception that is no object", [consent(provision=["?"])], UNCLEAR, UNCLEAR),
    ("a rule of no known kind", [consent("perhaps")], UNCLEAR, UNCLEAR),
    ("a refusal beside what cannot be read", [consent("perhaps"), consent("deny")], WITHDRAWN, WITHDRAWN),
    ("a permission beside what cannot be read", [consent("perhaps"), consent()], UNCLEAR, UNCLEAR),
    ("an exception of no known kind", [consent(provision=[{"type": "perhaps"}])], UNCLEAR, UNCLEAR),
    ("an exception of no known kind for another", [consent(provision=[{"type": "?", "actor": actor("lab")}])], None,
     None),
    ("a policy that is not known", [more(consent(None), policy_rule={"code": "house-rule"})], None, MISSING),
    ("a policy that is not known, with a refusal", [more(consent(None, provision=[DENY_LABS]),
     policy_rule={"code": "house-rule"})], WITHDRAWN, WITHDRAWN),
    ("a state that is not known", [consent(status="paused")], None, MISSING),
    ("a refusal in a state that is not known", [consent("deny", status="paused")], UNCLEAR, UNCLEAR),
    ("a permission for a time that cannot be read", [consent(period={"end": "soon"})], None, MISSING),
    ("a refusal for a time that cannot be read", [consent("deny", period={"end": "soon"})], UNCLEAR, UNCLEAR),
    ("a permission for a purpose that is not known", [consent(purpose=[{"code": "OURS"}])], None, MISSING),
    ("a refusal for a purpose that is not known", [consent("deny", purpose=[{"code": "OURS"}])], UNCLEAR, UNCLEAR),
    ("a refusal of an action that is not known", [consent("deny", action=[{"code": "sell"}])], UNCLEAR, UNCLEAR),
    ("a changed permission", [consent(modifierExtension=[{"url": "urn:x"}])], None, MISSING),
    ("a changed refusal", [consent("deny", modifierExtension=[{"url": "urn:x"}])], UNCLEAR, UNCLEAR),
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
    ("opted out, but for others", [under("OPTOUT", "permit", actor=actor("lab"))], WITHDRAWN, WITHDRAWN),
    ("opted out, but for us", [under("OPTOUT", "permit", actor=actor("store"))], None, None),
    ("opted out, but for what cannot be read", [under("OPTOUTE", "permit", purpose=[{"code": "OURS"}])], WITHDRAWN,
     WITHDRAWN),
    ("opted out, but for us until last year", [under("OPTOUT", "permit", period={"end": "2025"})], WITHDRAWN,
     WITHDRAWN),
    ("opted out of marketing", [under("OPTOUT", "deny", purpose=[{"code": "HMARKT"}])], None, MISSING),
    ("opted out, and others are named without a word", [under("OPTOUT", actor=actor("lab"))], WITHDRAWN, WITHDRAWN),
    ("opted out, and we are named without a word", [under("OPTOUT", actor=actor("store"))], WITHDRAWN, WITHDRAWN),
    ("opted out until last year", [under("OPTOUT", period={"end": "2025"})], None, MISSING),
    ("opted out, with a permission within", [under("OPTOUT", provision=[{"type": "permit", "actor": actor("store")}])],
     None, None),
    ("opted in, and we are named without a word", [under("OPTIN", actor=actor("store"))], UNCLEAR, UNCLEAR),
    ("opted in, and others are named without a word", [under("OPTIN", actor=actor("lab"))], None, MISSING),
    ("opted in for this year", [under("OPTIN", period={"end": "2026"})], None, None),
    ("somebody is named, and nothing said of them", [consent(None, actor=actor("store"))], UNCLEAR, UNCLEAR),
    ("what another one holds is refused", [consent("deny", actor=HELD)], WITHDRAWN, WITHDRAWN),
    ("what another one holds is permitted", [consent(actor=HELD)], None, MISSING),
    ("what another one holds is permitted for us", [consent(actor=[*HELD, *actor("store")])], None, None),
    ("what another one holds is refused to others", [consent("deny", actor=[*HELD, *actor("lab")])], None, MISSING),
    ("a notice was read", [of_category(consent(), "57016-8")], None, MISSING),
    ("a notice is out of date", [of_category(consent(status="inactive"), "npp")], None, MISSING),
    ("a notice was read, and sharing refused", [of_category(consent("deny"), "npp")], WITHDRAWN, WITHDRAWN),
    ("a notice was read, and consent given", [of_category(consent(), "npp", "59284-0")], None, None),
    ("a permission that was only heard", [Statement(consent().facts, 0.5)], None, MISSING),
    ("a refusal that was only heard", [Statement(consent("deny").facts, 0.3)], WITHDRAWN, WITHDRAWN),
]  # fmt: skip


@pytest.mark.parametrize(("said", "opt_out", "required"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_consent(said: list[Statement], opt_out: str | None, required: str | None) -> None:
    answers: dict[Mode, str | None] = {"opt_out": opt_out, "required": required, "none": None}
    assert {mode: refusal(said, mode, ASKED, NOW) for mode in answers} == answers
    assert {mode: refusal(list(reversed(said)), mode, ASKED, NOW) for mode in answers} == answers


HIV = frozenset({"http://terminology.hl7.org/CodeSystem/v3-ActCode|HIV"})
NONE: frozenset[str] = frozenset()
LABELLED = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]
THIS = [{"meaning": "instance", "reference": {"ref": "ehr:Observation:o1"}}]
TOLD: list[tuple[str, dict[str, Any], Statement, str | None, str | None]] = [
    ("all but what is labelled, and it is", {"labels": HIV},
     consent(provision=[{"type": "deny", "securityLabel": LABELLED}]), WITHDRAWN, WITHDRAWN),
    ("all but what is labelled, and it is not", {"labels": NONE},
     consent(provision=[{"type": "deny", "securityLabel": LABELLED}]), None, None),
    ("only what is labelled, and it is not", {"labels": NONE}, consent(securityLabel=LABELLED), None, MISSING),
    ("only what is labelled, and it is", {"labels": HIV}, consent(securityLabel=LABELLED), None, None),
    ("all but these codes, and it is one", {"codes": frozenset({"55284-4"})},
     consent(provision=[{"type": "deny", "code": SOME}]), WITHDRAWN, WITHDRAWN),
    ("all but these codes, and it is none", {"codes": frozenset({"1234-5"})},
     consent(provision=[{"type": "deny", "code": SOME}]), None, None),
    ("all but this record", {"refs": frozenset({"ehr:Observation:o1"})},
     consent(provision=[{"type": "deny", "data": THIS}]), WITHDRAWN, WITHDRAWN),
    ("all but another record", {"refs": frozenset({"ehr:Observation:o2"})},
     consent(provision=[{"type": "deny", "data": THIS}]), None, None),
    ("what depends on a record is not known", {"refs": frozenset({"ehr:Observation:o2"})},
     consent("deny", data=[{**THIS[0], "meaning": "dependents"}]), WITHDRAWN, WITHDRAWN),
    ("a purpose that is part of the one named", {"purpose": "COC"}, consent(purpose=[{"code": "TREAT"}]), None, None),
    ("a refusal of a purpose that is only part", {"purpose": "TREAT"}, consent("deny", purpose=[{"code": "COC"}]),
     None, MISSING),
    ("research, for research", {"purpose": "HRESCH"}, more(consent("deny"), scope={"code": "research"}), WITHDRAWN,
     WITHDRAWN),
    ("sharing is refused, reading is not", {"action": "read"}, consent("deny", action=[{"code": "disclose"}]), None,
     MISSING),
    ("reading is refused", {"action": "read"}, consent("deny", action=[{"code": "access"}]), WITHDRAWN, WITHDRAWN),
    ("who may read, may after an end", {"action": "read"}, consent(status="inactive"), None, MISSING),
    ("nobody is reached after an end", {"action": "contact"}, consent(status="inactive"), WITHDRAWN, WITHDRAWN),
]  # fmt: skip


@pytest.mark.parametrize(("about", "said", "opt_out", "required"), [c[1:] for c in TOLD], ids=[c[0] for c in TOLD])
def test_consent_about_what_is_told(
    about: dict[str, Any], said: Statement, opt_out: str | None, required: str | None
) -> None:
    asked = replace(ASKED, **about)
    assert (refusal([said], "opt_out", asked, NOW), refusal([said], "required", asked, NOW)) == (opt_out, required)


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
