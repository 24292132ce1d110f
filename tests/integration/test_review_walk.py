"""Seeded walks through all that may happen to what was said in doubt; longer ones, and more, find what these do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector_runner.infra.database import Database
from tests.integration.review_walk import Walk


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_what_counts_in_doubt_is_before_a_person_once(
    database: Database, new_workspace: Callable[[], str], seed: int
) -> None:
    Walk(database, new_workspace(), seed).go(60)
