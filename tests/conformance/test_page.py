"""The page of compatibility says what the conformance runs found, all of it, and nothing else."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.conformance import matrix
from tests.conformance.adapters import ADAPTERS
from tests.conformance.verdicts import Verdict

HERE = Path(__file__).parent
STALE = f"docs/compatibility.md is not as the runs are: {matrix.COMMAND}"


def test_the_page_is_made_of_what_was_found() -> None:
    assert matrix.PAGE.read_text("utf-8") == matrix.page(matrix.kept()), STALE


def test_every_adapter_was_run() -> None:
    assert {one.adapter for one in matrix.kept()} == {adapter.name for adapter in ADAPTERS}, STALE


def test_each_verdict_names_a_test_that_is_there() -> None:
    for one in matrix.kept():
        name, _, test = one.test.partition("::")
        assert re.search(rf"^def {test}\(", (HERE / name).read_text("utf-8"), re.MULTILINE), (one.test, STALE)


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("test_*.py")))
def test_each_quirk_that_is_tested_is_on_the_page(name: str) -> None:
    quirks = getattr(importlib.import_module(f"tests.conformance.{name}"), "QUIRKS", ())
    found = {one.capability for one in matrix.kept() if one.test.startswith(f"{name}.py::test_the_quirk_is_handled")}
    assert found == {quirk.name.replace("_", " ") for quirk in quirks}, STALE


def test_a_cell_that_nothing_was_seen_of_is_unknown() -> None:
    one = Verdict("epic", "reads everything", "yes", "test_reading.py::test_every_record_is_read_once")
    wrote = Verdict("epic", "creates", "yes", "test_writing.py::test_a_create_lands_once")
    made = matrix.page([one, wrote])
    rows = {line.split(" (")[0]: line for line in made.splitlines() if line.startswith("| ")}
    names = sorted((adapter.name for adapter in ADAPTERS), key=matrix._title)
    cells = [cell.strip() for cell in rows["| reads everything"].strip("|").split("|")][1:]
    said = dict(zip(names, cells, strict=True))
    assert said["epic"] == "yes"
    assert said["fhir_store"] == "unknown"
    assert said["rest_api"] == "not offered"
