"""The audit log on Postgres: what was tampered with is found, by number."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from connector_runner.audit import log as audit
from connector_runner.audit import store
from connector_runner.audit.acting import Authority, acting
from connector_runner.audit.chain import SEAL_ACTION, entry_hash
from connector_runner.infra.database import Database, execute, rows
from tests.integration.audit_log import NOW, Tamper, fill, read, seal, verify


def test_an_untouched_log_holds(database: Database, new_workspace: Callable[[], str]) -> None:
    mine, other = new_workspace(), new_workspace()
    assert verify(database, mine) is None
    fill(database, mine)
    fill(database, other, 2)
    assert verify(database, mine) is None
    assert verify(database, other) is None
    with database.begin(mine) as tx:
        assert [entry.n for entry in audit.entries(tx, mine)] == [1, 2, 3, 4, 5, 6]
        assert [entry.object for entry in audit.entries(tx, mine, after=4)] == ["source:4", "source:5"]
        audit.append(tx, mine, actor="a", action="b", object="c", now=NOW + timedelta(microseconds=1))
        assert audit.head(tx, mine)[0] == 7  # type: ignore[index]


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'someone else'", "action = 'x'", "object = 'x'", "at = at + interval '1 microsecond'",
        "detail = jsonb_set(detail, '{n}', '9')", "detail = detail - 'ratio'", "txid = txid + 1",
        "hash = decode(repeat('00', 32), 'hex')", "previous_hash = decode(repeat('00', 32), 'hex')",
    ],
)  # fmt: skip
def test_a_changed_entry_is_found(database: Database, workspace: str, tamper: Tamper, change: str) -> None:
    fill(database, workspace)
    tamper(f"UPDATE audit_log SET {change} WHERE workspace_id = %s AND n = 3", workspace)
    assert verify(database, workspace) == 3


@pytest.mark.parametrize("n", [1, 3, 6])
def test_a_deleted_entry_is_found(database: Database, workspace: str, tamper: Tamper, n: int) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n = %s", workspace, n)
    assert verify(database, workspace) == n


def test_a_deleted_entry_is_found_though_the_rest_was_renumbered(
    database: Database, workspace: str, tamper: Tamper
) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n = 3", workspace)
    tamper("UPDATE audit_log SET n = n - 1 WHERE workspace_id = %s AND n > 3", workspace)
    tamper("UPDATE audit_head SET n = n - 1 WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 3


def test_two_exchanged_entries_are_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("UPDATE audit_log SET n = -2 WHERE workspace_id = %s AND n = 2", workspace)
    tamper("UPDATE audit_log SET n = 2 WHERE workspace_id = %s AND n = 4", workspace)
    tamper("UPDATE audit_log SET n = 4 WHERE workspace_id = %s AND n = -2", workspace)
    assert verify(database, workspace) == 2


def test_a_cut_end_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n > 4", workspace)
    assert verify(database, workspace) == 5


def test_all_entries_gone_are_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 1


def test_a_head_set_back_or_removed_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper(
        "UPDATE audit_head SET n = 4, hash = (SELECT hash FROM audit_log l WHERE l.workspace_id = %s AND l.n = 4)"
        " WHERE workspace_id = %s",
        workspace,
        workspace,
    )
    assert verify(database, workspace) == 5
    tamper("DELETE FROM audit_head WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 1


def test_a_changed_head_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("UPDATE audit_head SET hash = decode(repeat('00', 32), 'hex') WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 6


def test_writers_at_once_make_one_chain(database: Database, workspace: str) -> None:
    threads = [threading.Thread(target=fill, args=(database, workspace, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(database, workspace) is None
    with database.begin(workspace) as tx:
        assert audit.head(tx, workspace)[0] == 20  # type: ignore[index]


def test_an_undone_transaction_leaves_no_entry(database: Database, workspace: str) -> None:
    fill(database, workspace, 2)

    def undone() -> None:
        with database.begin(workspace) as tx:
            audit.append(tx, workspace, actor="a", action="b", object="c", now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    fill(database, workspace, 1)
    assert verify(database, workspace) is None


def test_a_long_log_is_walked_in_batches(database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_runner.audit.store._BATCH", 2)
    fill(database, workspace, 4)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr("connector_runner.audit.verifying._STEP", 3)
    assert verify(database, workspace, progress=lambda done, of: told.append((done, of))) is None
    assert told == [(3, 4), (4, 4)]
    assert verify(database, workspace) is None


def test_reads_are_sealed_in_batches(database: Database, workspace: str) -> None:
    assert seal(database, workspace) == 0
    read(database, workspace, 5)
    assert [seal(database, workspace, 3) for _ in range(3)] == [3, 2, 0]
    with database.begin(workspace) as tx:
        sealed = audit.entries(tx, workspace)
        assert [(entry.action, entry.detail["count"]) for entry in sealed] == [(SEAL_ACTION, 3), (SEAL_ACTION, 2)]
    assert verify(database, workspace) is None


def test_sealers_at_once_seal_each_read_once(database: Database, workspace: str) -> None:
    read(database, workspace, 40)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(seal(database, workspace))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    assert verify(database, workspace) is None


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_read SET actor = 'x' WHERE workspace_id = %s AND object = 'entity:1'",
        "DELETE FROM audit_read WHERE workspace_id = %s AND object = 'entity:1'",
        "UPDATE audit_read SET sealed_by = NULL WHERE workspace_id = %s AND object = 'entity:1'",
    ],
)
def test_a_changed_read_is_found(database: Database, workspace: str, tamper: Tamper, sql: str) -> None:
    fill(database, workspace, 1)
    read(database, workspace, 3)
    seal(database, workspace)
    tamper(sql, workspace)
    assert verify(database, workspace) == 2


def test_a_read_that_was_put_in_later_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace, 1)
    read(database, workspace, 3)
    seal(database, workspace)
    tamper(
        "INSERT INTO audit_read SELECT workspace_id, gen_random_uuid(), at, actor, action, object, detail, sealed_by"
        " FROM audit_read WHERE workspace_id = %s LIMIT 1",
        workspace,
    )
    assert verify(database, workspace) == 2


def test_reads_do_not_wait_for_a_writer(database: Database, workspace: str) -> None:
    with database.begin(workspace) as writer:
        audit.append(writer, workspace, actor="a", action="b", object="c", now=NOW)
        audit.flush(writer, workspace)
        with database.begin(workspace) as reader:
            execute(reader, "SET LOCAL lock_timeout = '1s'")
            audit.record_read(reader, workspace, actor="a", action="entity.show", object="e", now=NOW)
            assert len(rows(reader, "SELECT 1 FROM audit_read")) == 1, "noted while the writer holds the head"


def test_only_sealing_writes_a_seal(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx, pytest.raises(ValueError, match="seal_reads"):
        audit.append(tx, workspace, actor="a", action=SEAL_ACTION, object="audit_read", now=NOW)


def test_a_workspace_sees_its_own_log_only(database: Database, new_workspace: Callable[[], str]) -> None:
    mine, other = new_workspace(), new_workspace()
    fill(database, mine, 2)
    with database.begin(other) as tx:
        assert rows(tx, "SELECT 1 FROM audit_log") == []
        assert audit.entries(tx, mine) == []


def test_nobody_waits_for_a_transaction_that_has_appended_and_goes_on(database: Database, workspace: str) -> None:
    fill(database, workspace, 1)
    with database.begin(workspace) as slow:
        audit.append(slow, workspace, actor="slow", action="a", object="1", now=NOW)
        with database.begin(workspace) as quick:
            execute(quick, "SET LOCAL lock_timeout = '1s'")
            audit.append(quick, workspace, actor="quick", action="a", object="1", now=NOW)
        audit.append(slow, workspace, actor="slow", action="a", object="2", now=NOW)
    with database.begin(workspace) as tx:
        told = [(entry.n, entry.actor, entry.object) for entry in audit.entries(tx, workspace, after=1)]
    assert told == [(2, "quick", "1"), (3, "slow", "1"), (4, "slow", "2")], "in the order of the commits, together"
    assert verify(database, workspace) is None


def test_what_a_transaction_appended_it_finds(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        audit.append(tx, workspace, actor="a", action="b", object="c", now=NOW)
        assert [entry.n for entry in audit.entries(tx, workspace)] == [1]
        audit.append(tx, workspace, actor="a", action="b", object="d", now=NOW)
    assert verify(database, workspace) is None
    with database.begin(workspace) as tx:
        assert [entry.object for entry in audit.entries(tx, workspace)] == ["c", "d"]


def test_an_entry_says_on_whose_authority_and_why(database: Database, workspace: str) -> None:
    with acting(Authority("os:root", "review reject", "0190")), database.begin(workspace) as tx:
        audit.append(tx, workspace, actor="nurse", action="verdict.rejected", object="e", reason="not hers", now=NOW)
        audit.record_read(tx, workspace, actor="nurse", action="entity.show", object="e", now=NOW)
        [entry] = audit.entries(tx, workspace)
        [noted] = rows(tx, "SELECT detail FROM audit_read")
    by = {"who": "os:root", "through": "review reject", "correlation_id": "0190"}
    assert entry.detail == {"reason": "not hers", "by": by}
    assert noted["detail"] == {"by": by}


def test_an_entry_put_between_two_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("UPDATE audit_log SET n = -n WHERE workspace_id = %s AND n > 3", workspace)
    tamper("UPDATE audit_log SET n = 1 - n WHERE workspace_id = %s AND n < 0", workspace)
    tamper("INSERT INTO audit_log SELECT workspace_id, 4, at, actor, 'forged', object, detail, txid, hash, hash"
           " FROM audit_log WHERE workspace_id = %s AND n = 3", workspace)  # fmt: skip
    tamper("UPDATE audit_head SET n = n + 1 WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 4


def test_an_entry_of_another_workspace_is_found(
    database: Database, new_workspace: Callable[[], str], tamper: Tamper
) -> None:
    mine, other = new_workspace(), new_workspace()
    fill(database, mine, 3)
    fill(database, other, 3)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n = 2", mine)
    tamper(
        "INSERT INTO audit_log SELECT %s, n, at, actor, action, object, detail, txid, previous_hash, hash"
        " FROM audit_log WHERE workspace_id = %s AND n = 2", mine, other,
    )  # fmt: skip
    assert verify(database, mine) == 2
    tamper("UPDATE audit_log SET previous_hash = (SELECT hash FROM audit_log WHERE workspace_id = %s AND n = 1)"
           " WHERE workspace_id = %s AND n = 2", mine, mine)  # fmt: skip
    assert verify(database, mine) == 2


def test_a_rewritten_seal_that_says_nothing_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace, 1)
    read(database, workspace, 2)
    seal(database, workspace)
    with database.begin(workspace) as tx:
        entry = audit.entries(tx, workspace, after=1)[0]
        previous = rows(tx, "SELECT hash FROM audit_log WHERE n = 1")[0]["hash"]
    for detail in ({}, {**entry.detail, "first": None}, {**entry.detail, "last": "x"}, {**entry.detail, "count": "2"}):
        forged = entry_hash(workspace, bytes(previous), replace(entry, detail=detail))
        sql = "UPDATE audit_log SET detail = %s, hash = %s WHERE workspace_id = %s AND n = 2"
        tamper(sql, json.dumps(detail), forged, workspace)
        tamper("UPDATE audit_head SET hash = %s WHERE workspace_id = %s", forged, workspace)
        assert verify(database, workspace) == 2


def test_notes_whose_seal_was_cut_off_are_missed(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace, 2)
    read(database, workspace, 3)
    seal(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n = 3", workspace)
    tamper("UPDATE audit_head SET n = 2, hash = (SELECT hash FROM audit_log l WHERE l.workspace_id = %s AND l.n = 2)"
           " WHERE workspace_id = %s", workspace, workspace)  # fmt: skip
    assert verify(database, workspace) == 3, "the head was set back with it, and the notes remember"


def test_how_much_waits_to_be_sealed_is_told(database: Database, workspace: str, tamper: Tamper) -> None:
    read(database, workspace, 3)
    tamper("UPDATE audit_read SET noted_at = noted_at - interval '60 s' WHERE workspace_id = %s", workspace)
    with database.begin(workspace) as tx:
        count, age = store.unsealed(tx, workspace)
    assert count == 3
    assert 60 <= age < 120
    with database.sweep() as tx:
        assert workspace in store.with_open_reads(tx)
    seal(database, workspace)
    with database.begin(workspace) as tx:
        assert store.unsealed(tx, workspace) == (0, 0.0)
    with database.sweep() as tx:
        assert workspace not in store.with_open_reads(tx)
        assert workspace in store.with_entries(tx)
