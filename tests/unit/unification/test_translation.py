"""Translation by rules: what is found, what must not be, and what a fault in a vocabulary says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.kernel.errors import BadRecord, Misconfigured
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.unification.model import MappingContext, OutboundContext
from connector_runner.unification.translation import Translated, Untranslated, translate, translate_fact
from connector_runner.unification.translation_prompt import NONE, accepted, answer_schema, minimised, rules

SHIPPED = Path(__file__).parents[3] / "mappings"
MAPPINGS = load_mappings(SHIPPED)
MARITAL, VISIT, CANCEL = (
    MAPPINGS.vocabularies[name] for name in ("marital_status", "appointment_type", "cancellation_reason")
)
SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"


@pytest.mark.parametrize(
    ("text", "vocabulary", "code", "method"),
    [
        ("Married", MARITAL, "M", "exact"),
        ("M", MARITAL, "M", "exact"),
        ("is married", MARITAL, "M", "exact"),
        ("  MARRIED. ", MARITAL, "M", "normalised"),
        ("Legally   separated", MARITAL, "L", "normalised"),
        ("Walk In", VISIT, "WALKIN", "normalised"),
        ("marrried", MARITAL, "M", "fuzzy"),
        ("follow up vist", VISIT, "FOLLOWUP", "fuzzy"),
        ("visit, follow-up", VISIT, "FOLLOWUP", "fuzzy"),
        ("provider unavailible", CANCEL, "prov-pers", "fuzzy"),
    ],
)
def test_a_text_finds_its_code(text: str, vocabulary: Any, code: str, method: str) -> None:
    found = translate(text, vocabulary, 0.9)
    assert isinstance(found, Translated)
    assert (found.code, found.method) == (code, method)
    assert (found.score == 1) is (method != "fuzzy") or found.score >= 0.9


@pytest.mark.parametrize(
    ("text", "vocabulary", "why"),
    [
        ("umarried", MARITAL, "as like to married as to unmarried"),
        ("remarried", MARITAL, "below the bound"),
        ("no cost", CANCEL, "a denial"),
        ("patient not moved", CANCEL, "a denial"),
        ("wido", MARITAL, "too short to be judged by likeness"),
        ("new patient", VISIT, "something else"),
        ("", VISIT, "nothing"),
        ("?!", VISIT, "nothing"),
    ],
)
def test_what_is_not_certain_is_not_translated(text: str, vocabulary: Any, why: str) -> None:
    assert isinstance(translate(text, vocabulary, 0.8 if why == "a denial" else 0.9), Untranslated)


def test_likeness_counts_only_where_it_is_asked_for() -> None:
    found = translate("marrried", MARITAL)
    assert isinstance(found, Untranslated)
    assert found.candidates[0].code == "M"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED / "schema.json", tmp_path)
    write(
        tmp_path,
        "vocab/dose.yaml",
        "system: urn:dose\ndisplays: {q6: every 6 hours, q8: every 8 hours, hypo: hypotension alert}\n"
        "codes: {four daily: q6}\n",
    )
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_numbers_and_opposites_are_no_matter_of_likeness(folder: Path) -> None:
    dose = load_mappings(folder).vocabularies["dose"]
    for text in ("every 4 hours", "every 16 hours", "hypertension alert"):
        assert isinstance(translate(text, dose, 0.8), Untranslated), text
    assert translate("evry 6 hours", dose, 0.8) == Translated("q6", "fuzzy", 0.96)


@given(st.text(max_size=60), st.sampled_from([MARITAL, VISIT, CANCEL]))
def test_any_text_gives_one_of_the_codes_or_none(text: str, vocabulary: Any) -> None:
    found = translate(text, vocabulary, 0.9)
    assert found == translate(text, vocabulary, 0.9)
    codes = [found.code] if isinstance(found, Translated) else [candidate.code for candidate in found.candidates]
    assert set(codes) <= set(vocabulary.displays)


def test_every_shipped_word_finds_the_code_it_is_listed_for() -> None:
    for vocabulary in MAPPINGS.vocabularies.values():
        for word, code in vocabulary.words.items():
            found = translate(word.upper(), vocabulary)
            assert isinstance(found, Translated)
            assert found.code == code


# facts


def test_a_code_of_the_vocabulary_stays_whatever_it_is_called() -> None:
    fact = {"code": "M", "system": SYSTEM, "display": "Divorced"}
    assert translate_fact(fact, MARITAL, 0.9) == Translated("M", "exact")


def test_a_code_of_another_system_says_nothing_but_by_its_words() -> None:
    assert isinstance(translate_fact({"code": "M", "system": "urn:local", "display": "?"}, VISIT, 0.9), Untranslated)
    fact = {"code": "77", "system": "urn:local", "display": "Single"}
    assert translate_fact(fact, MARITAL, 0.9) == Translated("S", "normalised")


def test_words_that_contradict_each_other_are_not_translated() -> None:
    found = translate_fact({"display": "Married", "text": "Divorced"}, MARITAL, 0.9)
    assert isinstance(found, Untranslated)
    assert {candidate.code for candidate in found.candidates[:2]} == {"M", "D"}


# rules in mappings

OUTBOUND = """\
version: 1
resource_type: Thing
fields:
  kind: {path: kind, transform: concept, translate: {vocabulary: dose, fuzzy: 0.8, otherwise: %s, llm: true}}
  kinds: {path: kinds, transform: concepts, translate: dose}
  word: {path: word, translate: dose}
  inner: {path: inner, each: {kind: {path: kind, translate: dose}}}
"""


def outbound(folder: Path, otherwise: str = "withhold") -> Any:
    write(folder, "outbound/acme/thing.yaml", OUTBOUND % otherwise)
    return load_mappings(folder).outbound("acme", "thing")


def rendered(mapping: Any, state: dict[str, Any], **context: Any) -> dict[str, Any]:
    found: dict[str, Any] = mapping.render(state, OutboundContext(lambda canonical: None, **context))
    return {key: value for key, value in found.items() if key != "resourceType"}


def test_what_was_said_stays_as_the_text_of_the_code(folder: Path) -> None:
    coded = {"code": "q6", "display": "every 6 hours", "system": "urn:dose"}
    mapping = outbound(folder)
    assert rendered(mapping, {"kind": {"text": "Four daily"}}) == {"kind": {"coding": [coded], "text": "Four daily"}}
    assert rendered(mapping, {"word": "every-8-hours"}) == {"word": "q8"}
    assert rendered(mapping, {"kinds": [{"text": "four daily"}, {"text": "whenever"}]}) == {
        "kinds": [{"coding": [coded], "text": "four daily"}]
    }
    assert rendered(mapping, {"inner": [{"kind": "four daily"}]}) == {"inner": [{"kind": "q6"}]}


def test_without_a_code_the_element_is_left_out_or_kept_in_its_own_words(folder: Path) -> None:
    state = {"kind": {"text": "whenever"}, "word": "every 8 hours"}
    assert rendered(outbound(folder), state) == {"word": "q8"}
    assert rendered(outbound(folder, "keep"), state) == {"kind": {"text": "whenever"}, "word": "q8"}


def test_a_decision_is_used_if_it_is_a_code_of_the_vocabulary(folder: Path) -> None:
    state = {"kind": {"text": "whenever"}}
    mapping = outbound(folder)
    found = rendered(mapping, state, decided=lambda vocabulary, text: {("dose", "whenever"): "q8"}[vocabulary, text])
    assert found["kind"]["coding"][0]["code"] == "q8"
    assert rendered(mapping, state, decided=lambda vocabulary, text: "drop-table") == {}


def test_what_is_open_is_told_with_its_rule(folder: Path) -> None:
    state = {"kind": {"text": "evry 9 hours"}, "inner": [{"kind": "soon"}, {"kind": "soon"}]}
    first, second = outbound(folder, "wait").untranslated(state)
    assert (first.field, first.vocabulary, first.text, first.llm, first.otherwise) == (
        "kind", "dose", "evry 9 hours", True, "wait",
    )  # fmt: skip
    assert first.candidates[0][0] in ("q6", "q8")
    assert (second.field, second.text, second.llm, second.otherwise) == ("kind", "soon", False, "withhold")
    assert outbound(folder).untranslated({"kind": {"text": "four daily"}}) == ()


def test_only_the_fields_that_are_named_are_put_into_codes(folder: Path) -> None:
    state = {"kind": {"text": "four daily"}, "word": "four daily", "inner": [{"kind": "four daily"}]}
    mapping = outbound(folder)
    assert rendered(mapping, state, recoded=frozenset({"inner"})) == {
        "kind": {"text": "four daily"},
        "word": "four daily",
        "inner": [{"kind": "q6"}],
    }
    assert mapping.recodes(state)
    assert not mapping.recodes({"word": "q6", "other": 1})


def test_the_crm_takes_its_own_words_for_the_kinds_of_appointments() -> None:
    mapping = MAPPINGS.outbound("crm", "appointment")
    assert mapping is not None
    said = {
        "follow_up": [{"text": "Follow up vist"}, {"code": "FOLLOWUP", "system": VISIT.system}],
        "walk_in": [{"code": "9", "system": "urn:local", "display": "Walk-In"}],
        "check_up": [{"code": "CHECKUP", "system": VISIT.system, "display": VISIT.displays["CHECKUP"]}],
        None: [{"text": "new patient"}, {"text": ""}],
    }
    for code, facts in said.items():
        for fact in facts:
            found = mapping.render(
                {"appointment_type": fact, "patient": {"ref": "crm:Contact:1"}},
                OutboundContext(lambda ref: "Contact/1"),
            )
            assert found.get("type") == code


def test_inbound_a_value_without_a_code_gets_one(folder: Path) -> None:
    write(
        folder,
        "inbound/acme/thing.yaml",
        "version: 1\nentity_type: thing\nfields:\n"
        "  kind: {path: kind, transform: concept, translate: {vocabulary: dose, fuzzy: 0.8}}\n",
    )
    mapping = load_mappings(folder).inbound("acme", "thing")
    assert mapping is not None

    def fact(kind: Any) -> Any:
        return mapping.map({"id": "1", "kind": kind}, MappingContext("acme")).facts.get("kind")

    assert fact({"text": "evry 6 hours"}) == {
        "code": "q6", "system": "urn:dose", "display": "every 6 hours", "text": "evry 6 hours",
    }  # fmt: skip
    assert fact({"text": "whenever"}) == {"text": "whenever"}
    other = {"code": "1", "system": "urn:other", "display": "every 6 hours"}
    assert fact({"coding": [other]}) == other


# faults, told with file, line and key

RULE = "version: 1\nresource_type: Thing\nfields:\n  a: {path: a}\n  b: %s\n"
FAULTS = [
    ("outbound/x/t.yaml", RULE % "{path: b, translate: nowhere}", "outbound/x/t.yaml:5: fields.b.translate"),
    ("outbound/x/t.yaml", RULE % "{path: b, translate: {fuzzy: 1}}", "outbound/x/t.yaml:5: fields.b.translate"),
    ("outbound/x/t.yaml", RULE % "{path: b, translate: {vocabulary: dose, fuzzy: 0.5}}", "5: fields.b.translate.fuzzy"),
    (
        "outbound/x/t.yaml",
        RULE % "{path: b, translate: {vocabulary: dose, otherwise: guess}}",
        "5: fields.b.translate.otherwise",
    ),
    ("outbound/x/t.yaml", RULE % "{path: b, translate: {vocabulary: dose, ask: 1}}", "5: fields.b.translate.ask"),
    ("outbound/x/t.yaml", RULE % "{path: b, translate: dose, lookup: dose}", "5: fields.b.lookup"),
    ("outbound/x/t.yaml", RULE % "{path: b, translate: dose, required: true}", "5: fields.b.translate"),
    ("outbound/x/t.yaml", RULE % "{path: b, lookup: bare}", "5: fields.b.lookup"),
    ("outbound/x/t.yaml", RULE.replace("b:", "'b[x]':") % "{path: b, as: [String], translate: dose}", "5: fields"),
    (
        "inbound/x/t.yaml",
        "version: 1\nentity_type: t\nfields:\n  b: {path: b, translate: {vocabulary: dose, llm: true}}\n",
        "inbound/x/t.yaml:4: fields.b.translate.llm",
    ),
    ("vocab/v.yaml", "displays: {a: Alpha}\ncodes:\n  x: b\n", "vocab/v.yaml:3: codes.x"),
    ("vocab/v.yaml", "displays:\n  a: Alpha\n  b: ALPHA.\n", "vocab/v.yaml:3: displays.b"),
    ("vocab/v.yaml", "displays: {a: Alpha}\ncodes:\n  '!': a\n", "vocab/v.yaml:3: codes.!"),
    ("vocab/v.yaml", "displays: {a: Alpha}\nsystems:\n  b: urn:x\n", "vocab/v.yaml:3: systems.b"),
    ("vocab/v.yaml", "description: nothing\n", "vocab/v.yaml:1: (file)"),
    ("outbound/x/schema/t.json", "{", "outbound/x/schema/t.json:1: (file)"),
    ("outbound/x/schema/t.json", '{"type": "strange"}', "outbound/x/schema/t.json:1: type"),
]


@pytest.mark.parametrize(("name", "text", "where"), FAULTS)
def test_a_fault_stops_the_start_and_says_where(folder: Path, name: str, text: str, where: str) -> None:
    write(folder, "vocab/bare.yaml", "displays: {a: Alpha}\n")
    write(folder, name, text)
    with pytest.raises(Misconfigured) as caught:
        load_mappings(folder)
    assert caught.value.code == "mapping"
    assert where in caught.value.where


def test_a_required_element_waits_where_it_says_so(folder: Path) -> None:
    write(
        folder,
        "outbound/x/t.yaml",
        RULE % "{path: b, required: true, translate: {vocabulary: dose, otherwise: wait}}",
    )
    mapping = load_mappings(folder).outbound("x", "t")
    assert mapping is not None
    assert [ask.otherwise for ask in mapping.untranslated({"b": "whenever"})] == ["wait"]
    with pytest.raises(BadRecord):
        rendered(mapping, {"b": "whenever"})


def test_a_change_of_words_changes_the_version_of_what_uses_them(folder: Path) -> None:
    def version() -> str:
        found: MappingSet = load_mappings(folder)
        mapping = found.outbound("acme", "thing")
        assert mapping is not None
        return mapping.version

    outbound(folder)
    before = version()
    assert version() == before
    text = (folder / "vocab/dose.yaml").read_text()
    write(folder, "vocab/dose.yaml", text.replace("four daily: q6", "four daily: q8"))
    assert version() != before


def test_which_systems_are_fhir(folder: Path) -> None:
    write(folder, "outbound/fhir_r4/t.yaml", RULE % "{path: b}")
    write(folder, "outbound/like/system.yaml", "extends: fhir_r4\n")
    write(folder, "outbound/near/t.yaml", "version: 1\nextends: fhir_r4/t\n")
    write(folder, "outbound/far/t.yaml", RULE % "{path: b}")
    write(folder, "outbound/far/schema/t.json", '{"type": "object"}')
    found = load_mappings(folder)
    assert [name for name in ("fhir_r4", "like", "near", "far") if found.is_fhir(name)] == ["fhir_r4", "like", "near"]
    assert found.schema("far", "t") == '{"type": "object"}'
    assert found.schema("near", "t") is None


# what a model is shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("patient  no\nride\x00", "patient no ride"),
        ("call 617-555-0101 or ada@x.example", "call # or #"),
        ("born 1982-03-04, see https://x.example/p/1", "born #, see #"),
        ("MRN 000123456 moved", "MRN # moved"),
        ("every 6 hours", "every 6 hours"),
        ("a" * 500, "a" * 160),
    ],
)
def test_a_value_leaves_without_what_could_name_a_person(text: str, shown: str) -> None:
    assert minimised(text) == shown


def test_the_rules_are_the_vocabularys_and_no_value_is_in_them() -> None:
    told = rules(MARITAL)
    assert all(f"- {code}: {title}" in told for code, title in MARITAL.displays.items())
    assert NONE in told


@pytest.mark.parametrize("answer", [None, "M", [], {}, {"code": "X"}, {"code": None}, {"code": ["M"]}, {"code": NONE}])
def test_only_a_code_of_the_vocabulary_is_accepted(answer: Any) -> None:
    assert accepted(answer, MARITAL) is None
    assert accepted({"code": "M"}, MARITAL) == "M"
    assert answer_schema(MARITAL)["properties"]["code"]["enum"] == [*MARITAL.displays, NONE]
