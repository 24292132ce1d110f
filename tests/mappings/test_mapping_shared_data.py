"""Every resource of the shared sample data, where that is at hand, maps or is refused by name."""

from __future__ import annotations

import gzip
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import MappingContext

DATA = Path(os.environ.get("CONNECTOR_RUNNER_SAMPLE_DATA", Path(__file__).parents[3] / "shared" / "data"))
NO_RECORDS = {
    "OperationOutcome",
    "Parameters",
    "CapabilityStatement",
    "ValueSet",
    "Subscription",
    "SubscriptionStatus",
    "MessageHeader",
    "Binary",
    "Basic",
}


def resources(value: Any) -> Iterator[dict[str, Any]]:
    """Every resource in a JSON document, wherever Bundles and recordings keep them."""
    if isinstance(value, list):
        for item in value:
            yield from resources(item)
    elif isinstance(value, dict):
        if isinstance(value.get("resourceType"), str) and value["resourceType"] != "Bundle":
            yield value
        else:
            for item in value.values():
                yield from resources(item)


def sample_resources() -> Iterator[dict[str, Any]]:
    for path in sorted(DATA.rglob("*json*")):
        if not path.is_file() or path.suffix not in (".json", ".ndjson", ".gz"):
            continue
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for document in raw.splitlines() if ".ndjson" in path.name else [raw]:
            if document.strip():
                yield from resources(exact_json.loads(document))


def test_sample_data_maps_without_a_crash_and_with_few_problems(shipped: MappingSet) -> None:
    if not DATA.is_dir():
        warnings.warn(f"skipped: no sample data at {DATA}", stacklevel=1)  # a skip alone shows as a letter
        pytest.skip(f"no sample data at {DATA}")
    context = MappingContext("sample")
    mapped, problems, unmapped, refused = 0, Counter[str](), Counter[str](), Counter[str]()
    for resource in sample_resources():
        mapping = shipped.inbound("fhir_r4", resource["resourceType"])
        if mapping is None:
            unmapped[resource["resourceType"]] += 1
            continue
        try:
            result = mapping.map(resource, context)
        except BadRecord as exc:
            refused[exc.code] += 1
            continue
        mapped += 1
        assert exact_json.dumps(result.facts)
        problems.update(f"{mapping.resource_type} {problem.code}" for problem in result.problems)
    assert mapped > 10_000
    assert set(unmapped) <= NO_RECORDS, unmapped
    assert set(refused) <= {"no_id"}, refused
    assert problems.total() * 1000 <= mapped, problems
