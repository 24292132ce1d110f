"""Transcripts at rest: sealed, versioned, found by the events that came of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector_runner.infra.database import Database, execute, one, rows
from connector_runner.infra.sealing import Sealer
from connector_runner.intake import appending
from connector_runner.kernel.errors import BadRecord
from connector_runner.review import material
from connector_runner.review.transcript import LONGEST_BYTES
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.world.service import World

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
NOW = datetime(2026, 3, 4, tzinfo=UTC)
TURNS = [{"speaker": "agent", "text": "Your name?"}, {"speaker": "caller", "text": "Hildegard Quatermass."}]


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(os.urandom(32))


def put(database: Database, sealer: Sealer, workspace: str, body: Any, session: str = "call-1") -> material.Kept:
    return database.retrying(
        workspace, lambda tx: material.put(tx, sealer, workspace, session, body, actor="test", now=NOW)
    )


def test_it_is_sealed_and_comes_back_as_it_was(database: Database, workspace: str, sealer: Sealer) -> None:
    assert put(database, sealer, workspace, TURNS).new
    with database.begin(workspace) as tx:
        found = material.of_session(tx, sealer, workspace, "call-1")
        stored = one(tx, "SELECT * FROM material WHERE workspace_id = :ws", ws=workspace)
    assert found is not None
    assert stored is not None
    assert [(turn.speaker, found.said(turn)) for turn in found.turns] == [
        ("agent", "Your name?"),
        ("caller", "Hildegard Quatermass."),
    ]
    assert b"Quatermass" not in bytes(stored["sealed"]) + bytes(stored["digest"])
    with database.begin(workspace) as tx:
        entries = rows(tx, "SELECT * FROM audit_log WHERE workspace_id = :ws", ws=workspace)
    assert "Quatermass" not in json.dumps(entries, default=str)


def test_the_same_again_is_known_and_other_words_are_a_further_number(
    database: Database, workspace: str, sealer: Sealer
) -> None:
    assert [put(database, sealer, workspace, body).n for body in (TURNS, TURNS, TURNS[:1], TURNS)] == [1, 1, 2, 3]
    with database.begin(workspace) as tx:
        found = material.of_session(tx, sealer, workspace, "call-1")
        assert found is not None
        assert len(found.turns) == 2
        assert material.of_session(tx, sealer, workspace, "call-2") is None


def test_nobody_else_reads_it_and_it_does_not_open_elsewhere(
    database: Database, new_workspace: Callable[[], str], sealer: Sealer
) -> None:
    mine, other = new_workspace(), new_workspace()
    put(database, sealer, mine, TURNS)
    put(database, sealer, mine, "Caller: hello", "call-2")
    with database.begin(other) as tx:
        assert material.of_session(tx, sealer, other, "call-1") is None
        assert rows(tx, "SELECT * FROM material") == []
    with database.begin(mine) as tx:
        execute(
            tx,
            "UPDATE material m SET sealed = o.sealed FROM material o WHERE m.workspace_id = o.workspace_id"
            " AND m.workspace_id = :ws AND m.session = 'call-1' AND o.session = 'call-2'",
            ws=mine,
        )
        with pytest.raises(BadRecord):
            material.of_session(tx, sealer, mine, "call-1")


@pytest.mark.parametrize("session", ["", "x" * 257, None, 7])
def test_a_conversation_has_a_name(database: Database, workspace: str, sealer: Sealer, session: Any) -> None:
    with pytest.raises(BadRecord) as caught:
        put(database, sealer, workspace, TURNS, session)
    assert caught.value.where == "session"


def test_five_megabytes_are_kept_and_more_are_not(database: Database, workspace: str, sealer: Sealer) -> None:
    words = "Caller: " + "well " * ((LONGEST_BYTES - 8) // 5)
    kept = put(database, sealer, workspace, words)
    with database.begin(workspace) as tx:
        found = material.of_session(tx, sealer, workspace, "call-1")
    assert found is not None
    assert kept.characters == len(found.text) > 4_900_000
    with pytest.raises(BadRecord) as caught:
        put(database, sealer, workspace, "Caller: " + "é" * (LONGEST_BYTES // 2))
    assert caught.value.code == "too_large"


def test_what_is_empty_is_kept_as_empty(database: Database, workspace: str, sealer: Sealer, tmp_path: Path) -> None:
    assert put(database, sealer, workspace, "").turns == 0
    with database.begin(workspace) as tx:
        found = material.of_session(tx, sealer, workspace, "call-1")
    assert found is not None
    assert (found.text, found.turns) == ("", ())


def test_what_was_heard_before_its_transcript_came_is_judged_again(
    database: Database, workspace: str, sealer: Sealer
) -> None:
    facts = {"telecom": [{"system": "phone", "use": "mobile", "value": "+12125550143"}]}
    event = {"source": "voice_agent", "entity_type": "patient", "facts": facts, "correlation_id": "call-1"}
    outcome = database.retrying(
        workspace, lambda tx: appending.append(tx, World(), MAPPINGS, workspace, [event], actor="test", now=NOW)
    )
    with database.begin(workspace) as tx:
        execute(tx, "DELETE FROM pending_review WHERE workspace_id = :ws", ws=workspace)
    put(database, sealer, workspace, TURNS, "call-2")
    with database.begin(workspace) as tx:
        assert rows(tx, "SELECT entity_id FROM pending_review") == []
    put(database, sealer, workspace, TURNS)
    with database.begin(workspace) as tx:
        found = rows(tx, "SELECT entity_id FROM pending_review")
    assert [row["entity_id"] for row in found] == [outcome.events[0]["entity_id"]]
