"""Mapping files: what rules do, and what a fault in one says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from connector_runner.kernel.errors import Misconfigured
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.unification.model import MappingContext

SHIPPED = Path(__file__).parents[3] / "mappings"
VOCABULARY = "codes: {b: booked, c: cancelled}\n"
CONTACT = """\
version: 3
entity_type: [{when: {path: kind, equals: company}, value: organization}, {value: patient}]
confidence: [{when: {path: checked, exists: true}, value: 0.9}, {value: 0.7}]
event: contact.seen
retracted: {path: state, in: [gone, void]}
effective_at: [seen]
fields:
  name: {path: first.name, required: true}
  seen: {path: seen_at, transform: date_time}
  origin: {const: crm}
  phone: {first: [mobile, {path: 'phones[main=true].number'}]}
  nick: {path: nick, when: {not: {path: hide, equals: true}}}
  status: {path: status, lookup: states}
  kept: {path: status, lookup: states, else: keep}
  dropped: {path: status, lookup: states, else: drop}
  items: {path: items, each: {code: sku, count: {path: n, transform: integer}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED / "schema.json", tmp_path)
    write(tmp_path, "vocab/states.yaml", VOCABULARY)
    write(tmp_path, "inbound/crm/contact.yaml", CONTACT)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def facts_of(mappings: MappingSet, record: dict[str, Any], system: str = "crm") -> dict[str, Any]:
    mapping = mappings.inbound(system, "contact")
    assert mapping is not None
    return mapping.map({"id": 7, "first": {"name": "Ilse"}, **record}, MappingContext("crm")).facts


def version_of(folder: Path, system: str = "crm") -> str:
    mapping = load_mappings(folder).inbound(system, "contact")
    assert mapping is not None
    return mapping.version


def test_each_kind_of_rule(folder: Path) -> None:
    mappings = load_mappings(folder)
    record = {
        "seen_at": "2024-01-02",
        "phones": [{"number": "1"}, {"number": "2", "main": True}],
        "nick": "Il",
        "status": "b",
        "items": [{"sku": "x", "n": 2}, {"n": "3"}, 4],
    }
    assert facts_of(mappings, record) == {
        "name": "Ilse",
        "seen": "2024-01-02",
        "origin": "crm",
        "phone": "2",
        "nick": "Il",
        "status": "booked",
        "kept": "booked",
        "dropped": "booked",
        "items": [{"code": "x", "count": 2}],
    }
    hidden = facts_of(mappings, {"mobile": "9", "nick": "Il", "hide": True, "status": "z"})
    assert hidden == {"name": "Ilse", "origin": "crm", "phone": "9", "kept": "z"}


def test_the_head_of_a_mapping(folder: Path) -> None:
    mapping = load_mappings(folder).inbound("crm", "Contact")
    assert mapping is not None
    record = {"id": 7, "first": {"name": "Harbor"}, "kind": "company", "checked": True, "state": "void"}
    mapped = mapping.map({**record, "status": "z", "seen_at": "2024-01-02"}, MappingContext("crm"))
    assert (mapped.entity_type, mapped.event_type, mapped.confidence) == ("organization", "contact.seen", 0.9)
    assert (mapped.retracted, mapped.effective_at) == (True, "2024-01-02")
    assert [(problem.path, problem.code) for problem in mapped.problems] == [("status", "unknown_code")]
    assert mapped.mapping_version.startswith("crm/contact@3+")


def test_a_mapping_extends_another_and_drops_from_it(folder: Path) -> None:
    child = "version: 1\nextends: crm/contact\nfields:\n  nick: null\n  origin: {const: copy}\n"
    write(folder, "inbound/other/contact.yaml", child)
    facts = facts_of(load_mappings(folder), {"nick": "Il", "status": "b"}, "other")
    assert "nick" not in facts
    assert facts["origin"] == "copy"
    assert facts["status"] == "booked"


def test_a_system_falls_back_to_the_one_it_extends(folder: Path) -> None:
    write(folder, "inbound/other/system.yaml", "extends: crm\n")
    mappings = load_mappings(folder)
    assert mappings.inbound("other", "contact") is mappings.inbound("crm", "contact")
    assert mappings.inbound("other", "deal") is None


def test_the_version_follows_the_content_and_all_it_rests_on(folder: Path) -> None:
    write(folder, "inbound/other/contact.yaml", "version: 1\nextends: crm/contact\n")
    first = version_of(folder, "other")
    write(folder, "inbound/other/contact.yaml", "# only a remark\nversion: 1\nextends: crm/contact\n")
    assert version_of(folder, "other") == first
    write(folder, "vocab/states.yaml", VOCABULARY + "default: booked\n")
    second = version_of(folder, "other")
    write(folder, "inbound/crm/contact.yaml", CONTACT.replace("const: crm", "const: x"))
    third = version_of(folder, "other")
    assert len({first, second, third}) == 3
    write(folder, "vocab/unused.yaml", "codes: {a: b}\n")
    assert version_of(folder, "other") == third


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("version: 1\nentity_type: x\nfields:\n  a: {path: b, tranform: c}\n", "4: fields.a.tranform", "unknown key"),
        (
            "version: 1\nentity_type: x\nfields:\n  a: {path: b, transform: c}\n",
            "4: fields.a.transform",
            "no transform",
        ),
        ("version: 1\nentity_type: x\nfields:\n  a:\n    path: b..c\n", "5: fields.a.path", "not a dot-path"),
        ("version: 1\nentity_type: x\nfields:\n  a: {path: b, const: c}\n", "4: fields.a", "exactly one of"),
        ("version: 1\nentity_type: x\nfields:\n  a: {transform: text}\n", "4: fields.a", "exactly one of"),
        ("version: 1\nentity_type: x\nfields:\n  a: {path: b, lookup: c}\n", "4: fields.a.lookup", "no vocabulary"),
        ("version: 1\nentity_type: x\nfields:\n  a: {path: b, else: keep}\n", "4: fields.a.else", "lookup"),
        ("version: 1\nentity_type: x\nfields:\n  a: b\n  a: c\n", "5: fields.a", "twice"),
        ("version: 1\nentity_type: x\nconfidence: 2\n", "3: confidence", ""),
        ("version: 1\nentity_type: x\neffective_at: [b]\nfields: {a: b}\n", "3: effective_at[0]", "no field"),
        ("version: 1\nentity_type: x\nretracted: {path: a}\n", "3: retracted", "a condition"),
        ("version: one\nentity_type: x\n", "1: version", "integer"),
        ("entity_type: x\n", "1: (file)", "version"),
        ("version: 1\n", "1: (file)", "entity_type"),
        ("version: 1\nextends: crm/nobody\n", "2: extends", "no inbound mapping"),
        ("version: 1\nextends: crm/bad\n", "2: extends", "circle"),
        ("version: 1\nentity_type: {\n", "3: (file)", "not YAML"),
        ("version: 1\nentity_type: &a x\nevent: *a\n", "3: event", "anchors"),
        ("", "1: (file)", "keys and values"),
        ("- a\n", "1: (file)", "keys and values"),
    ],
)
def test_a_fault_names_file_line_and_key(folder: Path, text: str, where: str, message: str) -> None:
    write(folder, "inbound/crm/bad.yaml", text)
    with pytest.raises(Misconfigured) as caught:
        load_mappings(folder)
    assert caught.value.where == f"inbound/crm/bad.yaml:{where}"
    assert message in caught.value.message


def test_a_fault_in_a_vocabulary_is_named_too(folder: Path) -> None:
    write(folder, "vocab/states.yaml", "codes:\n  b: [x]\n")
    with pytest.raises(Misconfigured) as caught:
        load_mappings(folder)
    assert caught.value.where == "vocab/states.yaml:2: codes.b"


def test_systems_that_extend_each_other_are_refused(folder: Path) -> None:
    write(folder, "inbound/one/system.yaml", "extends: two\n")
    write(folder, "inbound/two/system.yaml", "extends: one\n")
    with pytest.raises(Misconfigured, match="circle"):
        load_mappings(folder)
