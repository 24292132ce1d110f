"""The invented population: the same for the same seed, R4 by an independent reading, and as varied as a clinic's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import date
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from connector_runner.sandbox.demographics import Person, patient, people
from connector_runner.sandbox.fhir_json import dumps
from connector_runner.sandbox.life import Life
from connector_runner.sandbox.people import population, stream
from connector_runner.sandbox.store import Store

DAY = date(2026, 3, 1)


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    return [json.loads(dumps(resource)) for resource in population(7, 60, DAY)]


@pytest.fixture(scope="module")
def crowd() -> list[Person]:
    return list(islice(people(7, DAY), 20_000))


def of(resources: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [resource for resource in resources if resource["resourceType"] == kind]


def r4(resource: dict[str, Any]) -> None:
    """Read by fhirclient's models, which raise for what is not R4."""
    kind = resource["resourceType"]
    model = getattr(import_module(f"fhirclient.models.{kind.lower()}"), kind)
    model(resource, strict=True)


def test_population_has_the_size_and_kinds_of_a_small_clinic(resources: list[dict[str, Any]]) -> None:
    counts = Counter(resource["resourceType"] for resource in resources)
    assert counts["Patient"] == 60
    assert 1500 <= len(resources) <= 2500
    assert set(counts) == {
        "Organization",
        "Location",
        "Practitioner",
        "Patient",
        "Appointment",
        "Encounter",
        "Condition",
        "Observation",
        "MedicationRequest",
        "AllergyIntolerance",
        "Immunization",
        "Procedure",
        "DiagnosticReport",
        "Coverage",
    }
    assert len({resource["id"] for resource in resources}) == len(resources)


def test_every_resource_is_r4(resources: list[dict[str, Any]]) -> None:
    assert resources
    for resource in resources:
        r4(resource)


def test_what_life_writes_is_r4() -> None:
    store = Store()
    for resource in population(3, 20, DAY):
        store.put(resource["resourceType"], resource["id"], resource, "PUT")
    store.commit()
    start = store.last_seq
    assert len(Life(store, 3).change(150)) == 150
    written = [version for version in store.log[start:] if version.raw]
    for version in written:
        r4(json.loads(version.raw or b""))


def test_references_lead_to_resources_that_came_before(resources: list[dict[str, Any]]) -> None:
    known: set[str] = set()

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "reference" in value:
                assert value["reference"] in known
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    for resource in resources:
        known.add(f"{resource['resourceType']}/{resource['id']}")
        check(resource)


def test_the_same_seed_gives_the_same_people_and_another_gives_others() -> None:
    once = [dumps(resource) for resource in population(5, 8, DAY)]
    assert once == [dumps(resource) for resource in population(5, 8, DAY)]
    other = [resource["id"] for resource in population(6, 8, DAY)]
    assert not set(other) & {json.loads(line)["id"] for line in once}


def test_provider_identifiers_pass_their_check_digit(resources: list[dict[str, Any]]) -> None:
    for doctor in of(resources, "Practitioner"):
        number = doctor["identifier"][0]["value"]
        assert len(number) == 10
        doubled = [int(d) * (2 if place % 2 else 1) for place, d in enumerate(reversed("80840" + number))]
        assert sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def test_households_hold_what_makes_matching_hard(resources: list[dict[str, Any]]) -> None:
    patients = of(resources, "Patient")
    homes = Counter((p["address"][0]["line"][0], p["name"][0]["family"]) for p in patients)
    assert max(homes.values()) >= 3
    twins = Counter((p["birthDate"], p["name"][0]["family"]) for p in patients if p.get("multipleBirthInteger"))
    assert 2 in twins.values()
    juniors = [p["name"][0] for p in patients if p["name"][0].get("suffix") == ["Jr."]]
    seniors = [p["name"][0] for p in patients if p["name"][0].get("suffix") == ["Sr."]]
    assert any(j["family"] == s["family"] and j["given"] == s["given"] for j in juniors for s in seniors)
    starts = [appointment["start"][:10] for appointment in of(resources, "Appointment")]
    assert min(starts) < DAY.isoformat() < max(starts)


def test_stream_has_patients_first_and_any_length() -> None:
    lines = [json.loads(dumps(resource)) for resource in stream(2000, 1)]
    kinds = [line["resourceType"] for line in lines]
    assert len(lines) == 2000
    assert len({(line["resourceType"], line["id"]) for line in lines}) == 2000
    patients = kinds.count("Patient")
    assert patients == 44
    assert kinds[:patients] == ["Patient"] * patients
    for line in lines:
        r4(line)
    assert [sum(1 for _ in stream(count, 1)) for count in (1, 10, 44, 100)] == [1, 10, 44, 100]


def test_stream_command_writes_a_file_for_each_type(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "connector_runner.sandbox.people", "--resources", "3000", "--seed", "2"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, timeout=60)
    files = {path.stem: path.read_bytes().splitlines() for path in tmp_path.iterdir()}
    assert sum(map(len, files.values())) == 3000
    assert all(json.loads(lines[0])["resourceType"] == kind for kind, lines in files.items())
    whole = subprocess.run([*command, "--out", "-"], check=True, timeout=60, stdout=subprocess.PIPE).stdout
    assert sorted(whole.splitlines()) == sorted(line for lines in files.values() for line in lines)
    assert 900 < len(whole) / 3000 < 1300


def test_names_have_a_long_tail(crowd: list[Person]) -> None:
    for names, kinds, commonest in (
        (Counter(person.family for person in crowd), 2_500, 0.01),
        (Counter(person.given[0] for person in crowd if person.gender == "female"), 600, 0.02),
        (Counter(person.given[0] for person in crowd if person.gender == "male"), 600, 0.02),
    ):
        assert len(names) > kinds
        assert commonest / 2 < max(names.values()) / names.total() < commonest * 2
    single = {name for person in crowd for name in [person.family] if "-" not in name}
    assert len({person.family for person in crowd} - single) > 300


def test_nobody_in_a_household_goes_by_the_name_of_another_but_a_junior(crowd: list[Person]) -> None:
    called = Counter((person.subscriber, person.given[0]) for person in crowd)
    assert max(called.values()) == 1


def test_numbers_are_nobodys_and_hardly_two_homes_have_the_same(crowd: list[Person]) -> None:
    homes = {person.home for person in crowd}
    for number in [home.phone for home in homes] + [person.mobile for person in crowd]:
        assert re.fullmatch(r"(555|[2-9]9\d)[2-9](?!11)\d\d\d{4}", number)
    assert len({home.phone[-7:] for home in homes}) > 0.99 * len(homes)
    assert len({home.address for home in homes}) > 0.999 * len(homes)
    assert len({home.address.line.split()[0] for home in homes}) > 1_000
    assert len({home.address.postal_code for home in homes}) > 1_000
    assert len({home.address.state for home in homes}) > 10


def test_mailboxes_are_at_hosts_reserved_for_examples_and_hardly_shared(crowd: list[Person]) -> None:
    boxes = [person.email for person in crowd if person.email]
    for box in boxes:
        assert re.fullmatch(r"[a-z][a-z0-9.-]*@([a-z]+\.)?(example\.(com|net|org)|example)", box)
    assert len(set(boxes)) > 0.999 * len(boxes)


def test_social_security_numbers_were_never_issued_and_come_again_only_after_fifty_million(
    crowd: list[Person],
) -> None:
    def number(place: int) -> str:
        found = patient(replace(crowd[0], number=place), "clinic", "doctor")["identifier"]
        return str(next(one["value"] for one in found if one["system"].endswith("us-ssn")))

    # Steps of one length around a circle: none is met twice before the first is.
    step = 50_000_000 // 20_000
    some = [number(place) for place in (*range(5_000), *range(5_000, 50_000_000, step))]
    assert len(set(some)) == len(some)
    for one in some:
        assert re.fullmatch(r"9\d\d-(0[1-9]|[1-4]\d|6[6-9]|89)-(?!0000)\d{4}", one)
    again = 100 * 54 * 9_999
    assert again > 50_000_000
    assert number(again) == number(0)
    assert all(number(again // prime) != number(0) for prime in (2, 3, 5, 11, 101))
