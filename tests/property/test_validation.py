"""What our own mappings render is valid; what fhirclient's models refuse is refused; nothing makes a check fail."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.outbound.validation import SYNTACTIC, Rules, check
from connector_runner.sandbox.fhir_json import dumps
from connector_runner.sandbox.people import population
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext, OutboundContext
from tests.property.test_unification import FIXTURES, spoiled

MAPPINGS = load_mappings(Path(__file__).parents[2] / "mappings")
NOW = datetime(2026, 3, 4, tzinfo=UTC)
CODE = re.compile(r"[a-z][a-z0-9_-]*")
PATH = re.compile(r"(_?[A-Za-z]+(\[(x|\d+)\])?(\.|$))*")


@cache
def people(seed: int) -> list[dict[str, Any]]:
    return [exact_json.loads(dumps(resource)) for resource in population(seed, 6, date(2026, 3, 1))]


def rendered(resource: dict[str, Any]) -> dict[str, Any]:
    """A record through the inbound mapping and back out."""
    mapping = MAPPINGS.inbound("fhir_r4", resource["resourceType"])
    assert mapping is not None
    mapped = mapping.map(resource, MappingContext("ehr"))
    outbound = MAPPINGS.outbound("fhir_r4", mapped.entity_type)
    assert outbound is not None
    context = OutboundContext(lambda canonical: "/".join(canonical.split(":")[1:]))
    return outbound.render(mapped.facts, context)


def problems(body: dict[str, Any]) -> tuple[Any, ...]:
    return check(body, before=None, now=NOW)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_what_our_mappings_render_of_any_population_is_valid(seed: int) -> None:
    for resource in people(seed):
        assert problems(resource) == (), resource["resourceType"]
        assert problems(rendered(resource)) == (), resource["resourceType"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_rendered_change_is_judged_by_what_changes(data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(people(7)))
    assert check(before, before=before, now=NOW) == ()
    body = spoiled(data.draw, before)
    assume(isinstance(body, dict) and body.get("id") == before["id"])
    alone = set(problems(body))
    beside = set(check(body, before=before, now=NOW))
    assert {p for p in beside if p.code != "status_transition"} <= alone or body["resourceType"] != before[
        "resourceType"
    ]


def accepts(body: dict[str, Any]) -> bool:
    """Whether fhirclient's own model takes it; it knows no exact decimals."""
    plain = json.loads(json.dumps(body, default=float))
    model = getattr(import_module(f"fhirclient.models.{plain['resourceType'].lower()}"), plain["resourceType"])
    try:
        model(plain, strict=True)
    except Exception:
        return False
    return True


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_what_fhirclient_refuses_is_refused(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(sorted(FIXTURES)))
    body = spoiled(data.draw, FIXTURES[record])
    assume(isinstance(body, dict) and body.get("resourceType") == FIXTURES[record]["resourceType"])
    if not accepts(body):
        assert [problem for problem in problems(body) if problem.layer == SYNTACTIC]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_json_is_judged_without_an_error_and_without_being_quoted(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(sorted(FIXTURES)))
    body = spoiled(data.draw, FIXTURES[record])
    assume(isinstance(body, dict))
    rules = Rules(written=frozenset({"name"}), client_ref="ref-1")
    for before in (None, FIXTURES[record]):
        for problem in check(body, before=before, now=NOW, rules=rules):
            assert PATH.fullmatch(problem.path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_mappings_render_of_spoiled_records_is_judged_too(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(sorted(FIXTURES)))
    body = spoiled(data.draw, FIXTURES[record])
    assume(isinstance(body, dict) and body.get("resourceType") == FIXTURES[record]["resourceType"])
    try:
        mapped = MAPPINGS.inbound("fhir_r4", body["resourceType"]).map(body, MappingContext("ehr"))  # type: ignore[union-attr]
    except BadRecord:
        return
    outbound = MAPPINGS.outbound("fhir_r4", mapped.entity_type)
    if outbound is not None:
        try:
            found = problems(outbound.render(mapped.facts, OutboundContext(lambda canonical: None)))
        except (BadRecord, NotYet):
            return
        for problem in found:
            assert PATH.fullmatch(problem.path)
            assert CODE.fullmatch(problem.code)
        assert len({problem.layer for problem in found}) <= 1, "of the first layer alone"
        assert len(set(found)) == len(found)
