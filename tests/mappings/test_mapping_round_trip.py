"""What is written out and read back says the same."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from connector_runner.kernel import exact_json
from connector_runner.unification.loader import MappingSet, load_mappings, record_name
from connector_runner.unification.model import MappingContext, OutboundContext

HERE = Path(__file__).parent
OUTBOUND = load_mappings(HERE.parents[1] / "mappings").outbound_types()
SAME_SINK = OutboundContext(resolve=lambda canonical: unquote("/".join(canonical.split(":")[1:])))
NOT_WRITTEN = {"link"}
"""Which of its records a system put in place of which others is no matter of another system's records."""


@pytest.mark.parametrize(("system", "entity_type"), OUTBOUND)
def test_state_survives_the_way_out_and_back(shipped: MappingSet, system: str, entity_type: str) -> None:
    outbound = shipped.outbound(system, entity_type)
    assert outbound is not None
    record = record_name(outbound.resource_type)
    inbound = shipped.inbound(system, record)
    assert inbound is not None
    resource = exact_json.loads((HERE / system / record / "input.json").read_bytes())
    resource = {name: value for name, value in resource.items() if name not in NOT_WRITTEN}
    facts = inbound.map(resource, MappingContext("clinic")).facts
    rendered = outbound.render(facts, SAME_SINK)
    assert rendered["resourceType"] == outbound.resource_type
    again = inbound.map({**rendered, "id": resource["id"]}, MappingContext("clinic"))
    assert again.problems == ()
    assert exact_json.dumps(again.facts) == exact_json.dumps(facts)


@pytest.mark.parametrize(("system", "entity_type"), OUTBOUND)
def test_every_fact_but_a_few_has_a_place_in_the_resource(shipped: MappingSet, system: str, entity_type: str) -> None:
    outbound = shipped.outbound(system, entity_type)
    assert outbound is not None
    inbound = shipped.inbound(system, outbound.resource_type)
    assert inbound is not None
    assert set(inbound.field_names) - NOT_WRITTEN <= set(outbound.fields())


def test_the_entity_types_of_the_main_flow_can_be_written(shipped: MappingSet) -> None:
    wanted = (
        "patient practitioner organization location appointment encounter insurance_plan condition observation "
        "lab_result medication_order allergy_intolerance immunization procedure"
    )
    assert [name for name in wanted.split() if shipped.outbound("fhir_r4", name) is None] == []
