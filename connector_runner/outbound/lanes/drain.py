"""The drain: takes the lanes of one sink that are due and brings the sink to what they want, at its own pace."""

from __future__ import annotations

from collections.abc import Callable

from connector_runner.connectors.sinks import Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.logging import get_logger
from connector_runner.kernel.errors import Misconfigured
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes.bench import Bench, Drained
from connector_runner.outbound.lanes.desk import SqlDesk
from connector_runner.outbound.lanes.lane_store import SqlLaneStore, SqlLaneTx
from connector_runner.outbound.lanes.writing import Hands
from connector_runner.outbound.ports import REAL, Desk, LaneStore, LaneTx, Opened, Runtime
from connector_runner.resilience.limiter import Limiter

__all__ = ["Drained", "drain", "work_off"]

_MISCONFIGURED_S = 60.0
_LOOK_AHEAD = 64
_MOST_HANDS = 4

log = get_logger(__name__)


def drain(outbound: Outbound, workspace_id: str, sink_id: str, owner: str, slice_s: float = 10.0) -> Drained:
    """Work off due lanes of a sink for at most ``slice_s`` (and one request) seconds.

    Any number may run at once, in any number of processes. Raises Misconfigured when it is no usable sink.
    """

    def opened(tx: LaneTx) -> tuple[SinkTerms, Sink]:
        if not isinstance(tx, SqlLaneTx):
            raise TypeError("sinks are opened in transactions of the SQL store")
        return outbound.sinks.open(tx.tx, workspace_id, sink_id)

    store = SqlLaneStore(outbound.database, outbound.sealer, outbound.quarantine, workspace_id, outbound.clock)
    return work_off(
        store,
        lambda terms: SqlDesk(outbound, workspace_id, terms),
        opened,
        outbound.limiter,
        sink_id,
        owner,
        slice_s,
        outbound.runtime,
    )


def work_off(
    store: LaneStore,
    desk: Callable[[SinkTerms], Desk],
    opened: Opened,
    limiter: Limiter,
    sink_id: str,
    owner: str,
    slice_s: float,
    runtime: Runtime = REAL,
) -> Drained:
    """The drain over its ports."""
    until = runtime.clock() + slice_s
    with store.begin() as tx:
        state = tx.sink_state(sink_id)
        if state.closed:
            return Drained(closed=state.closed, wait_s=state.wait_s)
        due = tx.due_count(sink_id, _LOOK_AHEAD)
        if not due:
            return Drained()
        try:
            terms, sink = opened(tx)
        except Misconfigured as exc:
            tx.pause(sink_id, exc.code, _MISCONFIGURED_S)
            log.warning("sink_misconfigured", sink_id=sink_id, code=exc.code)
            return Drained(closed=exc.code, wait_s=_MISCONFIGURED_S)
    bench = Bench(store, desk(terms), terms, sink, limiter, runtime)
    hands = 1 if state.mending else min(terms.concurrency, due, _MOST_HANDS)
    done = Drained()
    for part in runtime.spawn([Hands(bench, f"{owner}/{n}", until, state).run for n in range(hands)]):
        done.outcomes.update(part.outcomes)
        done.wait_s = max(done.wait_s, part.wait_s)
        done.closed = done.closed or part.closed
    with store.begin() as tx:
        done.more = tx.due_count(sink_id, 1) > 0
    return done
