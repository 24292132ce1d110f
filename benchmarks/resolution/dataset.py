"""Records with known truth: read as the product maps them, and who is who."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from connector_runner.resolution.identity import Identity, Kind, identity_of
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    ("ehr_patients.ndjson", "ehr", "fhir_r4"),
    ("ehr_practitioners.ndjson", "ehr", "fhir_r4"),
    ("crm_contacts.ndjson", "crm", "hubspot"),
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """``people``: record -> person. ``relations``: two people -> what they are to one another."""

    records: dict[str, Identity]
    people: dict[str, str]
    relations: dict[frozenset[str], str]

    def same(self) -> Iterator[tuple[str, str]]:
        """Every pair of records of one person."""
        found: dict[str, list[str]] = defaultdict(list)
        for record in sorted(self.records):
            found[self.people[record]].append(record)
        for members in found.values():
            yield from combinations(members, 2)


def read(folder: Path, kind: Kind) -> Dataset:
    """The final records of a kind in a folder of the benchmark."""
    mappings = load_mappings(ROOT / "mappings")
    records: dict[str, Identity] = {}
    for name, source, system in FILES:
        for line in (folder / name).open(encoding="utf-8"):
            resource = json.loads(line)
            record_type = resource.get("resourceType", "contact")
            mapping = mappings.inbound(system, record_type)
            assert mapping is not None
            mapped = mapping.map(resource, MappingContext(source))
            if mapped.entity_type == kind:
                canonical = f"{source}:{record_type}:{resource['id']}"
                records[canonical] = identity_of(canonical, kind, mapped.facts)
    with (folder / "truth.csv").open() as rows:
        people = {_canonical(row["record_id"]): row["person_id"] for row in csv.DictReader(rows) if row["kind"] == kind}
    with (folder / "relations.csv").open() as rows:
        relations = {frozenset((row["person_a"], row["person_b"])): row["relation"] for row in csv.DictReader(rows)}
    return Dataset(records, people, relations)


def _canonical(record_id: str) -> str:
    return record_id.replace("/", ":", 1)
