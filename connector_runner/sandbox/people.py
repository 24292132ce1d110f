"""The invented population, of the shape that Synthea gives: for a simulated system, or as NDJSON of any size."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

from .clinical import Chart
from .demographics import Person, patient, people
from .fhir_json import Json, dumps
from .places import Places, places

_FIXED_DAY = date(2026, 1, 1)
_PER_PATIENT = 45


def population(seed: int, patients: int, today: date | None = None) -> Iterator[Json]:
    """All resources, each after those that it refers to; the same for the same seed and day."""
    day = today or datetime.now(UTC).date()
    around = places(seed)
    yield from around.resources
    persons = list(itertools.islice(people(seed, day), patients))
    for person in persons:
        yield _patient(person, around)
    known = {person.id for person in persons}
    for person in persons:
        for resource in Chart(seed, person, around, day).everything():
            if resource["resourceType"] == "Coverage" and person.subscriber not in known:
                resource["subscriber"] = resource["beneficiary"]
            yield resource


def stream(count: int, seed: int, today: date = _FIXED_DAY) -> Iterator[Json]:
    """``count`` resources, patients first, about forty-five a patient; never holds them all in memory."""
    around = places(seed)
    patients = max(1, count // _PER_PATIENT)
    yield from (_patient(person, around) for person in itertools.islice(people(seed, today), min(patients, count)))
    yield from itertools.islice(around.resources, max(0, count - patients))
    left = max(0, count - patients - len(around.resources))
    for place, person in enumerate(itertools.islice(people(seed, today), patients)):
        share = left * (place + 1) // patients - left * place // patients
        yield from itertools.islice(Chart(seed, person, around, today).without_end(), share)


def _patient(person: Person, around: Places) -> Json:
    clinic = around.clinics[person.number % len(around.clinics)]
    return patient(person, clinic, around.practitioners[person.number % len(around.practitioners)][0])


def write(resources: Iterator[Json], out: str) -> None:
    """NDJSON to a file per type in the folder ``out``, or all to standard output when it is ``-``."""
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for resource in resources:
            kind = resource["resourceType"]
            file = sys.stdout.buffer if out == "-" else files.get(kind)
            if file is None:
                folder = Path(out)
                folder.mkdir(parents=True, exist_ok=True)
                file = files[kind] = stack.enter_context(open(folder / f"{kind}.ndjson", "wb"))
            file.write(dumps(resource) + b"\n")
    sys.stdout.buffer.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command ``python -m connector_runner.sandbox.people``."""
    parser = argparse.ArgumentParser(prog="python -m connector_runner.sandbox.people", description=__doc__)
    parser.add_argument("--resources", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="a folder, or - for standard output")
    chosen = parser.parse_args(arguments)
    write(stream(chosen.resources, chosen.seed), chosen.out)


if __name__ == "__main__":
    main()
