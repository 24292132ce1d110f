"""``audit …`` as it is typed, and the tasks that seal and anchor."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.audit import log as audit
from connector_runner.audit import reading, store, verifying
from connector_runner.audit.reading import Asked
from connector_runner.cli.main import app
from connector_runner.infra.database import Database, execute, rows
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Conflict, Unavailable
from connector_runner.kernel.ids import new_id
from connector_runner.observability import sealing_reads
from connector_runner.observability.status import of_workspace
from connector_runner.resilience.quarantine import Quarantine

KEY = bytes(range(32))
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(autouse=True)
def environment(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process of the product."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())


def run(workspace: str, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["audit", *arguments, "--workspace", workspace])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return done.stdout


def document(workspace: str, *arguments: str, code: int = 0) -> Any:
    return json.loads(run(workspace, *arguments, "--json", code=code))


def fill(database: Database, workspace: str, count: int, **more: Any) -> None:
    for n in range(count):
        with database.begin(workspace) as tx:
            at = NOW + timedelta(minutes=n)
            said = {"actor": f"nurse{n % 2}", "action": "source.apply", "object": f"source/{n}", "now": at, **more}
            audit.append(tx, workspace, **said)
            audit.record_read(tx, workspace, actor="ruth", action="entity.show", object=new_id(), now=at)


def test_the_log_is_read_page_by_page_the_latest_first(database: Database, workspace: str) -> None:
    fill(database, workspace, 5)
    pages, place = [], ()
    while True:
        found = document(workspace, "list", "--until", "2026-03-05", "--limit", "4", *place)
        pages.append([(entry["action"], entry["at"]) for entry in found["entries"]])
        if found["next"] is None:
            break
        place = ("--after", found["next"])
    assert [len(page) for page in pages] == [4, 4, 2]
    told = [entry for page in pages for entry in page]
    assert len(set(told)) == 10, "each once"
    assert [at for _, at in told] == sorted((at for _, at in told), reverse=True)
    with database.begin(workspace) as tx:
        assert len(rows(tx, "SELECT 1 FROM audit_read WHERE action = 'audit.list'")) == 3
    run(workspace, "list", "--after", "yesterday", code=2)


def test_the_log_is_asked_by_entity_actor_action_and_time(database: Database, workspace: str) -> None:
    fill(database, workspace, 4)
    entity, other = new_id(), new_id()
    with database.begin(workspace) as tx:
        for detail in ({"entity_id": entity}, {"entities": [other, entity]}, {"ids": [entity]}, {"other": entity}, {}):
            audit.record_read(tx, workspace, actor="eve", action="entity.list", object="x", detail=detail, now=NOW)
        audit.append(tx, workspace, actor="eve", action="link.same", object=entity, detail={"other": other}, now=NOW)

        def found(**asked: Any) -> int:
            assert reading.count(tx, workspace, Asked(**asked)) == len(
                reading.latest(tx, workspace, Asked(**asked), limit=99)
            )
            return reading.count(tx, workspace, Asked(**asked))

        audit.flush(tx, workspace)
        assert found(entity=entity) == 5
        assert found(entity=other) == 2
        assert found(actor="nurse1") == 2
        assert found(action="entity.list", entity=entity) == 4
        assert found(action="entity.") == 9
        assert found(since=NOW + timedelta(minutes=2)) == 4
        assert found(since=NOW, until=NOW + timedelta(minutes=1), actor="ruth") == 1


def test_an_export_is_whole_in_order_and_on_record(database: Database, workspace: str, tmp_path: Path) -> None:
    fill(database, workspace, 3)
    lines = [json.loads(line) for line in run(workspace, "export", "--until", "2026-03-05").splitlines()]
    assert [line["action"] for line in lines] == ["entity.show", "source.apply"] * 3
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    [entry] = document(workspace, "list", "--action", "audit.export")["entries"]
    assert entry["detail"]["count"] == 6
    out = tmp_path / "audit.ndjson"
    assert run(workspace, "export", "--format", "fhir", "--until", "2026-03-05", "--out", str(out)) == ""
    types = {json.loads(line)["resourceType"] for line in out.read_text().splitlines()}
    assert types == {"AuditEvent"}
    run(workspace, "export", "--format", "xml", code=2)


def test_an_export_goes_page_by_page(database: Database, workspace: str) -> None:
    fill(database, workspace, 7)
    done: list[int] = []
    found = list(reading.all_of(database, workspace, Asked(), page=4, progress=done.append))
    assert len({one.key for one in found}) == 14
    assert done == [4, 8, 12, 14]


def test_the_chain_is_anchored_and_held_against_the_anchors(database: Database, workspace: str, tmp_path: Path) -> None:
    kept = tmp_path / "anchors.ndjson"
    fill(database, workspace, 2)
    sealing_reads.seal(database, now=NOW)
    assert document(workspace, "anchor", "--out", str(kept))["added"] == 1
    fill(database, workspace, 1)
    sealing_reads.seal(database, now=NOW)
    assert document(workspace, "anchor", "--out", str(kept))["added"] == 1
    assert document(workspace, "anchor", "--out", str(kept))["added"] == 0
    found = document(workspace, "verify", "--anchor", str(kept))
    assert (found["ok"], found["anchors"], found["first_broken"]) == (True, 4, None)
    lines = kept.read_text().splitlines()
    forged = {**json.loads(lines[0]), "hash": "00" * 32}
    kept.write_text(json.dumps(forged) + "\n")
    found = document(workspace, "verify", "--anchor", str(kept), code=1)
    assert (found["ok"], found["first_broken"], found["code"]) == (False, forged["n"], "anchor_forged")
    for bad in ("not json", '{"n": 1}', "{}", json.dumps({**forged, "mac": "zz"})):
        kept.write_text(bad + "\n")
        run(workspace, "verify", "--anchor", str(kept), code=1)


def test_each_log_is_anchored_once_a_day(database: Database, new_workspace: Callable[[], str]) -> None:
    sealer = Sealer(KEY)
    mine, other = new_workspace(), new_workspace()
    fill(database, mine, 2)
    fill(database, other, 1)
    sealing_reads.anchor(database, sealer, now=NOW)
    assert sealing_reads.anchor(database, sealer, now=NOW + timedelta(hours=1)) == 0
    fill(database, mine, 1)
    assert sealing_reads.anchor(database, sealer, now=NOW + timedelta(hours=1)) == 0, "not twice on a day"
    assert sealing_reads.anchor(database, sealer, now=NOW + timedelta(days=1)) == 1, "nothing new in the other"
    with database.begin(mine) as tx:
        assert [one.n for one in store.anchors(tx, mine)] == [2, 4]


def test_all_is_sealed_at_once_and_one_log_holds_up_no_other(
    database: Database, new_workspace: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sealing_reads.seal(database, now=NOW)
    broken, mine = new_workspace(), new_workspace()
    for workspace in (broken, mine):
        fill(database, workspace, 5)
    real = audit.seal_reads

    def failing(tx: Any, workspace_id: str, **options: Any) -> int:
        if workspace_id == broken:
            raise Unavailable("not now", code="database_unavailable")
        return real(tx, workspace_id, **options)

    monkeypatch.setattr(audit, "seal_reads", failing)
    assert sealing_reads.seal(database, now=NOW, limit=2) == 5, "in batches, until nothing waits"
    with database.begin(mine) as tx:
        assert store.unsealed(tx, mine)[0] == 0
    monkeypatch.undo()
    assert sealing_reads.seal(database, now=NOW) == 5


def test_notes_that_nobody_seals_degrade_the_status(database: Database, workspace: str) -> None:
    quarantine = Quarantine(Sealer(KEY))

    def reasons() -> tuple[list[str], int]:
        found = of_workspace(database, quarantine, workspace)
        return [reason["code"] for reason in found["reasons"]], found["audit"]["unsealed"]

    with database.begin(workspace) as tx:
        audit.record_read(tx, workspace, actor="ruth", action="entity.show", object="x", now=NOW)
    assert reasons() == ([], 1)
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO audit_read (workspace_id, read_id, at, actor, action, object, noted_at) VALUES"
            " (:ws, :id, now(), 'ruth', 'entity.show', 'x', now() - interval '40 s')",
            ws=workspace,
            id=new_id(),
        )
    assert reasons() == (["audit_unsealed"], 2)
    sealing_reads.seal(database, now=utc_now())
    assert reasons() == ([], 0)


def test_a_log_that_nobody_anchors_degrades_the_status(database: Database, workspace: str) -> None:
    quarantine, sealer = Quarantine(Sealer(KEY)), Sealer(KEY)

    def reasons() -> list[str]:
        return [reason["code"] for reason in of_workspace(database, quarantine, workspace)["reasons"]]

    def append(hours_ago: int) -> None:
        with database.begin(workspace) as tx:
            at = utc_now() - timedelta(hours=hours_ago)
            audit.append(tx, workspace, actor="ruth", action="source.apply", object="x", now=at)

    assert reasons() == []
    append(30)
    assert reasons() == [], "within the day, and the time that a beat may need"
    append(1)
    sealing_reads.anchor(database, sealer, now=utc_now() - timedelta(hours=1))
    append(40)
    assert reasons() == ["audit_unanchored"]
    sealing_reads.anchor(database, sealer, now=utc_now() + timedelta(days=1))
    assert reasons() == []


def test_eight_who_write_read_and_seal_at_once_make_one_chain(database: Database, workspace: str) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(25):
                with database.begin(workspace) as tx:
                    for part in range(3):
                        audit.append(tx, workspace, actor=str(number), action="a", object=f"{n}.{part}", now=NOW)
                    audit.record_read(tx, workspace, actor=str(number), action="entity.show", object="x", now=NOW)
                if number == 0:
                    sealing_reads.seal(database, now=NOW)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealing_reads.seal(database, now=NOW)
    assert failed == []
    with database.begin(workspace) as tx:
        assert verifying.verify(tx, workspace).broken is None
        order = rows(tx, "SELECT actor, object, txid FROM audit_log WHERE action = 'a' ORDER BY n")
    assert len(order) == 600
    for first in range(0, 600, 3):
        together = order[first : first + 3]
        assert len({entry["txid"] for entry in together}) == 1, "what one transaction did stands together"
        assert [entry["object"].partition(".")[2] for entry in together] == ["0", "1", "2"]


def test_what_was_undone_repeated_or_died_leaves_no_gap(database: Database, workspace: str) -> None:
    """Eight who append while their transactions fail now and then: by an error, in a conflict, by a lost connection."""
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(20):
                attempts = iter((0, 1))

                def step(tx: Any, n: int = n, attempts: Any = attempts) -> None:
                    audit.append(tx, workspace, actor=str(number), action="a", object=str(n), now=NOW)
                    if n % 4 == 1 and next(attempts) == 0:
                        raise Conflict("once more", code="concurrent_write")
                    if n % 4 == 2:
                        audit.flush(tx, workspace)
                        raise ZeroDivisionError
                    if n % 4 == 3 and next(attempts) == 0:
                        rows(tx, "SELECT pg_terminate_backend(pg_backend_pid())")

                with suppress(ZeroDivisionError, Unavailable):
                    database.retrying(workspace, step)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with database.begin(workspace) as tx:
        assert verifying.verify(tx, workspace).broken is None
        kept = rows(tx, "SELECT actor, object FROM audit_log WHERE action = 'a' ORDER BY n")
    by_actor = {str(number): [int(row["object"]) for row in kept if row["actor"] == str(number)] for number in range(8)}
    for done in by_actor.values():
        assert done == sorted(set(done)), "each once, in its order"
        assert {n for n in done if n % 4 in (0, 1)} == {n for n in range(20) if n % 4 in (0, 1)}
        assert not [n for n in done if n % 4 == 2], "what was undone is not there"
