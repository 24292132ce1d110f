"""May this be read, said, written: each rule by itself, their order, and that a refusal more never opens anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connector_runner.policy import labels
from connector_runner.policy.asking import ACTIONS, CHANNELS, CODES, Asked
from connector_runner.policy.consent import Mode, Statement
from connector_runner.policy.deciding import Facts, OptOut, decide
from connector_runner.policy.purposes import CODE_OF, PURPOSES
from connector_runner.policy.settings import PolicySettings

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
USUAL = PolicySettings()


def asked(action: Any = "write", **more: Any) -> Asked:
    return replace(Asked("appointment", "Appointment", "store", action=action, labels=frozenset()), **more)


def said(kind: str = "permit", *, status: str = "active", **root: Any) -> Statement:
    facts = {"status": status, "date_time": "2026-01-01", "provision": {"type": kind, **root}}
    return Statement(facts, id="c1")


def labelled(*codes: str, system: str = ACT) -> Facts:
    return Facts(labelled={f"{system}|{code}": ("p1",) for code in codes})


def codes(asked: Asked, facts: Facts, policy: PolicySettings = USUAL, mode: Mode = "opt_out") -> list[str]:
    return [each.code for each in decide(asked, facts, policy, mode, NOW).refused]


def policy(**document: Any) -> PolicySettings:
    return PolicySettings.model_validate(document)


WITH_PERMISSION = {"statements": (said(),)}
LABELS: list[tuple[str, Facts, dict[str, Any], list[str]]] = [
    ("part 2 is not disclosed without consent", labelled("42CFRPart2"), {}, ["sensitivity_label"]),
    ("nor is it read to treat", labelled("42CFRPart2"), {"action": "read"}, ["sensitivity_label"]),
    ("but it is in an emergency", labelled("42CFRPart2"), {"action": "read", "purpose": "ETREAT"}, []),
    ("part 2 with consent", replace(labelled("42CFRPart2"), **WITH_PERMISSION), {}, []),
    ("substance use", labelled("ETH"), {}, ["sensitivity_label"]),
    ("HIV is read to treat", labelled("HIV"), {"action": "read"}, []),
    ("HIV is not read to be paid", labelled("HIV"), {"action": "read", "purpose": "HPAYMT"}, ["sensitivity_label"]),
    ("HIV is not disclosed", labelled("HIV"), {}, ["sensitivity_label"]),
    ("mental health is not disclosed", labelled("PSY"), {}, ["sensitivity_label"]),
    ("psychotherapy notes are not read", labelled("PSYTHPN"), {"action": "read"}, ["sensitivity_label"]),
    ("a patient with a label may be reached", labelled("HIV"), {"action": "contact", "channel": "phone"}, []),
    ("not to be told to the patient", labelled("NOPAT"), {"action": "contact"}, ["sensitivity_label"]),
    ("restricted", labelled("R", system=CONFIDENTIALITY), {}, ["sensitivity_label"]),
    ("normal", labelled("N", system=CONFIDENTIALITY), {}, []),
    ("of an older address", labelled("R", system="http://hl7.org/fhir/v3/Confidentiality"), {}, ["sensitivity_label"]),
    ("normal, by the system's OID", labelled("N", system="urn:oid:2.16.840.1.113883.5.25"), {}, []),
    (
        "restricted, by the system's OID",
        labelled("R", system="urn:oid:2.16.840.1.113883.5.25"),
        {},
        ["sensitivity_label"],
    ),
    (
        "a directive under part 2 is not read to treat",
        labelled("42CFRPart2CD"),
        {"action": "read"},
        ["sensitivity_label"],
    ),
    ("how sound it is says nothing", labelled("SUBSETTED", system="http://x/v3-ObservationValue"), {}, []),
    ("a label of a system's own", labelled("VIP", system="urn:clinic"), {}, ["sensitivity_label"]),
    ("a label of no system", Facts(labelled={"|": ("p1",)}), {}, ["sensitivity_label"]),
    ("test data never leaves", replace(labelled("HTEST"), **WITH_PERMISSION), {}, ["test_data"]),
    ("two labels are two reasons", labelled("HIV", "PSY"), {}, ["sensitivity_label"] * 2),
]


@pytest.mark.parametrize(("facts", "about", "found"), [case[1:] for case in LABELS], ids=[case[0] for case in LABELS])
def test_labels(facts: Facts, about: dict[str, Any], found: list[str]) -> None:
    assert codes(asked(**{**about, "labels": frozenset(facts.labelled)}), facts) == found


def test_a_permission_for_another_label_is_none_for_this() -> None:
    only_hiv = said(securityLabel=[{"system": ACT, "code": "HIV"}])
    facts = replace(labelled("PSY"), statements=(only_hiv,))
    assert codes(asked(labels=frozenset(facts.labelled)), facts) == ["sensitivity_label"]
    facts = replace(labelled("HIV"), statements=(only_hiv,))
    assert codes(asked(labels=frozenset(facts.labelled)), facts) == []


def test_psychotherapy_notes_ask_for_a_permission_of_their_own() -> None:
    named = said(securityLabel=[{"system": ACT, "code": "PSYTHPN"}])
    facts = replace(labelled("PSYTHPN"), **WITH_PERMISSION)
    assert codes(asked(labels=frozenset(facts.labelled)), facts) == ["sensitivity_label"]
    facts = replace(labelled("PSYTHPN"), statements=(named,))
    assert codes(asked(labels=frozenset(facts.labelled)), facts) == []
    facts = replace(labelled("PSYTHPN"), statements=(named, said(status="inactive")))
    assert codes(asked(labels=frozenset(facts.labelled)), facts) == []
    facts = replace(labelled("PSYTHPN"), statements=(named, said("deny")))
    assert "sensitivity_label" in codes(asked(labels=frozenset(facts.labelled)), facts)


def test_a_workspace_says_otherwise_of_labels() -> None:
    stated = policy(labels={"hiv": "never", "part2": {"write": "free"}})
    assert codes(asked(), replace(labelled("HIV"), **WITH_PERMISSION), stated) == ["sensitivity_label"]
    assert codes(asked(), labelled("42CFRPart2"), stated) == []
    assert codes(asked("read"), labelled("42CFRPart2"), stated) == ["sensitivity_label"]


def test_test_callers_are_never_written_and_may_be_read_and_called() -> None:
    facts = Facts(testers=("p1",), statements=(said(),))
    assert {action: codes(asked(action), facts) for action in ACTIONS} == {
        "read": [], "contact": [], "write": ["test_caller"],
    }  # fmt: skip
    assert decide(asked(), facts, USUAL, "none", NOW).refused[0].rests_on == ("entity:p1",)


OPTED: list[tuple[list[str], str | None, bool]] = [
    (["phone"], "phone", True), (["phone"], "sms", False), (["all"], "email", True), (["phone"], None, True),
    ([], None, False), (["sms", "email"], "phone", False),
]  # fmt: skip


@pytest.mark.parametrize(("out", "channel", "refused"), OPTED)
def test_who_opted_out_is_not_reached(out: list[str], channel: Any, refused: bool) -> None:
    facts = Facts(opt_outs=tuple(OptOut(each, "p1") for each in out))
    assert codes(asked("contact", channel=channel), facts) == (["opted_out"] if refused else [])
    assert codes(asked("write"), facts) == codes(asked("read"), facts) == []


def test_who_is_listed_is_not_reached() -> None:
    facts = Facts(numbers=frozenset({"+16175550100"}), emails=frozenset({"Ada@example.org"}))
    one = policy(do_not_contact=[{"number": "+16175550100"}])
    assert [codes(asked("contact", channel=way), facts, one) for way in CHANNELS] == [
        ["do_not_contact"], ["do_not_contact"], [],
    ]  # fmt: skip
    sms = policy(do_not_contact=[{"number": "+16175550100", "channels": ["sms"]}])
    assert [bool(codes(asked("contact", channel=way), facts, sms)) for way in CHANNELS] == [False, True, False]
    mail = policy(do_not_contact=[{"email": "ada@example.org"}])
    assert [bool(codes(asked("contact", channel=way), facts, mail)) for way in CHANNELS] == [False, False, True]
    assert codes(asked("contact"), facts, mail) == ["do_not_contact"]


RULE = {"name": "none", "actions": ["write"]}
RULES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, True),
    ({"actions": ["read"]}, {}, False),
    ({"sinks": ["store"]}, {}, True),
    ({"sinks": ["crm"]}, {}, False),
    ({"entity_types": ["appointment"]}, {}, True),
    ({"entity_types": ["patient"]}, {}, False),
    ({"purposes": ["treatment"]}, {"purpose": "COC"}, True),
    ({"purposes": ["outreach"]}, {"purpose": "TREAT"}, False),
    ({"actions": ["contact"], "channels": ["sms"]}, {"action": "contact", "channel": "sms"}, True),
    ({"actions": ["contact"], "channels": ["sms"]}, {"action": "contact", "channel": "phone"}, False),
    ({"actions": ["contact"], "channels": ["sms"]}, {"action": "contact"}, True),
    ({"channels": ["sms"]}, {}, False),
    ({"labels": ["genetics"]}, {}, False),
]


@pytest.mark.parametrize(("stated", "about", "refused"), RULES)
def test_rules_of_a_workspace(stated: dict[str, Any], about: dict[str, Any], refused: bool) -> None:
    answer = decide(asked(**about), Facts(), policy(rules=[{**RULE, **stated}]), "opt_out", NOW)
    assert [(each.code, each.rests_on) for each in answer.refused] == (
        [("workspace_rule", ("rule:none",))] if refused else []
    )


def test_a_rule_may_keep_back_fields_alone() -> None:
    stated = policy(rules=[{**RULE, "fields": ["comment"]}])
    answer = decide(asked(), Facts(), stated, "opt_out", NOW)
    assert answer.allowed
    assert answer.fields["comment"].rests_on == ("rule:none",)


def test_reasons_come_in_order() -> None:
    facts = replace(labelled("HIV"), testers=("p1",), statements=(said("deny"),))
    assert codes(asked(), facts, policy(rules=[RULE])) == [
        "test_caller", "workspace_rule", "sensitivity_label", "consent_withdrawn",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"rule": []}, "rule"),
        ({"test_callers": ["617-555-0100"]}, "test_callers"),
        ({"do_not_contact": [{"channels": ["sms"]}]}, "do_not_contact"),
        ({"labels": {"hvi": "never"}}, "labels"),
        ({"labels": {"hiv": "perhaps"}}, "labels"),
        ({"rules": [{"name": "a"}]}, "rules"),
        ({"rules": [RULE, RULE]}, "rules"),
        ({"rules": [{**RULE, "sink": ["store"]}]}, "rules"),
        ({"rules": [{**RULE, "fields": ["name.given"]}]}, "rules"),
        ({"rules": [{**RULE, "fields": ["telecom[phone|home]"]}]}, "rules"),
        ({"rules": [{**RULE, "entity_types": ["Appointment"]}]}, "rules"),
        ({"without_review": {"voice_agent": ["patient.name.given.x"]}}, "without_review"),
        ({"consent": {"read": "maybe"}}, "consent"),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        policy(**document)
    assert caught.value.errors()[0]["loc"][0] == key


def test_a_person_is_a_patient_here_too() -> None:
    stated = policy(rules=[{**RULE, "entity_types": ["person"]}], without_review={"forms": ["person.telecom"]})
    assert codes(asked(entity_type="patient"), Facts(), stated) == ["workspace_rule"]
    assert stated.reviewed("forms", "patient", "telecom") is False


def test_which_word_needs_no_review() -> None:
    stated = policy(without_review={"voice_agent": ["appointment", "patient.telecom"]})
    assert [
        stated.reviewed("voice_agent", "appointment", "status"),
        stated.reviewed("voice_agent", "patient", "telecom"),
        stated.reviewed("voice_agent", "patient", "address"),
        stated.reviewed("forms", "appointment", "status"),
    ] == [False, False, True, None]


KINDS = st.sampled_from(["permit", "deny", "perhaps"])
CONDITION = st.fixed_dictionaries(
    {},
    optional={
        "purpose": st.lists(st.sampled_from([{"code": "TREAT"}, {"code": "HMARKT"}, {"code": "?"}]), max_size=2),
        "action": st.lists(st.sampled_from([{"code": "disclose"}, {"code": "access"}, {"code": "?"}]), max_size=2),
        "class": st.lists(st.sampled_from([{"code": "Appointment"}, {"code": "Patient"}]), max_size=2),
        "period": st.sampled_from([{"end": "2026"}, {"end": "2020"}, {"start": "?"}]),
        "securityLabel": st.lists(st.sampled_from([{"code": "HIV"}, {"code": "PSY"}]), max_size=2),
        "modifierExtension": st.just([{"url": "urn:x"}]),
    },
)
LEAVES = st.builds(lambda kind, rest: {"type": kind, **rest}, KINDS, CONDITION)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(lambda node, below: {**node, "provision": below}, LEAVES, st.lists(inner, max_size=2)),
)
STATEMENTS = st.builds(
    lambda tree, status, made, sure: Statement({"status": status, "date_time": made, "provision": tree}, sure, "c"),
    TREES,
    st.sampled_from(["active", "active", "inactive", "draft", "paused"]),
    st.sampled_from(["2025", "2026-01-01", None]),
    st.sampled_from([1.0, 0.5]),
)
WORLDS = st.builds(
    lambda told, marks, out: Facts(told, out, (), dict.fromkeys(marks, ("p",))),
    st.lists(STATEMENTS, max_size=3).map(tuple),
    st.lists(st.sampled_from([f"{ACT}|HIV", f"{ACT}|42CFRPart2", f"{CONFIDENTIALITY}|N"]), max_size=2),
    st.lists(st.sampled_from([OptOut("phone", "p"), OptOut("all", "p")]), max_size=1).map(tuple),
)
QUESTIONS = st.builds(
    lambda action, purpose, channel: asked(action, purpose=CODE_OF[purpose], channel=channel),
    st.sampled_from(ACTIONS), st.sampled_from(PURPOSES), st.sampled_from([None, *CHANNELS]),
)  # fmt: skip
DENIALS = st.one_of(
    st.builds(lambda tree: ("statement", Statement({"status": "active", "provision": {**tree, "type": "deny"}}, 0.3)),
              LEAVES),
    st.just(("label", f"{ACT}|PSYTHPN")),
    st.just(("out", OptOut("sms", "p"))),
    st.just(("tester", "p")),
    st.just(("rule", {"name": "no", "actions": list(ACTIONS)})),
)  # fmt: skip


def worse(facts: Facts, denial: tuple[str, Any]) -> tuple[Facts, PolicySettings]:
    kind, what = denial
    if kind == "statement":
        return replace(facts, statements=(*facts.statements, what)), USUAL
    if kind == "label":
        return replace(facts, labelled={**facts.labelled, what: ("p",)}), USUAL
    if kind == "out":
        return replace(facts, opt_outs=(*facts.opt_outs, what)), USUAL
    if kind == "tester":
        return replace(facts, testers=(what,)), USUAL
    return facts, policy(rules=[what])


@settings(max_examples=300, deadline=None)
@given(WORLDS, QUESTIONS, DENIALS, st.sampled_from(["none", "opt_out", "required"]))
def test_a_refusal_more_never_opens_anything(facts: Facts, about: Asked, denial: Any, mode: Mode) -> None:
    about = replace(about, labels=frozenset(facts.labelled))
    before = decide(about, facts, USUAL, mode, NOW)
    more, stated = worse(facts, denial)
    after = decide(about, more, stated, mode, NOW)
    assert after.allowed <= before.allowed
    assert {each.code for each in after.refused} <= CODES


@settings(max_examples=100, deadline=None)
@given(WORLDS, QUESTIONS)
def test_the_order_of_records_decides_nothing(facts: Facts, about: Asked) -> None:
    turned = replace(facts, statements=tuple(reversed(facts.statements)))
    assert decide(about, facts, USUAL, "required", NOW).code == decide(about, turned, USUAL, "required", NOW).code


def test_every_category_of_label_has_its_demands() -> None:
    for kind in labels.CATEGORIES:
        for action in ACTIONS:
            assert labels.demand(kind, action, "HPAYMT", {}) in ("free", "consent", "never")
