"""What a credential may not see is not known to be gone."""

from __future__ import annotations

import pytest

from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.kernel.errors import Forbidden
from tests.fhir_server import FHIRServer


def source_of(server: FHIRServer) -> FHIRSource:
    return FHIRSource(server)  # type: ignore[arg-type]


@pytest.mark.parametrize("withheld", [True, False])
def test_a_list_from_which_records_are_withheld_proves_of_none_that_it_is_gone(withheld: bool) -> None:
    server = FHIRServer()
    server.withheld = withheld
    server.touch("p0")
    (page,) = source_of(server).pages("Patient", {}, full=True)
    assert (len(page.records), page.whole, page.proves) == (1, True, not withheld)


def test_a_record_that_may_be_withheld_is_not_gone() -> None:
    server = FHIRServer()
    assert source_of(server).read("Patient", "p0") is None
    server.withheld = True
    with pytest.raises(Forbidden) as caught:
        source_of(server).read("Patient", "p0")
    assert caught.value.code == "not_all_granted"
    server.touch("p0")
    assert source_of(server).read("Patient", "p0") is not None
