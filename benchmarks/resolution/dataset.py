"""Records with known truth: read as the product maps them, and who is who."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from connector_runner.resolution.identity import Identity, Kind, identity_of
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.unification.model import MappingContext

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    ("ehr_patients.ndjson", "ehr", "fhir_r4"),
    ("ehr_practitioners.ndjson", "ehr", "fhir_r4"),
    ("crm_contacts.ndjson", "crm", "hubspot"),
)
SYSTEMS = {source: system for _, source, system in FILES}


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


@cache
def _mappings() -> MappingSet:
    return load_mappings(ROOT / "mappings")


def mapped(source: str, resource: dict[str, Any], kind: Kind = "patient") -> Identity | None:
    """What identifies the person of a resource as the product maps it; None where it is of another kind."""
    record_type = resource.get("resourceType", "contact")
    mapping = _mappings().inbound(SYSTEMS[source], record_type)
    assert mapping is not None
    found = mapping.map(resource, MappingContext(source))
    canonical = f"{source}:{record_type}:{resource['id']}"
    return identity_of(canonical, kind, found.facts) if found.entity_type == kind else None


def read(folder: Path, kind: Kind) -> Dataset:
    """The final records of a kind in a folder of the benchmark."""
    found = (mapped(source, json.loads(line), kind) for name, source, _ in FILES for line in (folder / name).open())
    records = {person.record: person for person in found if person}
    with (folder / "truth.csv").open() as rows:
        people = {_canonical(row["record_id"]): row["person_id"] for row in csv.DictReader(rows) if row["kind"] == kind}
    with (folder / "relations.csv").open() as rows:
        relations = {frozenset((row["person_a"], row["person_b"])): row["relation"] for row in csv.DictReader(rows)}
    return Dataset(records, people, relations)


def _canonical(record_id: str) -> str:
    return record_id.replace("/", ":", 1)
