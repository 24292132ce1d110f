"""Whatever JSON stands anywhere in a record, mapping answers or refuses the record, and rendering too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext, OutboundContext
from connector_runner.unification.phones import DEFAULT_REGION, normalise_phone

MAPPINGS = load_mappings(Path(__file__).parents[2] / "mappings")
SYSTEMS = {
    system: {
        path.parent.name: exact_json.loads(path.read_bytes())
        for path in sorted((Path(__file__).parents[1] / "mappings" / system).glob("*/input.json"))
    }
    for system in ("fhir_r4", "crm")
}
FIXTURES = SYSTEMS["fhir_r4"]
CONTEXT = MappingContext("clinic")
# fmt: off
STRINGS = [
    "", "x", "Patient/1", "#", "#m", "urn:uuid:1", "Patient?identifier=a|b", "http://a/b",
    "2024-13-40", "1984", "\u00e9", "\uff10", "reference", "coding", "value", "system", "phone",
    "extension", "url", "period", "start",
]
NAMES = [
    "reference", "coding", "code", "value", "system", "text", "extension", "url", "period",
    "start", "family", "given", "line", "actor", "type", "identifier", "display", "language", "id",
    "resourceType", "ref", "codings", "raw", "detailed", "valueCoding",
]
# fmt: on
WORDS = st.sampled_from(STRINGS)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
)
KEYS = st.sampled_from(NAMES)
JSON = st.recursive(
    SCALARS | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The key path of everything inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in items for path in ((*here, key), *places(item, (*here, key)))]


def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with arbitrary JSON at one to three of its places."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(value)))
        target = value
        for key in way:
            target = target[key]
        target[last] = draw(JSON)
    return value


@st.composite
def spoiled_records(draw: st.DrawFn) -> tuple[str, Any]:
    record = draw(st.sampled_from(sorted(FIXTURES)))
    return record, spoiled(draw, FIXTURES[record])


@settings(max_examples=400, deadline=None)
@given(spoiled_records())
def test_a_spoiled_record_maps_or_is_refused(case: tuple[str, Any]) -> None:
    record, resource = case
    before = repr(resource)
    mapping = MAPPINGS.inbound("fhir_r4", record)
    assert mapping is not None
    try:
        mapped = mapping.map(resource, CONTEXT)
    except BadRecord:
        return
    assert repr(resource) == before
    assert not [name for name, value in mapped.facts.items() if value is None or value in ("", [], {})]
    assert all(problem.path and problem.code and problem.message for problem in mapped.problems)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FIXTURES)), JSON)
def test_anything_at_all_maps_or_is_refused(record: str, value: Any) -> None:
    mapping = MAPPINGS.inbound("fhir_r4", record)
    assert mapping is not None
    ours = isinstance(value, dict) and value.get("resourceType") == mapping.resource_type and value.get("id")
    if ours:
        assert mapping.map(value, CONTEXT).mapping_version == mapping.version
    else:
        with pytest.raises(BadRecord):
            mapping.map(value, CONTEXT)


@st.composite
def spoiled_states(draw: st.DrawFn) -> tuple[str, str, Any]:
    system, entity_type = draw(st.sampled_from(MAPPINGS.outbound_types()))
    outbound = MAPPINGS.outbound(system, entity_type)
    assert outbound is not None
    inbound = MAPPINGS.inbound(system, outbound.resource_type)
    assert inbound is not None
    record = inbound.version.split("/")[1].split("@")[0]
    return system, entity_type, spoiled(draw, inbound.map(SYSTEMS[system][record], CONTEXT).facts)


@settings(max_examples=300, deadline=None)
@given(spoiled_states())
def test_a_spoiled_state_renders_or_is_refused(case: tuple[str, str, Any]) -> None:
    system, entity_type, state = case
    outbound = MAPPINGS.outbound(system, entity_type)
    assert outbound is not None
    try:
        resource = outbound.render(state, OutboundContext(lambda canonical: "Patient/1"))
    except (BadRecord, NotYet):
        return
    assert resource["resourceType"] == outbound.resource_type


@settings(max_examples=500, deadline=None)
@given(st.from_regex(r"(\+1[ .-]?)?[ (]?[0-9]{3}[) .-]{0,2}[0-9]{3}[ .-]?[0-9]{3,5}", fullmatch=True))
def test_the_short_cut_for_north_american_numbers_agrees_with_the_full_parser(raw: str) -> None:
    try:
        number = phonenumbers.parse(raw, DEFAULT_REGION)
    except phonenumbers.NumberParseException:
        assert normalise_phone(raw) is None
        return
    full = None
    if phonenumbers.is_possible_number(number):
        full = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), number.extension or None
    assert normalise_phone(raw) == full
