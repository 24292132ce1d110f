"""Blocking keys that came lately and those that were shelved are one: who is found does not tell them apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.infra import queue
from connector_runner.infra.database import Database, Tx, execute, rows
from connector_runner.kernel.ids import new_id
from connector_runner.resolution import crowds, key_store, service
from connector_runner.resolution.key_store import LOWEST
from tasks.follow_ups import after_shelving
from tests.integration.test_resolution import ADA, NOW, PHONE, called, grouped, say, work_off

LATER = NOW + timedelta(hours=1)
MAIL = {"telecom": [{"system": "email", "value": "front.desk@clinic.example.org"}]}
PAIR = frozenset({"ehr:Patient:1", "crm:Patient:1"})
TABLES = ("blocking_key", "recent_key")


def _held(database: Database, workspace: str) -> dict[str, set[tuple[int, str]]]:
    with database.begin(workspace) as tx:
        return {
            table: {(row["token"], row["entity_id"]) for row in rows(tx, f"SELECT token, entity_id FROM {table}")}
            for table in TABLES
        }


def _shelve_all(database: Database, workspace: str) -> None:
    assert not service.shelve(database, workspace, turn=1)
    assert _held(database, workspace)["recent_key"] == set()


def _resolved(database: Database, workspace: str) -> None:
    while service.resolve(database, workspace, now=NOW).compared:
        pass


def test_who_came_later_meets_whose_keys_were_shelved(database: Database, workspace: str) -> None:
    for name in sorted(PAIR):
        say(database, workspace, name, ADA)
        _resolved(database, workspace)
        _shelve_all(database, workspace)
    assert grouped(database, workspace) == {PAIR}


def test_a_key_that_was_shelved_is_lost_with_what_it_was_of(database: Database, workspace: str) -> None:
    for name in sorted(PAIR):
        say(database, workspace, name, ADA)
    work_off(database, workspace)
    _shelve_all(database, workspace)
    say(database, workspace, "crm:Patient:1", called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"}, at=LATER)
    _resolved(database, workspace)
    assert PAIR not in grouped(database, workspace)
    with database.begin(workspace) as tx:
        kept = {(value, row["id"]) for row in rows(tx, "SELECT entity_id AS id, tokens FROM identity")
                for value in row["tokens"]}  # fmt: skip
    held = _held(database, workspace)
    assert held["blocking_key"] | held["recent_key"] == kept
    assert not held["blocking_key"] & held["recent_key"]


def test_too_many_have_a_key_whichever_table_each_of_them_stands_in(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector_runner.resolution.key_store.KEY_CAP", 3)
    for number, given in enumerate(("Adaeze", "Bo", "Carla", "Dmitri"), start=1):
        say(database, workspace, f"ehr:Patient:{number}", called(given, f"{given}sen") | MAIL)
        if number == 2:
            _resolved(database, workspace)
            _shelve_all(database, workspace)
    _resolved(database, workspace)
    with database.begin(workspace) as tx:
        assert len(rows(tx, "SELECT 1 FROM capped_key")) == 1
        assert not rows(tx, "SELECT 1 FROM pair_evidence")


def test_a_phone_is_of_many_whichever_table_its_holders_stand_in(database: Database, workspace: str) -> None:
    phone = {"telecom": ADA["telecom"]}
    for number, given in enumerate(("Adaeze", "Bo", "Carla", "Dmitri"), start=1):
        say(database, workspace, f"ehr:Patient:{number}", called(given, f"{given}sen") | phone)
        _resolved(database, workspace)
        if number < 4:
            _shelve_all(database, workspace)
    with database.begin(workspace) as tx:
        crowded = {row["token"] for row in rows(tx, "SELECT token FROM crowded_phone")}
    assert crowded == {crowds.phone_token("patient", PHONE.removeprefix("+1"))}


def _put(database: Database, workspace: str, tokens: list[int], entity: str) -> None:
    with database.begin(workspace) as tx:
        key_store.put(tx, workspace, [(value, entity) for value in tokens])


def test_a_key_that_is_taken_out_while_it_is_shelved_is_gone(database: Database, workspace: str) -> None:
    """A statement that waits for the row to be moved finds it in no table: it looks with the eyes of before."""
    entity = new_id()
    _put(database, workspace, [5, 6], entity)

    def take_out(tx: Tx) -> None:
        key_store.take_out(tx, workspace, [(5, entity)])

    other = threading.Thread(target=database.retrying, args=(workspace, take_out))
    with database.begin(workspace) as tx:
        assert key_store.shelve(tx, workspace, LOWEST, 10) == 6
        other.start()
        waiting: list[Any] = []
        while not waiting:
            waiting = rows(
                tx, "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
    other.join()
    assert _held(database, workspace) == {"blocking_key": {(6, entity)}, "recent_key": set()}


def test_a_key_that_stands_in_both_does_not_hold_up_the_others(database: Database, workspace: str) -> None:
    entity = new_id()
    _put(database, workspace, [5], entity)
    _shelve_all(database, workspace)
    _put(database, workspace, [5, 6], entity)
    _shelve_all(database, workspace)
    assert _held(database, workspace)["blocking_key"] == {(5, entity), (6, entity)}


def test_keys_are_shelved_once_they_are_many(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RECENT_KEYS", 3)
    entity = new_id()
    _put(database, workspace, [-(1 << 63), -7, 7], entity)
    assert not service.shelve(database, workspace)
    assert len(_held(database, workspace)["recent_key"]) == 3
    _put(database, workspace, [(1 << 63) - 1], entity)
    with database.begin(workspace) as tx:
        execute(tx, "INSERT INTO population (workspace_id, kind, records) VALUES (:ws, 'patient', 2)", ws=workspace)
    assert not service.shelve(database, workspace), "two for each record are not many"
    assert len(_held(database, workspace)["recent_key"]) == 4
    _put(database, workspace, [8], entity)
    assert not service.shelve(database, workspace)
    assert {value for value, _ in _held(database, workspace)["blocking_key"]} == {-(1 << 63), -7, 7, 8, (1 << 63) - 1}
    assert not _held(database, workspace)["recent_key"]


def test_what_a_turn_leaves_the_next_one_shelves_however_few(
    database: Database, new_workspace: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it left until they are many again, those with the highest tokens never had their turn."""
    monkeypatch.setattr(service, "SHELVED_AT_ONCE", 2)
    monkeypatch.setattr(service, "SHELVED_A_TURN", 4)
    monkeypatch.setattr(service, "RECENT_KEYS", 5)
    workspace, neighbour = new_workspace(), new_workspace()
    for clinic in (workspace, neighbour):
        _put(database, clinic, [1, 2, 3, 4, 5, 6, 6000], new_id())
    arguments: dict[str, Any] = {"workspace_id": workspace}
    turns = 0
    while True:
        more = service.shelve(database, **arguments)
        turns += 1
        hints = list(after_shelving(more, arguments))
        if not hints:
            break
        assert hints[0].task == queue.SHELVE
        arguments = dict(hints[0].arguments)
        queue.check_arguments(arguments)
    assert turns == 3, "four, three, none"
    assert len(_held(database, workspace)["blocking_key"]) == 7
    assert len(_held(database, neighbour)["recent_key"]) == 7, "another clinic's are left alone"
