"""The clinics, insurers, rooms and doctors of the invented population."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .addresses import house, phone_digits, phone_text
from .demographics import new_id
from .fhir_json import Json
from .names import family_name, given_names

NPI_SYSTEM = "http://hl7.org/fhir/sid/us-npi"
_CLINICS = ("Riverbend Family Medicine", "Harborside Internal Medicine", "Northgate Pediatrics")
_PAYERS = ("Granite State Health Plan", "Bay Colony Mutual")


@dataclass(frozen=True, slots=True)
class Places:
    """Ids to refer to, and the resources themselves."""

    clinics: tuple[str, ...]
    payers: tuple[tuple[str, str], ...]
    locations: tuple[tuple[str, str], ...]
    practitioners: tuple[tuple[str, str], ...]
    resources: tuple[Json, ...]


def npi(rng: random.Random) -> str:
    """A National Provider Identifier: ten digits, the last one a Luhn check over them after 80840."""
    digits = f"1{rng.randrange(10**8):08d}"
    total = 0
    for place, digit in enumerate(reversed("80840" + digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return digits + str(-total % 10)


def places(seed: int) -> Places:
    """The same for the same ``seed``."""
    rng = random.Random(f"{seed}:places")
    system = _organization(rng, "Sandbox Valley Health", "prov", "Healthcare Provider", None)
    clinics = [_organization(rng, name, "prov", "Healthcare Provider", system["id"]) for name in _CLINICS]
    payers = [_organization(rng, name, "ins", "Insurance Company", None) for name in _PAYERS]
    rooms = [_location(rng, clinic) for clinic in clinics]
    doctors = [_practitioner(rng) for _ in range(9)]
    return Places(
        tuple(clinic["id"] for clinic in clinics),
        tuple((payer["id"], payer["name"]) for payer in payers),
        tuple((room["id"], room["name"]) for room in rooms),
        tuple(
            (doctor["id"], f"Dr. {doctor['name'][0]['given'][0]} {doctor['name'][0]['family']}") for doctor in doctors
        ),
        (system, *clinics, *payers, *rooms, *doctors),
    )


def _contact(rng: random.Random) -> tuple[list[Json], Json]:
    telecom = {"system": "phone", "value": phone_text(rng, phone_digits(rng)), "use": "work"}
    return [telecom], house(rng).resource()


def _organization(rng: random.Random, name: str, code: str, display: str, parent: str | None) -> Json:
    telecom, address = _contact(rng)
    kind = {"system": "http://terminology.hl7.org/CodeSystem/organization-type", "code": code, "display": display}
    resource: Json = {
        "resourceType": "Organization",
        "id": new_id(rng),
        "identifier": [{"system": NPI_SYSTEM, "value": npi(rng)}],
        "active": True,
        "type": [{"coding": [kind], "text": display}],
        "name": name,
        "telecom": telecom,
        "address": [address],
    }
    if parent:
        resource["partOf"] = {"reference": f"Organization/{parent}"}
    return resource


def _location(rng: random.Random, clinic: Json) -> Json:
    return {
        "resourceType": "Location",
        "id": new_id(rng),
        "identifier": [{"system": "https://ehr.sandbox.example/location", "value": f"LOC{rng.randrange(1000)}"}],
        "status": "active",
        "name": f"{clinic['name']}, main floor",
        "mode": "instance",
        "telecom": clinic["telecom"],
        "address": clinic["address"][0],
        "managingOrganization": {"reference": f"Organization/{clinic['id']}", "display": clinic["name"]},
    }


def _practitioner(rng: random.Random) -> Json:
    gender = rng.choice(("female", "male"))
    given, family = given_names(rng, gender)[0], family_name(rng)
    telecom, address = _contact(rng)
    degree = {
        "system": "http://terminology.hl7.org/CodeSystem/v2-0360|2.7",
        "code": "MD",
        "display": "Doctor of Medicine",
    }
    return {
        "resourceType": "Practitioner",
        "id": new_id(rng),
        "identifier": [{"system": NPI_SYSTEM, "value": npi(rng)}],
        "active": True,
        "name": [{"use": "official", "family": family, "given": [given], "prefix": ["Dr."]}],
        "telecom": telecom,
        "address": [address],
        "gender": gender,
        "qualification": [{"code": {"coding": [degree], "text": "MD"}}],
    }
