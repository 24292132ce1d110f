"""How athenahealth names what it has: bare numbers in v1, ``a-{practice}.{letters}-{number}`` in FHIR. Pure.

As recorded from the vendor's public sandbox (fastenhealth/fasten-sources) and as metriport/metriport builds them.
"""

from __future__ import annotations

import re
from typing import Final

LETTERS: Final = {
    "Patient": "E",
    "Practitioner": "Provider",
    "Location": "Department",
    "Condition": "Problem",
    "Observation": "vitalamb",
    "Encounter": "encounter",
}
"""Record type -> what stands before the number where v1 and FHIR are known to number the same thing."""

_NUMBER: Final = re.compile(r"\d{1,18}")
_ID: Final = re.compile(r"a-(\d{1,18})\.([A-Za-z]+)-(\d{1,18})")


def practice_token(practice: str) -> str:
    """The practice as the value of ``ah-practice``."""
    return f"a-1.Practice-{practice}"


def department_token(practice: str, department: str) -> str:
    """A department as the value of ``ah-department``."""
    return f"a-{practice}.Department-{department}"


def fhir_id(practice: str, resource_type: str, number: object) -> str | None:
    """The FHIR id of a record that v1 calls ``number``; None for a type of which that is not known."""
    text = str(number) if isinstance(number, int | str) and not isinstance(number, bool) else ""
    letters = LETTERS.get(resource_type)
    return f"a-{practice}.{letters}-{text}" if letters and _NUMBER.fullmatch(text) else None


def number_of(practice: str, resource_type: str, record_id: str) -> str | None:
    """The reverse of ``fhir_id``: the bare number, None when the id is another's or of another kind."""
    if _NUMBER.fullmatch(record_id):
        return record_id
    found = _ID.fullmatch(record_id)
    if found is None or found[1] != practice or found[2] != LETTERS.get(resource_type):
        return None
    return found[3]
