"""The product's SQL lane store, told what time it is: the same statements, under a clock of ours.

A schema ``sim`` stands before ``pg_catalog`` in the search path of these transactions, with a
``clock_timestamp()`` that reads a setting. Column defaults of the database are made to read it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import text

from connector_runner.infra.database import Database, Tx, execute, rows
from connector_runner.infra.sealing import Sealer
from connector_runner.outbound.lanes import intents
from connector_runner.outbound.lanes.intents import Confirmed
from connector_runner.outbound.lanes.lane import Lane, State, client_ref, lane_id
from connector_runner.outbound.lanes.lane_store import SqlLaneStore, SqlLaneTx
from connector_runner.outbound.planning.dependency_store import wake_dependents
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.resilience.quarantine import Quarantine
from tests.simulation.server import instant

T = TypeVar("T")

_KEY = bytes(range(32))
_CLOCK = "current_setting('sim.now')::timestamptz"


class VirtualDatabase(Database):
    """Postgres under virtual time. ``clock``: seconds of the run that is under way."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.clock: Callable[[], float] = lambda: 0.0

    @contextmanager
    def _transaction(self, setting: str, value: str) -> Iterator[Tx]:
        with super()._transaction(setting, value) as tx:
            tx.execute(
                text(
                    "SELECT set_config('search_path', 'sim, pg_catalog, public', true),"
                    " set_config('synchronous_commit', 'off', true), set_config('sim.now', :now, true)"
                ),
                {"now": instant(self.clock())},
            )
            yield tx

    def prepare(self) -> None:
        """Once a database: the clock, and defaults that go by it."""
        with self.engine.begin() as tx:
            tx.execute(text("CREATE SCHEMA sim"))
            for name in ("clock_timestamp", "now"):
                tx.execute(
                    text(
                        f"CREATE FUNCTION sim.{name}() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT {_CLOCK} $$"
                    )
                )
            found = rows(
                tx,
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
                " AND (column_default LIKE '%now()%' OR column_default LIKE '%clock_timestamp()%')",
            )
            for row in found:
                tx.execute(
                    text(
                        f'ALTER TABLE "{row["table_name"]}" ALTER COLUMN "{row["column_name"]}"'
                        " SET DEFAULT sim.clock_timestamp()"
                    )
                )


class VirtualLaneTx(SqlLaneTx):
    """The store's own transaction, with what the simulated clinic does besides."""

    def known(self, lane: Lane) -> Confirmed | None:
        """What the sink was known to hold when the lane was claimed."""
        return intents.open_confirmed(self.tx, self.of.sealer, lane)

    def want(
        self, sink_id: str, entity_id: str, *, state: State = State.READY, prio: int = 20, delay_s: float = 0.0,
        sink_ref: str | None = None, about: str | None = None,
    ) -> State:  # fmt: skip
        """As release does. ``about``: the entity that it refers to."""
        if about is not None:
            execute(
                self.tx,
                "INSERT INTO relationship_page (workspace_id, target_id, name, append_id, entity_ids)"
                " VALUES (:ws, :target, 'patient', :entity, ARRAY[CAST(:entity AS uuid)]) ON CONFLICT DO NOTHING",
                ws=self.of.workspace_id,
                target=about,
                entity=entity_id,
            )
        place = lane_id(sink_id, entity_id)
        wish = sink_store.Wish(
            sink_id=sink_id, lane_id=place, entity_id=entity_id, entity_type="appointment" if about else "patient",
            client_ref=client_ref(sink_id, entity_id), state=state, prio=prio, policy="latest",
            revision=1, delay_s=delay_s, sink_ref=sink_ref,
        )  # fmt: skip
        return sink_store.want(self.tx, self.of.workspace_id, [wish])[place]

    def wake(self, sink_id: str, entity_id: str) -> int:
        """As the product does."""
        return wake_dependents(self.tx, self.of.workspace_id, sink_id, [entity_id])

    def place(self, sink_id: str, entity_id: str) -> str | None:
        """Where the sink has an entity's record."""
        found = rows(self.tx, "SELECT sink_ref FROM sync_lane WHERE lane_id = :id", id=lane_id(sink_id, entity_id))
        return str(found[0]["sink_ref"]) if found and found[0]["sink_ref"] else None

    def states(self) -> list[State]:
        """Of every lane."""
        return [State(row["state"]) for row in rows(self.tx, "SELECT state FROM sync_lane ORDER BY lane_id")]

    def state_of(self, sink_id: str, entity_id: str) -> State:
        """Of one lane."""
        [row] = rows(self.tx, "SELECT state FROM sync_lane WHERE lane_id = :id", id=lane_id(sink_id, entity_id))
        return State(row["state"])

    def open_intents(self) -> int:
        """How many."""
        return len(rows(self.tx, "SELECT 1 FROM open_intent"))

    def replay(self) -> int:
        """As an operator does."""
        return execute(
            self.tx,
            "UPDATE sync_lane l SET attempts = 0, reason = NULL, due_at = clock_timestamp(),"
            " state = CASE WHEN EXISTS (SELECT 1 FROM open_intent i WHERE i.lane_id = l.lane_id)"
            "  THEN 'unknown' ELSE 'ready' END WHERE state = 'quarantined'",
        )


@dataclass(frozen=True, slots=True)
class VirtualLaneStore(SqlLaneStore):
    """The store's transactions with the clinic's verbs."""

    def over(self, tx: Tx) -> VirtualLaneTx:
        """See the store."""
        return VirtualLaneTx(tx, self)


def lane_store(database: VirtualDatabase, workspace_id: str, sink_id: str, clock: Callable[[], float]) -> Any:
    """A workspace and a sink of their own, and the store over them."""
    database.clock = clock
    sealer = Sealer(_KEY)
    with database.begin(workspace_id) as tx:
        execute(
            tx,
            "INSERT INTO workspace (workspace_id, slug, name) VALUES (:ws, :slug, 'Simulated') ON CONFLICT DO NOTHING",
            ws=workspace_id,
            slug=f"sim-{workspace_id}",
        )
        execute(
            tx,
            "INSERT INTO data_source (workspace_id, data_source_id, name, source_type, sink_enabled)"
            " VALUES (:ws, :sink, 'store', 'fhir_store', true)",
            ws=workspace_id,
            sink=sink_id,
        )
    return VirtualLaneStore(database, sealer, Quarantine(sealer), workspace_id)
