"""CPU of a write over our code and the database, the sink apart; how many statements it takes; where the time goes.

python -m benchmarks.write_cost [--writes 1000 --profile --statements]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks.machine import Bench, bench, birth_date, report
from connector_runner.bootstrap import Runner, build
from connector_runner.connectors import directory
from connector_runner.infra.database import execute, one
from connector_runner.infra.session import Session
from connector_runner.intake import appending
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes.drain import drain
from connector_runner.outbound.releasing.regrouping import subscriber as sinks_hear
from connector_runner.outbound.releasing.release import release
from connector_runner.resolution import service as resolution
from connector_runner.settings import Settings

ANALYZED = "entity, event, adopted_record, sync_lane, open_intent, write_log, sent_value, record_version"


@dataclass
class Statements:
    """What is sent to Postgres: statements by their beginning; as many COMMITs as transactions."""

    sent: Counter[str] = field(default_factory=Counter)

    def listen(self) -> None:
        """From now on."""
        run, later, finish = Session.run, Session.later, Session.finish

        def counted(session: Session, cursor: Any, statement: str, params: Any) -> None:
            self.sent[_beginning(statement)] += 1
            run(session, cursor, statement, params)

        def put_off(session: Session, statement: str, params: Any) -> None:
            self.sent[f"with another: {_beginning(statement)}"] += 1
            later(session, statement, params)

        def ended(session: Session, how: str) -> None:
            self.sent[how] += 1
            finish(session, how)

        for name, wrapped in (("run", counted), ("later", put_off), ("finish", ended)):
            setattr(Session, name, wrapped)


def _beginning(statement: str) -> str:
    return re.sub(r"\s+", " ", statement)[:90]


@dataclass
class Meter:
    """CPU seconds of this process, of Postgres and of Redis since it was made."""

    servers: Bench
    redis: psutil.Process
    began: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        self.began = self.read()

    def read(self) -> tuple[float, float, float]:
        """As of now."""
        return time.process_time(), self.servers.postgres_cpu_s(), sum(self.redis.cpu_times()[:2])

    def spent(self) -> tuple[float, float, float]:
        """Since then."""
        now = self.read()
        return now[0] - self.began[0], now[1] - self.began[1], now[2] - self.began[2]


def redis_process(servers: Bench) -> psutil.Process:
    """The server of this run."""
    port = servers.redis_url.rsplit(":", 1)[1].split("/")[0].split("?")[0]
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "valkey" in line and port in line:
            return process
    found = [p for p in psutil.process_iter(["name"]) if "valkey" in (p.info["name"] or "")]
    return found[-1]


def sandbox() -> tuple[subprocess.Popen[str], str]:
    """A simulated store, as a process of its own."""
    command = [sys.executable, "-m", "connector_runner.sandbox", "--system", "store", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline() if process.stdout else ""
    return process, line.split()[-1].rstrip("/").removesuffix("/fhir") + "/fhir"


def patients(first: int, count: int, phone: int) -> list[dict[str, Any]]:
    """So many patients as a person typed them in."""
    return [
        {
            "canonical_id": f"manual:Patient:{n}",
            "entity_type": "patient",
            "event_type": "patient.created",
            "source": "manual",
            "confidence": 1,
            "facts": {
                "name": {"family": f"Bench{n}", "given": ["Test"]},
                "birth_date": birth_date(n),
                "telecom": [{"system": "phone", "use": "home", "value": f"+1617555{phone:04}"}],
            },
        }
        for n in range(first, first + count)
    ]


def append(runner: Runner, workspace_id: str, events: list[dict[str, Any]]) -> None:
    """Make them known."""
    for start in range(0, len(events), 100):
        with runner.database.begin(workspace_id) as tx:
            outcome = appending.append(
                tx,
                runner.world,
                runner.mappings,
                workspace_id,
                events[start : start + 100],
                actor="benchmark",
                now=utc_now(),
            )
        if outcome.errors:
            raise SystemExit(f"not appended: {outcome.errors}")


def write(runner: Runner, workspace_id: str, sink_id: str) -> Counter[str]:
    """Release and drain until nothing is left to do."""
    done: Counter[str] = Counter()
    while release(runner.outbound, workspace_id, 100).entities:
        pass
    while True:
        part = drain(runner.outbound, workspace_id, sink_id, "benchmark", 30)
        done.update(part.outcomes)
        if not part.more:
            return done


def phase(
    name: str, servers: Bench, runner: Runner, workspace_id: str, sink_id: str, events: list[dict[str, Any]], how: Any
) -> dict[str, Any]:
    """Append, then measure the way out alone."""
    append(runner, workspace_id, events)
    # Nobody is made in a sink before they were compared with those who are known.
    resolution.work_off(runner.database, workspace_id, now=utc_now(), tell=sinks_hear)
    with runner.database.engine.connect() as connection:
        # As autovacuum does within a minute: plans are for tables as they are.
        connection.exec_driver_sql(f"ANALYZE {ANALYZED}")
    statements = Statements()
    if how.statements:
        statements.listen()
    profile = cProfile.Profile() if how.profile else None
    meter = Meter(servers, redis_process(servers))
    began = time.monotonic()
    if profile:
        profile.enable()
    done = write(runner, workspace_id, sink_id)
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats(how.sort).print_stats(45)
    ours, postgres, redis = meter.spent()
    writes = done["landed"]
    if how.statements:
        for statement, count in statements.sent.most_common(40):
            print(f"{count / writes:6.2f}  {statement}")
    return {
        "phase": name,
        "writes": writes,
        "cpu_ms_a_write": round((ours + postgres + redis) / writes * 1000, 2),
        "ours_ms": round(ours / writes * 1000, 2),
        "postgres_ms": round(postgres / writes * 1000, 2),
        "redis_ms": round(redis / writes * 1000, 2),
        "per_second": round(writes / (time.monotonic() - began), 1),
    }


def bare(servers: Bench, runner: Runner, workspace_id: str, count: int) -> float:
    """CPU milliseconds of a transaction with one INSERT, on the same machine at the same time."""
    meter = Meter(servers, redis_process(servers))
    for _ in range(count):
        with runner.database.begin(workspace_id) as tx:
            execute(
                tx,
                "INSERT INTO full_sync_seen VALUES (:ws, :id, 'Patient', :id, :id)",
                ws=workspace_id,
                id=new_id(),
            )
    ours, postgres, _ = meter.spent()
    return (ours + postgres) / count * 1000


def measure(servers: Bench, how: Any) -> None:
    """Creates, then updates of the same patients."""
    # As a worker is made: with its garbage collector.
    runner = build(
        Settings(
            home=servers.home,
            http_allow=("127.0.0.1",),
            DATABASE_URL=servers.database_url,
            REDIS_URL=servers.redis_url,
        )
    )
    process, base_url = sandbox()
    try:
        workspace_id = servers.workspace("demo")
        sink = {
            "entity_types": ["patient"],
            "rate": {"per_second": 2000, "burst": 400, "concurrency": how.concurrency},
        }
        document = {
            "name": "store",
            "source_type": "fhir_store",
            "settings": {"base_url": base_url, "mapping": "fhir_r4", "sink": sink},
        }
        with runner.database.begin(workspace_id) as tx:
            directory.apply(tx, workspace_id, document, actor="benchmark", now=utc_now())
            row = one(tx, "SELECT data_source_id FROM data_source WHERE workspace_id = :ws", ws=workspace_id)
        if row is None:
            raise SystemExit("the sink was not applied")
        sink_id = row["data_source_id"]
        warm = argparse.Namespace(profile=False, statements=False)
        phase("warm", servers, runner, workspace_id, sink_id, patients(10**6, 50, 1), warm)
        for name, phone in (("create", 1), ("update", 2)):
            events = patients(0, how.writes, phone)
            found = phase(name, servers, runner, workspace_id, sink_id, events, how)
            insert_ms = bare(servers, runner, workspace_id, 500)
            found |= {"insert_ms": round(insert_ms, 2), "inserts": round(found["cpu_ms_a_write"] / insert_ms, 1)}
            report("write_cost", found)
    finally:
        process.terminate()
        process.wait(15)
        runner.database.dispose()


def main() -> None:
    """One process; the sink is another's CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--sort", default="tottime")
    parser.add_argument("--statements", action="store_true")
    with bench() as servers:
        measure(servers, parser.parse_args())


if __name__ == "__main__":
    main()
