"""Anchors of the audit log: what they find that the chain alone does not, and what the database refuses of itself."""

from __future__ import annotations

import pytest

from connector_runner.audit import log as audit
from connector_runner.audit import verifying
from connector_runner.audit.chain import ANCHOR_ACTION, Anchor
from connector_runner.infra.database import Database, execute
from connector_runner.infra.sealing import Sealer
from tests.integration.audit_log import NOW, Tamper, anchored, fill, read, seal, verify


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(b"k" * 32)


def test_an_anchor_is_made_once_for_what_there_is(database: Database, workspace: str, sealer: Sealer) -> None:
    with database.begin(workspace) as tx:
        assert audit.anchor(tx, workspace, sealer, now=NOW) is None
    fill(database, workspace, 3)
    made = anchored(database, workspace, sealer)
    assert (made.n, anchored(database, workspace, sealer)) == (3, made)
    fill(database, workspace, 1)
    assert anchored(database, workspace, sealer).n == 5, "the entry about the first anchor is the fourth"
    with database.begin(workspace) as tx:
        found = verifying.verify(tx, workspace, genuine=lambda all_of: audit.genuine(sealer, all_of))
        assert (found.entries, found.anchors, found.broken) == (6, 2, None)
        assert [entry.n for entry in audit.entries(tx, workspace) if entry.action == ANCHOR_ACTION] == [4, 6]


def test_a_chain_that_was_rewritten_whole_is_found_by_an_anchor(
    database: Database, workspace: str, sealer: Sealer, tamper: Tamper
) -> None:
    fill(database, workspace, 3)
    made = anchored(database, workspace, sealer)
    for table in ("audit_log", "audit_head", "audit_anchor"):
        tamper(f"DELETE FROM {table} WHERE workspace_id = %s", workspace)
    with database.begin(workspace) as tx:
        for n in range(5):
            audit.append(tx, workspace, actor="intruder", action="source.apply", object=f"source:{n}", now=NOW)
    assert verify(database, workspace) is None, "without an anchor it looks like any other"
    assert verify(database, workspace, anchors=[made]) == 3


def test_a_cut_is_found_by_the_anchors_of_the_database(
    database: Database, workspace: str, sealer: Sealer, tamper: Tamper
) -> None:
    fill(database, workspace, 3)
    anchored(database, workspace, sealer)
    fill(database, workspace, 1)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n > 2", workspace)
    tamper("DELETE FROM audit_head WHERE workspace_id = %s", workspace)
    tamper("INSERT INTO audit_head SELECT workspace_id, n, hash FROM audit_log WHERE workspace_id = %s AND n = 2",
           workspace)  # fmt: skip
    assert verify(database, workspace) == 3


def test_an_anchor_that_is_gone_is_missed(database: Database, workspace: str, sealer: Sealer, tamper: Tamper) -> None:
    fill(database, workspace, 2)
    anchored(database, workspace, sealer)
    tamper("DELETE FROM audit_anchor WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 3


def test_an_anchor_of_another_hand_is_found(database: Database, workspace: str, sealer: Sealer, tamper: Tamper) -> None:
    fill(database, workspace, 2)
    anchored(database, workspace, sealer)
    tamper("UPDATE audit_anchor SET mac = decode(repeat('00', 16), 'hex') WHERE workspace_id = %s", workspace)
    with database.begin(workspace) as tx:
        found = verifying.verify(tx, workspace, genuine=lambda all_of: audit.genuine(sealer, all_of))
    assert found.broken == verifying.Broken(2, "anchor_forged")


def test_a_cut_with_its_head_is_found_by_an_anchor(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    with database.begin(workspace) as tx:
        found = audit.head(tx, workspace)
    assert found is not None
    anchor = Anchor(workspace, *found, NOW, b"")
    assert verify(database, workspace, anchors=[anchor]) is None
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n > 4", workspace)
    tamper(
        "UPDATE audit_head SET n = 4, hash = (SELECT hash FROM audit_log l WHERE l.workspace_id = %s AND l.n = 4)"
        " WHERE workspace_id = %s",
        workspace,
        workspace,
    )
    assert verify(database, workspace) is None
    assert verify(database, workspace, anchors=[anchor]) == 5
    fill(database, workspace, 2)
    assert verify(database, workspace, anchors=[anchor]) == 6


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_read SET actor = 'x'", "UPDATE audit_read SET sealed_by = 9", "DELETE FROM audit_read",
        "TRUNCATE audit_read", "UPDATE audit_head SET n = n - 1", "DELETE FROM audit_head",
        "UPDATE audit_anchor SET n = n + 1", "DELETE FROM audit_anchor",
    ],
)  # fmt: skip
def test_the_database_refuses_what_the_product_never_does(
    database: Database, workspace: str, sealer: Sealer, sql: str
) -> None:
    read(database, workspace, 2)
    seal(database, workspace)
    anchored(database, workspace, sealer)
    with pytest.raises(Exception, match="23001"), database.begin(workspace) as tx:
        execute(tx, sql)
