"""How soon an event has its verdict where a language model is asked about each, beyond the model's own time.

python -m benchmarks.review_model [--rate 20 --seconds 60 --model-s 1.0]

Every call says a phone that nobody read back, so that rules ask the model; it takes so long for each answer, and
doubts, so that the verdict is a question to a person. One process with the threads of an io worker reviews, hinted
at each commit as it is by the product. The budget of tokens is lifted.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import Any

from benchmarks.machine import Bench, bench, report
from benchmarks.review_rate import heard
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra.database import one, rows
from connector_runner.infra.queue import REVIEW
from connector_runner.intake import appending
from connector_runner.kernel.clock import utc_now
from connector_runner.review import material, policy_store
from connector_runner.settings import Settings
from tasks import running
from tests.integration.llm_server import serving


def unconfirmed(number: int) -> tuple[str, str, dict[str, Any]]:
    """A conversation in which a phone is said, and not read back."""
    session, said, event = heard(number)
    return session, said.split("Agent: So")[0] + "Agent: Thank you.\n", event


def doubting(model_s: float) -> Any:
    """An answer that takes so long, and finds everything unclear."""

    def answer(request: dict[str, Any]) -> str:
        claims = json.loads(request["messages"][1]["content"])["claims"]
        time.sleep(model_s)
        return json.dumps({"verdicts": [{"claim": c["claim"], "verdict": "unclear", "quotes": []} for c in claims]})

    return answer


def measure(servers: Bench, settings: Settings, per_s: float, seconds: float, model_s: float) -> dict[str, object]:
    """Events at a steady rate, and when each is asked about."""
    workspace, count = servers.workspace("model"), int(per_s * seconds)
    runner = Runner(settings, Addresses(servers.database_url, servers.redis_url))
    with runner.database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="benchmark", now=utc_now())

    def task() -> None:
        more = True
        while more:
            with running.share_of(REVIEW, settings.review_tasks) as mine:
                more = mine and runner.review.run(workspace).more

    cpu, postgres, began = time.process_time(), servers.postgres_cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(settings.io_threads) as worker:
        for number in range(count):
            time.sleep(max(0.0, began + number / per_s - time.perf_counter()))
            session, said, event = unconfirmed(number)
            with runner.database.begin(workspace) as tx:
                material.put(tx, runner.sealer, workspace, session, said, actor="benchmark", now=utc_now())
                appending.append(
                    tx, runner.world, runner.mappings, workspace, [event], actor="benchmark", now=utc_now()
                )
            worker.submit(task)
        until = time.perf_counter() + 60
        while asked(runner, workspace) < count and time.perf_counter() < until:
            worker.submit(task)
            time.sleep(1.0)
    cpu_ms = 1000 * (time.process_time() - cpu + servers.postgres_cpu_s() - postgres) / count
    waits = beyond(runner, workspace, model_s)
    if len(waits) != count:
        raise SystemExit(f"only {len(waits)} of {count} events were asked about: nothing to measure")
    cuts = quantiles(waits, n=100)
    return {
        "events": count,
        "model_s": model_s,
        "beyond_p50_s": round(cuts[49], 2),
        "beyond_p95_s": round(cuts[94], 2),
        "beyond_most_s": round(max(waits), 2),
        "cpu_ms_an_event": round(cpu_ms, 1),
    }


def asked(runner: Runner, workspace: str) -> int:
    """How many events people are asked about."""
    with runner.database.begin(workspace) as tx:
        row = one(tx, "SELECT count(*) AS n FROM review_item")
    return int(row["n"]) if row else 0


def beyond(runner: Runner, workspace: str, model_s: float) -> list[float]:
    """Seconds from the commit of each event to its verdict, less what the model took."""
    with runner.database.begin(workspace) as tx:
        found = rows(
            tx,
            "SELECT extract(epoch FROM i.created_at - e.ingested_at)::float AS s FROM review_item i JOIN event e"
            " ON e.id = i.event_ids[1] WHERE i.analysis->'fields'->0->>'by' = 'model' ORDER BY 1",
        )
    return [float(row["s"]) - model_s for row in found]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model-s", type=float, default=1.0)
    given = parser.parse_args()
    with bench() as servers, serving() as model:
        model.answer = doubting(given.model_s)
        settings = Settings(
            llm_base_url=model.base_url, llm_model="m", llm_tokens_per_hour=10**9, http_allow=("127.0.0.1",),
            encryption_key="A" * 43 + "=",
        )  # fmt: skip
        report("review_model", measure(servers, settings, given.rate, given.seconds, given.model_s))


if __name__ == "__main__":
    main()
