"""Seeded walks through all that may happen to what was said in doubt; longer ones, and more, find what these do not."""

from __future__ import annotations

from uuid import UUID

import pytest

from connector_runner.infra.database import Database, execute
from tests.integration.review_walk import Walk


@pytest.mark.parametrize("seed", [6, 16, 18, 20])
def test_whatever_happens_what_counts_in_doubt_is_before_a_person_once(database: Database, seed: int) -> None:
    """In a workspace of the same id each time, by which the ids of its people follow from the seed as well."""
    workspace = str(UUID(int=seed, version=4))
    with database.begin(workspace) as tx:
        execute(tx, "INSERT INTO workspace (workspace_id, slug, name) VALUES (:id, :id, 'Walk')", id=workspace)
    Walk(database, workspace, seed).go(100)
