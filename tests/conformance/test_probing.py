"""What every adapter must do when it is probed: choose a way of reading that works, and by it everything is read."""

from __future__ import annotations

from datetime import UTC, datetime

from connector_runner.connectors.fhir.strategies.choosing import LISTING
from connector_runner.connectors.probing.findings import STRATEGY, Known, Probed, measured_of
from tests.conformance.clinic import Clinic, read_all
from tests.conformance.conftest import Say

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_is_measured_is_what_is_read_by(reading: Clinic, say: Say) -> None:
    note = ", ".join(f"{name} {way}" for name, way in read_as_measured(reading).items())
    say(reading, "is probed and read as measured", note=note)


def test_it_is_so_where_the_first_patient_has_no_records(reading: Clinic) -> None:
    reading.put({**reading.records("Patient")[0], "id": "0"})
    read_as_measured(reading)


def read_as_measured(clinic: Clinic) -> dict[str, str | None]:
    """Probe, then read everything by what was chosen for each type: those choices."""
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
    return chosen
