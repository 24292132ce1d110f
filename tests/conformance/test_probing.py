"""What every adapter must do when it is probed: choose a way of reading that works, and by it everything is read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connector_runner.connectors.fhir.strategies.choosing import LISTING
from connector_runner.connectors.probing.findings import STRATEGY, Known, Probed, measured_of
from tests.conformance.clinic import Clinic, read_all
from tests.conformance.conftest import Say

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_is_measured_is_what_is_read_by(clinic: Clinic, say: Say) -> None:
    if not clinic.adapter.reads:
        pytest.skip("the adapter is not read from")
    source = clinic.source()
    assert isinstance(source, Probed)
    findings = source.probe(clinic.adapter.reads)
    chosen = {one.resource_type: one.measured for one in findings if one.capability == STRATEGY}
    assert chosen.keys() == set(clinic.adapter.reads)
    known = [Known(one.resource_type, one.capability, one.declared, one.measured, one.evidence, AT) for one in findings]
    clinic.measured = measured_of(known)
    for resource_type in clinic.adapter.reads:
        pages = list(clinic.source().pages(resource_type, {}, full=True))
        if chosen[resource_type] in LISTING:
            assert {page.strategy for page in pages} == {chosen[resource_type]}, resource_type
        found, _ = read_all(clinic.source(), resource_type)
        assert found.keys() == clinic.shown(resource_type).keys()
    note = ", ".join(f"{name} {way}" for name, way in chosen.items())
    say(clinic, "is probed and read as measured", note=note)
