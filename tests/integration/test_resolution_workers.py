"""Workers that meet the same people: at once, one of them killed half way, and a queue that is read in pages."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from connector_runner.infra.database import Database, execute, one, rows
from connector_runner.kernel.ids import entity_id_of
from connector_runner.resolution import evidence_store, service, store
from tests.integration.test_resolution import ADA, NOW, called, grouped, say, work_off

ROOT = Path(__file__).parents[2]
NAMES = [f"{source}:Patient:{number}" for source in ("ehr", "crm") for number in range(4)]
DIES_HALF_WAY = """
import sys, time
from datetime import UTC, datetime
from connector_runner.infra.database import Database
from connector_runner.resolution import service

def hang(*_: object) -> None:
    print("evidence is written", flush=True)
    time.sleep(600)

service.regroup = hang
service.resolve(Database(sys.argv[1]), sys.argv[2], now=datetime.now(UTC), limit=3)
"""


def test_a_worker_that_is_killed_between_evidence_and_clusters_leaves_its_work_to_another(
    database: Database, workspace: str
) -> None:
    for name in NAMES:
        say(database, workspace, name, ADA)
    arguments = [sys.executable, "-c", DIES_HALF_WAY, database.url, workspace]
    with (
        subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker,
        ThreadPoolExecutor(2) as pool,
    ):
        assert worker.stdout is not None
        assert worker.stdout.readline() == "evidence is written\n"
        others = [pool.submit(_drain, database, workspace) for _ in range(2)]
        assert _waiting(database, workspace) == len(NAMES), "nothing of what is half done is seen"
        os.kill(worker.pid, signal.SIGKILL)
        for other in others:
            other.result(timeout=60)
    assert grouped(database, workspace) == {frozenset(NAMES)}
    assert _waiting(database, workspace) == 0
    with database.begin(workspace) as tx:
        made = one(tx, "SELECT count(*) AS n FROM link_event WHERE action = 'made'")
        held = one(tx, "SELECT count(*) AS n FROM pair_evidence WHERE linked")
    assert made is not None
    assert held is not None
    assert made["n"] >= held["n"] == len(NAMES) - 1


def _drain(database: Database, workspace: str) -> None:
    while service.resolve(database, workspace, now=NOW, limit=3).more:
        pass


def _waiting(database: Database, workspace: str) -> int:
    with database.begin(workspace) as tx:
        return store.waiting(tx, workspace)


def test_who_has_waited_longest_is_taken_first(database: Database, workspace: str) -> None:
    for name in NAMES:
        say(database, workspace, name, ADA)
    order = sorted(NAMES, key=lambda name: entity_id_of(workspace, name), reverse=True)
    with database.begin(workspace) as tx:
        for minute, name in enumerate(order):
            execute(
                tx,
                "UPDATE pending_resolution SET requested_at = now() + :minute * interval '1 minute'"
                " WHERE entity_id = :id",
                minute=minute,
                id=entity_id_of(workspace, name),
            )
        taken = store.take(tx, workspace, "patient", 3)
        assert set(taken) == {entity_id_of(workspace, name) for name in order[:3]}
        assert store.waiting(tx, workspace) == len(NAMES) - 3


def test_all_who_wait_are_identified_whatever_the_size_of_a_batch(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH", 3)
    for name in NAMES:
        say(database, workspace, name, ADA)
    service.identify(database, workspace, "patient")
    with database.begin(workspace) as tx:
        assert {row["identified"] for row in rows(tx, "SELECT identified FROM pending_resolution")} == {True}
        assert len(rows(tx, "SELECT 1 FROM identity")) == len(NAMES)
    assert len(grouped(database, workspace)) == len(NAMES)


def test_clusters_are_read_page_by_page(database: Database, workspace: str) -> None:
    for number, name in enumerate(NAMES):
        say(database, workspace, name, ADA if number % 2 else called("Tuva", "Lindqvist"))
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        whole = list(evidence_store.every_cluster(tx, workspace, "patient"))
        paged, after = [], ""
        while page := evidence_store.clusters_after(tx, workspace, "patient", after, limit=3):
            paged += page
            after = page[-1][0]
    assert [name for name, _ in whole] == sorted(NAMES)
    assert paged == whole


@pytest.mark.parametrize("seed", range(3))
def test_batches_of_two_workers_in_any_order_end_in_the_same_clusters(
    database: Database, workspace: str, seed: int
) -> None:
    """While records still land, one worker compares and another counts names."""
    chance = random.Random(seed)
    said = [(name, ADA if number % 2 else ADA | called("Chioma")) for number, name in enumerate(NAMES)]
    chance.shuffle(said)
    with ThreadPoolExecutor(3) as pool:
        work: list[Future[Any]] = []
        for name, facts in said:
            say(database, workspace, name, facts)
            work += [
                pool.submit(service.resolve, database, workspace, now=NOW, limit=chance.choice([1, 2, 4])),
                pool.submit(service.recount, database, workspace, now=NOW),
            ]
        for each in work:
            each.result(timeout=60)
    work_off(database, workspace)
    expected = {frozenset(name for name, facts in said if (facts == ADA) is adas) for adas in (True, False)}
    assert grouped(database, workspace) == expected
