"""Sealing and secrets against Postgres."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector_runner.infra import secrets
from connector_runner.infra.database import Database, execute, one
from connector_runner.infra.sealing import Sealer, installation_key
from connector_runner.kernel.errors import BadRecord, Misconfigured
from connector_runner.kernel.ids import new_id
from connector_runner.settings import Settings

CANARY = "Quatermass"
NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(os.urandom(32))


def test_what_is_sealed_opens_in_its_place_only(
    database: Database, new_workspace: Callable[[], str], sealer: Sealer
) -> None:
    mine, other = new_workspace(), new_workspace()
    with database.begin(mine) as tx:
        sealed = sealer.seal(tx, mine, CANARY.encode(), "write_log|1")
        assert CANARY.encode() not in sealed
        assert sealer.seal(tx, mine, CANARY.encode(), "write_log|1") != sealed
        assert sealer.open(tx, mine, sealed, "write_log|1") == CANARY.encode()
        for broken, context in (
            (sealed, "write_log|2"),
            (sealed[:-1] + bytes([sealed[-1] ^ 1]), "write_log|1"),
            (sealed[:20], "write_log|1"),
            (b"", "write_log|1"),
            (b"\x09" + sealed[1:], "write_log|1"),
        ):
            with pytest.raises(BadRecord) as caught:
                sealer.open(tx, mine, broken, context)
            assert caught.value.code == "sealed_broken"
    with database.begin(other) as tx, pytest.raises(BadRecord):
        sealer.open(tx, other, sealed, "write_log|1")


def test_another_process_opens_it_and_another_key_does_not(database: Database, workspace: str) -> None:
    key = os.urandom(32)
    with database.begin(workspace) as tx:
        sealed = Sealer(key).seal(tx, workspace, b"x", "c")
    with database.begin(workspace) as tx:
        assert Sealer(key).open(tx, workspace, sealed, "c") == b"x"
        with pytest.raises(Misconfigured) as caught:
            Sealer(os.urandom(32)).open(tx, workspace, sealed, "c")
        assert caught.value.code == "encryption_key_differs"


def test_a_key_made_in_a_transaction_that_is_undone_is_forgotten(
    database: Database, workspace: str, sealer: Sealer
) -> None:
    def undone() -> None:
        with database.begin(workspace) as tx:
            sealer.seal(tx, workspace, b"lost", "c")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    with database.begin(workspace) as tx:
        sealed = sealer.seal(tx, workspace, b"kept", "c")
    with database.begin(workspace) as tx:
        assert Sealer.open(sealer, tx, workspace, sealed, "c") == b"kept"


def test_a_key_made_in_a_savepoint_that_is_undone_is_forgotten(
    database: Database, workspace: str, sealer: Sealer
) -> None:
    with database.begin(workspace) as tx:
        savepoint = tx.begin_nested()
        sealer.seal(tx, workspace, b"lost", "c")
        savepoint.rollback()
        sealed = sealer.seal(tx, workspace, b"kept", "c")
    with database.begin(workspace) as tx:
        assert sealer.open(tx, workspace, sealed, "c") == b"kept"


def test_processes_that_seal_first_at_once_agree_on_a_key(database: Database, workspace: str) -> None:
    key, barrier, made = os.urandom(32), threading.Barrier(4), list[bytes]()

    def seal() -> None:
        with database.begin(workspace) as tx:
            barrier.wait()
            made.append(Sealer(key).seal(tx, workspace, b"x", "c"))

    threads = [threading.Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.begin(workspace) as tx:
        assert [Sealer(key).open(tx, workspace, sealed, "c") for sealed in made] == [b"x"] * 4


def test_an_unknown_workspace_is_named(database: Database, sealer: Sealer) -> None:
    nowhere = new_id()
    with database.begin(nowhere) as tx, pytest.raises(Misconfigured) as caught:
        sealer.seal(tx, nowhere, b"x", "c")
    assert caught.value.code == "workspace_missing"


def test_dropping_the_key_makes_it_unreadable(database: Database, workspace: str) -> None:
    key = os.urandom(32)
    with database.begin(workspace) as tx:
        sealed = Sealer(key).seal(tx, workspace, b"x", "c")
        execute(tx, "UPDATE workspace SET data_key = NULL WHERE workspace_id = :ws", ws=workspace)
    with database.begin(workspace) as tx, pytest.raises(BadRecord):
        Sealer(key).open(tx, workspace, sealed, "c")


def test_a_database_keeps_to_one_installation_key(new_database: Callable[[], str], sealer: Sealer) -> None:
    database = Database(new_database())
    for _ in range(2):
        with database.sweep() as tx:
            sealer.check_installation(tx)
    with database.sweep() as tx, pytest.raises(Misconfigured, match="CONNECTOR_RUNNER_ENCRYPTION_KEY") as caught:
        Sealer(os.urandom(32)).check_installation(tx)
    assert caught.value.code == "encryption_key_differs"
    database.dispose()


def test_the_installation_key_is_made_once(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    barrier, keys = threading.Barrier(6), list[bytes]()

    def read() -> None:
        barrier.wait()
        keys.append(installation_key(settings))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert [path.name for path in settings.home.iterdir()] == ["key"]
    assert (settings.home / "key").stat().st_mode & 0o777 == 0o600


def test_the_installation_key_may_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = os.urandom(32)
    text = base64.b64encode(key).decode()
    monkeypatch.setenv("CLINIC_KEY", text)
    (tmp_path / "k").write_text(text + "\n")
    for given in (text, "env:CLINIC_KEY", f"file:{tmp_path / 'k'}"):
        assert installation_key(Settings(home=tmp_path / "home", encryption_key=given)) == key
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("given", [CANARY, base64.b64encode(CANARY.encode()).decode(), "env:NOT_SET_ANYWHERE"])
def test_a_wrong_key_is_refused_without_being_quoted(tmp_path: Path, given: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        installation_key(Settings(home=tmp_path, encryption_key=given))
    assert CANARY not in str(caught.value)
    assert given.startswith("env:") or given not in str(caught.value)


def test_references_lead_to_values(
    database: Database, workspace: str, sealer: Sealer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EHR_TOKEN", "from-env")
    (tmp_path / "token").write_text("from-file\n")
    assert secrets.resolve("env:EHR_TOKEN") == "from-env"
    assert secrets.resolve(f"file:{tmp_path}/token") == "from-file"
    with database.begin(workspace) as tx:
        for value in ("first", "from-table"):
            reference = secrets.store(tx, workspace, sealer, "ehr-token", value, now=NOW)
        assert reference == "secret:ehr-token"
        assert secrets.resolve(reference, tx, workspace, sealer) == "from-table"
        assert secrets.names(tx, workspace) == ["ehr-token"]
        row = one(tx, "SELECT sealed FROM secret WHERE name = 'ehr-token'")
        assert row is not None
        assert b"from-table" not in bytes(row["sealed"])
        assert secrets.remove(tx, workspace, "ehr-token")
        with pytest.raises(Misconfigured, match="secret:ehr-token"):
            secrets.resolve(reference, tx, workspace, sealer)


def test_missing_values_name_their_reference(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for reference in ("env:NOT_SET_ANYWHERE", f"file:{tmp_path}/none", f"file:{tmp_path}/empty", "secret:x"):
        with pytest.raises(Misconfigured) as caught:
            secrets.resolve(reference)
        assert reference in str(caught.value)


@pytest.mark.parametrize("reference", [CANARY, f"Bearer:{CANARY}", f"https://{CANARY}", "", "env:", f"env:{CANARY}!"])
def test_what_is_no_reference_is_not_quoted(reference: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        secrets.resolve(reference)
    assert CANARY not in str(caught.value)
    assert caught.value.code == "secret_reference"
