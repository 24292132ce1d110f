"""Requests for the tokens of a sink count against its quota where the vendor counts them."""

from __future__ import annotations

import time

from connector_runner.connectors import directory
from connector_runner.connectors.sinks import Outcome, Sink
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.sinks.pace_memory import SqlMemory
from connector_runner.resilience.limiter import Limiter
from tests.integration.outbound_stack import sinks_of
from tests.integration.tokens.bench import TokenBench


def a_practice(bench: TokenBench, redis_url: str, per_day: int) -> Sink:
    """A sink of eClinicalWorks, which counts requests for tokens, opened as drains open it."""
    auth = bench.smart(algorithm="RS384") | {"algorithm": "RS384", "token_url": f"{bench.system.origin}/auth/token"}
    rate = {"per_second": 50, "burst": 10, "concurrency": 1, "per_day": per_day}
    settings = {
        "adapter": "eclinicalworks", "server": bench.system.origin, "practice_code": "ABCDEF", "auth": auth,
        "sink": {"entity_types": ["questionnaire_response"], "rate": rate},
    }  # fmt: skip
    document = {"name": "practice", "source_type": "ehr", "settings": settings}
    with bench.database.begin(bench.workspace) as tx:
        (applied,) = directory.apply(tx, bench.workspace, document, actor="test", now=utc_now())
    bench.source_id = applied.source.data_source_id
    limiter = Limiter(redis_url, SqlMemory(bench.database))
    with bench.database.begin(bench.workspace) as tx:
        _, sink = sinks_of(bench.database, bench.sealer, limiter).open(
            tx, bench.workspace, applied.source.data_source_id
        )
    return sink


def test_a_token_takes_one_of_the_days_requests(bench: TokenBench, redis_url: str) -> None:
    sink = a_practice(bench, redis_url, per_day=2)
    bench.behave(life_s=1.0)
    for n in (1, 2):
        assert sink.read("Patient/1").outcome is not Outcome.QUOTA
        assert len(bench.asked) == n
        time.sleep(1)
    reply = sink.read("Patient/1")
    assert (reply.outcome, reply.code) == (Outcome.QUOTA, "read_paced")
    assert reply.retry_after_s is not None
    assert reply.retry_after_s > 0
    assert len(bench.asked) == 2, "nothing was sent"
    assert bench.shown()[0]["failure_code"] is None
