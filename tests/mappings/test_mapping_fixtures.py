"""Every inbound mapping against a record written for it: tests/mappings/<system>/<record>/."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector_runner.kernel import exact_json
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.unification.model import Mapped, MappingContext

HERE = Path(__file__).parent
RECORDS = load_mappings(HERE.parents[1] / "mappings").inbound_records()


def mapped_fixture(mappings: MappingSet, system: str, record: str) -> Mapped:
    mapping = mappings.inbound(system, record)
    assert mapping is not None
    folder = HERE / system / record
    return mapping.map(exact_json.loads((folder / "input.json").read_bytes()), MappingContext("clinic"))


@pytest.mark.parametrize(("system", "record"), RECORDS)
def test_a_record_maps_to_what_is_expected(shipped: MappingSet, system: str, record: str) -> None:
    folder = HERE / system / record
    assert (folder / "input.json").exists(), f"the mapping {system}/{record} has no fixture in {folder}"
    expected = exact_json.loads((folder / "expected.json").read_bytes())
    mapped = mapped_fixture(shipped, system, record)
    assert exact_json.dumps(mapped.facts) == exact_json.dumps(expected["facts"])
    assert mapped.entity_type == expected["entity_type"]
    assert mapped.event_type == expected["event_type"]
    assert mapped.confidence == expected["confidence"]
    assert mapped.effective_at == expected["effective_at"]
    assert mapped.retracted is expected["retracted"]
    assert [{"path": p.path, "code": p.code} for p in mapped.problems] == expected["problems"]


@pytest.mark.parametrize(("system", "record"), RECORDS)
def test_a_fixture_uses_half_of_its_mapping(shipped: MappingSet, system: str, record: str) -> None:
    mapping = shipped.inbound(system, record)
    assert mapping is not None
    assert len(mapped_fixture(shipped, system, record).facts) * 2 >= len(mapping.field_names)


def test_every_fixture_has_a_mapping() -> None:
    folders = {(path.parents[1].name, path.parent.name) for path in HERE.glob("*/*/input.json")}
    assert folders == set(RECORDS)


def test_no_fact_keeps_a_literal_reference(shipped: MappingSet) -> None:
    for system, record in RECORDS:
        facts = exact_json.dumps(mapped_fixture(shipped, system, record).facts)
        assert '"reference":"' not in facts, f"{system}/{record}"
