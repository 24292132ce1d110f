"""How often a record type is polled, as settings say it."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.connectors.fhir_store.settings import FhirStoreSettings
from connector_runner.connectors.settings import ResourceSettings, parse
from connector_runner.kernel.errors import Misconfigured


def test_a_cadence_is_fixed_or_adapts() -> None:
    assert ResourceSettings().cadences_s == (60, 60)
    assert ResourceSettings(cadence_s=30).next_cadence_s(17, 0) == 30
    adapting = parse(ResourceSettings, {"cadence": {"min_s": 10, "max_s": 80}})
    assert adapting.cadences_s == (10, 80)
    assert [adapting.next_cadence_s(20, changes) for changes in (0, 3)] == [40, 10]


def test_a_reference_type_is_polled_once_in_its_time_to_live() -> None:
    assert ResourceSettings(reference=True).cadences_s == (86400, 86400)
    assert ResourceSettings(reference=True, ttl_s=3600).cadences_s == (3600, 3600)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"cadence_s": 30, "cadence": {"min_s": 1, "max_s": 2}}, "give one of them"),
        ({"reference": True, "cadence_s": 30}, "leave out cadence_s"),
        ({"ttl_s": 30}, "reference: true"),
        ({"full_every": 0}, "greater than or equal to 1"),
    ],
)
def test_what_contradicts_itself_is_refused(resource: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        parse(ResourceSettings, resource)


def test_a_shared_rate_needs_a_sink() -> None:
    document = {"base_url": "https://ehr.example/fhir", "rate": {"shared": True}}
    with pytest.raises(Misconfigured, match="no sink to share with"):
        parse(FhirStoreSettings, document)
    shared = parse(FhirStoreSettings, document | {"sink": {"entity_types": ["patient"]}})
    assert shared.rate.shared


def test_hours_of_a_rate_are_kept_as_they_were_written() -> None:
    hours = {"days": ["mon"], "from": "07:00", "to": "19:00", "per_second": 0.5}
    document = {"base_url": "https://ehr.example/fhir", "rate": {"zone": "America/Chicago", "hours": [hours]}}
    settings = parse(FhirStoreSettings, document)
    kept = settings.model_dump_json(exclude_unset=True)
    assert FhirStoreSettings.model_validate_json(kept) == settings
