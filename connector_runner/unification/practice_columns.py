"""Records of practices whose API has bare numbers for ids: athenahealth's v1 rows beside its FHIR resources.

The same patient is ``2`` there and ``a-195900.E-2`` here; department and provider likewise (ids as recorded from the
vendor's public sandbox in fastenhealth/fasten-sources, and as metriport/metriport builds them).
"""

from __future__ import annotations

import re
from typing import Any, Final

from connector_runner.unification.datatypes import Fact
from connector_runner.unification.references import relative_id
from connector_runner.unification.run import Run, Transform

_NUMBER: Final = re.compile(r"\d{1,18}")


def of_practice(kind: str, letter: str) -> Transform:
    """Of [number of the practice, number of the record]: a reference to the resource ``kind`` with that number."""

    def transform(value: Any, path: str, run: Run) -> Fact | None:
        practice, number = (None if part is None else str(part).strip() for part in value)
        if not number:
            return None
        if not practice or not _NUMBER.fullmatch(practice) or not _NUMBER.fullmatch(number):
            run.problem(path, "bad_reference", "neither the practice nor the record has a number")
            return None
        canonical = relative_id(run.source, f"{kind}/a-{practice}.{letter}-{number}")
        return None if canonical is None else {"ref": canonical}

    return transform


INBOUND: Final[dict[str, Transform]] = {
    "practice_patient": of_practice("Patient", "E"),
    "practice_provider": of_practice("Practitioner", "Provider"),
    "practice_department": of_practice("Location", "Department"),
}
