"""``resolution report``: what people said of pairs, what was counted, and what that bears out."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.cli import resolution
from connector_runner.infra.database import Database
from connector_runner.resolution import service
from connector_runner.settings import Settings
from tests.integration.test_resolution import ADA, NOW, called, say, work_off
from tests.integration.test_resolution_possible import TWIN, answer, open_items


@pytest.fixture
def told(database: Database, workspace: str) -> Any:
    def tell(kind: str = "patient") -> dict[str, Any]:
        url = database.engine.url.render_as_string(hide_password=False)
        runner = Runner(Settings(), Addresses(url, "redis://127.0.0.1:1"))
        return resolution._report(runner, workspace, kind)

    return tell


def test_without_labels_it_says_so(told: Any) -> None:
    found = told()
    assert found["labels"] == {"same": 0, "all": 0}
    assert found["false_merge_bound"]["bits"] is None
    assert "too few labels" in found["note"]
    assert "381 needed" in found["note"]


def test_words_of_people_are_told_by_what_the_evidence_was(database: Database, workspace: str, told: Any) -> None:
    one, other = (say(database, workspace, name, ADA) for name in ("ehr:Patient:1", "ehr:Patient:2"))
    say(database, workspace, "crm:Patient:1", TWIN)
    work_off(database, workspace)
    answer(database, workspace, open_items(database, workspace)[0]["id"], "rejected")
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, one, other, same=True, actor="ruth", reason="seen", now=NOW)
    work_off(database, workspace)
    found = told()
    assert found["labels"] == {"same": 1, "all": 2}
    assert {(g["rule"], g["precision"]["part"], g["precision"]["whole"]) for g in found["groups"]} == {
        ("given_name", 0, 1),
        ("phone", 1, 1),
    }
    assert sum(found["links"].values()) == 1
    assert told("practitioner")["labels"]["all"] == 0


def test_what_says_nothing_and_who_is_nobody_are_counted(database: Database, workspace: str, told: Any) -> None:
    say(database, workspace, "ehr:Patient:1", called("John", "Doe"))
    say(database, workspace, "ehr:Patient:2", {"gender": "female"})
    say(database, workspace, "ehr:Patient:3", ADA)
    work_off(database, workspace)
    counts = told()["counts"]
    assert (counts["records"], counts["never_match"], counts["nothing_to_compare"]) == (3, 1, 1)
    assert (counts["waiting"], counts["capped_keys"]) == (0, 0)
