"""The mappings as they ship, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector_runner.unification.loader import MappingSet, load_mappings

ROOT = Path(__file__).parents[2] / "mappings"


@pytest.fixture(scope="session")
def shipped() -> MappingSet:
    return load_mappings(ROOT)
