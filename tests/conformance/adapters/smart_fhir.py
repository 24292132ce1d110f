"""A FHIR server that speaks SMART: as a FHIR store, by tokens of SMART Backend Services."""

from __future__ import annotations

from tests.conformance.adapters import fhir_store
from tests.conformance.clinic import Adapter

ADAPTER = Adapter(
    name="smart_fhir",
    source_type="smart_fhir",
    auth="smart",
    settings=fhir_store.ADAPTER.settings,
    reads=fhir_store.ADAPTER.reads,
    writes=fhir_store.ADAPTER.writes,
    own_ids=fhir_store.ADAPTER.own_ids,
)
