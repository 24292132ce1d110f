"""What review costs with much behind it: the scan, listings and figures of the queue, calibration, a decision.

python -m benchmarks.review_volume [--decided 1000000 --pending 100000 --items 100000 --labels 100000]

Everything is put in by statements of its own, in the shape in which the product leaves it, then each thing is done
five times: the median of wall clock and the mean of CPU, ours and Postgres', in milliseconds, under row-level security.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from benchmarks.claim import administer
from benchmarks.machine import Bench, bench, report
from benchmarks.review_rate import runner_on
from connector_runner.bootstrap import Runner
from connector_runner.infra.database import Database, Tx, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.review import label_store, pending_store, queue, switching, tending
from connector_runner.review.calibration import measured
from connector_runner.review.items import Answer, Item

TIMES: Final = 5
_EVENTS: Final = (
    "INSERT INTO event (workspace_id, id, entity_id, entity_type, domain, event_type, facts, snapshot, source,"
    " confidence, caused_by, ingested_at) SELECT :ws, md5(:kind || n)::uuid, md5('entity' || :group || n)::uuid,"
    " 'patient', 'clinical', :type, CAST(:facts AS jsonb), false, :source, :confidence, CASE WHEN :kind = 'verdict'"
    " THEN md5('decided' || n)::uuid END, :until - (:count - n) * interval '1 second' FROM generate_series(1, :count) n"
)
_ITEMS: Final = (
    "INSERT INTO review_item (workspace_id, id, kind, entity_id, entity_type, event_ids, asked, reason, category,"
    " priority, analysis, status, completed_action, completed_by, completed_at, created_at, changed_at)"
    " SELECT :ws, md5(:status || n)::uuid, 'events', md5('entity' || :status || n)::uuid, 'patient',"
    "  ARRAY[md5('asked' || n)::uuid], jsonb_build_object(md5('asked' || n)::uuid, '[\"gender\"]'::jsonb),"
    "  CASE n % 3 WHEN 0 THEN 'contradicted' ELSE 'unclear' END, CASE n % 4 WHEN 0 THEN 'identity' ELSE 'contact' END,"
    "  10 * (n % 11), jsonb_build_object('version', 'rules-1', 'fields', jsonb_build_array(jsonb_build_object("
    "   'event_id', md5('asked' || n)::uuid, 'path', 'gender', 'verdict', 'unclear', 'by', 'rules', 'code',"
    "   'not_said'))), :status, CASE WHEN :status = 'completed' THEN 'approved' END,"
    "  CASE WHEN :status = 'completed' THEN 'ruth' END, CASE WHEN :status = 'completed' THEN :now"
    "  - (:count - n) * interval '20 seconds' END, :now - (:count - n) * interval '21 seconds', :now"
    " FROM generate_series(1, :count) n"
)
_ENTITIES: Final = (
    "INSERT INTO entity (workspace_id, entity_id, entity_type, canonical_id, made_by, confidence, event_count,"
    " first_seen_at, last_event_at, updated_at) SELECT :ws, md5('entitypending' || n)::uuid, 'patient',"
    " 'voice_agent:' || n, md5('asked' || n)::uuid, 0.5, 1, :now, :now, :now FROM generate_series(1, :count) n"
)
_PENDING: Final = (
    "INSERT INTO pending_review (workspace_id, entity_id, due_at) SELECT :ws, md5('entitywaiting' || n)::uuid,"
    " now() + interval '1 hour' FROM generate_series(1, :count) n"
)
_LABELS: Final = (
    "INSERT INTO label (workspace_id, id, kind, one, event_id, field, category, holds, verdict, rule, score, version,"
    " weight, actor, reason, item_id, at) SELECT :ws, md5('label' || n)::uuid, 'claim', md5('l' || n)::uuid,"
    " md5('le' || n)::uuid, 'telecom', CASE n % 4 WHEN 0 THEN 'identity' ELSE 'contact' END, n % 50 <> 0,"
    " CASE n % 3 WHEN 0 THEN 'unclear' ELSE 'supported' END, 'rules', CASE n % 3 WHEN 0 THEN 0.5 ELSE 0.85 END,"
    " 'rules-1', 1, 'ruth', '', md5('li' || n)::uuid, :now - (:count - n) * interval '1 minute'"
    " FROM generate_series(1, :count) n"
)


def fill(servers: Bench, database: Database, workspace: str, given: argparse.Namespace, now: datetime) -> None:
    """Events that the judge passed, events that wait for it, items that are open and done, labels."""
    said = {"facts": '{"gender": "female"}', "source": "voice_agent", "confidence": 0.5, "type": "patient.reported"}
    passed = '{"about": "x", "kind": "automated"}'
    verdict = {"facts": passed, "source": "review", "confidence": 0.85, "type": "review.approved"}
    with database.begin(workspace) as tx:
        some: dict[str, Any] = {"ws": workspace, "until": now}
        execute(tx, _EVENTS, **some, **said, kind="decided", group="decided", count=given.decided)
        execute(tx, _EVENTS, **some, **verdict, kind="verdict", group="decided", count=given.decided)
        execute(tx, _EVENTS, **some, **said, kind="asked", group="pending", count=given.items)
        execute(tx, _ENTITIES, ws=workspace, count=given.items, now=now)
        execute(tx, _EVENTS, **some, **said, kind="waiting", group="waiting", count=given.pending)
        execute(tx, _PENDING, ws=workspace, count=given.pending)
        for status in ("pending", "completed"):
            execute(tx, _ITEMS, ws=workspace, status=status, count=given.items, now=now)
        execute(tx, _LABELS, ws=workspace, count=given.labels, now=now)
    administer(servers, "VACUUM ANALYZE event, entity, review_item, label, pending_review")


def looks(workspace: str, now: datetime) -> dict[str, Callable[[Tx], object]]:
    """What people look at."""
    waits = {"status": ["pending", "in_progress"]}
    return {
        "list": lambda tx: queue.listing(tx, workspace, **waits),
        "list_page_500": lambda tx: queue.listing(tx, workspace, offset=10_000, **waits),
        "list_of_a_category": lambda tx: queue.listing(tx, workspace, category="identity", **waits),
        "my_queue": lambda tx: queue.listing(tx, workspace, status=["in_progress"], assigned_to="ruth"),
        "history": lambda tx: queue.history(tx, workspace),
        "stats": lambda tx: (queue.stats(tx, workspace, now=now), pending_store.waiting(tx, workspace, now)),
        "calibration": lambda tx: measured(label_store.labels(tx, workspace)),
        "suspension_check": lambda tx: switching.check(tx, workspace, [("contact", "rules-1")], now=now),
    }


def decisions(runner: Runner, workspace: str) -> Iterator[Callable[[], object]]:
    """People's answers, each to another question."""
    with runner.database.begin(workspace) as tx:
        found = queue.listing(tx, workspace, status=["pending"], limit=TIMES)[0]
    for item in found:

        def decide(item_id: str = item.id) -> object:
            with runner.database.begin(workspace) as tx:
                answer = Answer("approved", "ruth")
                done = queue.decide(tx, runner.answer_handlers, workspace, item_id, answer, now=utc_now())
            if not isinstance(done, Item):
                raise SystemExit(f"refused: {done.code}")
            return done

        yield decide


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("decided", 1_000_000), ("pending", 100_000), ("items", 100_000), ("labels", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    given = parser.parse_args()
    with bench() as servers:
        database, now = servers.database(), utc_now()
        workspace = servers.workspace("volume")
        fill(servers, database, workspace, given, now)
        figures: dict[str, object] = {"events": given.decided * 2 + given.pending, "items": given.items * 2}
        began = time.perf_counter()
        found = tending.scan(database, workspace, now=now)
        figures |= {"scan_first_s": round(time.perf_counter() - began, 1), "found_first": found}
        figures["scan"] = _took(servers, lambda: tending.scan(database, workspace, now=now + timedelta(seconds=1)))
        began = time.perf_counter()
        tending.tend(database, workspace, now=now + timedelta(seconds=2))
        figures["tend_s"] = round(time.perf_counter() - began, 1)
        for name, look in looks(workspace, now).items():
            figures[name] = _took(servers, lambda look=look: _within(database, workspace, look))  # type: ignore[misc]
        runner = runner_on(servers.database_url, servers.redis_url)
        answers = decisions(runner, workspace)
        figures["decide"] = _took(servers, lambda: next(answers)())
        report("review_volume", figures)


def _within(database: Database, workspace: str, look: Callable[[Tx], object]) -> None:
    with database.begin(workspace) as tx:
        look(tx)


def _took(servers: Bench, work: Callable[[], object]) -> dict[str, float]:
    took = []
    cpu_s = time.process_time() + servers.postgres_cpu_s()
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    cpu_s = time.process_time() + servers.postgres_cpu_s() - cpu_s
    return {"ms": round(1000 * median(took), 1), "cpu_ms": round(1000 * cpu_s / TIMES, 1)}


if __name__ == "__main__":
    main()
