"""What the lane engine stands on. It sees nothing else: no database, no clock, no chance, no thread of its own.

The SQL side is ``lane_store`` and ``desk``; the simulator brings an in-memory one. Times are seconds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from connector_runner.connectors.sinks import Json, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes.intents import Confirmed, Intent
from connector_runner.outbound.lanes.lane import Lane, State, Withheld
from connector_runner.outbound.planning.dependencies import NOBODY
from connector_runner.outbound.planning.plans import Nothing, Wait
from connector_runner.outbound.sinks.sink_state import SinkState

T = TypeVar("T")


class LaneTx(Protocol):
    """One transaction over the lanes of a workspace. What it did counts when it is committed, all or nothing.

    Methods that answer bool are fenced: False, and nothing done, when the claim is no longer the caller's.
    """

    def claim(self, sink_id: str, *, owner: str, lease_s: float) -> Lane | None:
        """Lease the lane that is due first: unknown ones whose quiet period is over, then by priority."""

    def claim_more(self, sink_id: str, *, owner: str, lease_s: float, limit: int) -> list[Lane]:
        """Lease those that are due next, by priority; none that is unknown."""

    def join(
        self, sink_id: str, entity_ids: Sequence[str], *, referring: bool, owner: str, lease_s: float, limit: int
    ) -> list[Lane]:
        """Lease lanes of these entities that have no record yet, or (``referring``) of those that refer to them.

        Of those that are due or wait for a record to be there, none with an open intent, nor one for ``ALONE``.
        """

    def lock(self, lane: Lane) -> bool:
        """Hold the claimed lane's row until the end of the transaction."""

    def lock_all(self, lanes: Sequence[Lane]) -> set[str]:
        """As ``lock``, for several at once: the ids of those whose claim is the caller's."""

    def extend(self, lane: Lane, lease_s: float) -> bool:
        """The lease ends so long from now."""

    def extend_all(self, lanes: Sequence[Lane], lease_s: float) -> set[str]:
        """As ``extend``, for several at once: the ids of those whose claim is the caller's."""

    def give_back(
        self,
        lane: Lane,
        to: State,
        *,
        reason: str | None,
        detail: str | None = None,
        delay_s: float = 0.0,
        counts: bool = True,
        status: int | None = None,
        withheld: Sequence[Withheld] | None = None,
        forget_version: bool = False,
    ) -> bool:
        """End the claim. ``counts``: it was an attempt. Idle becomes ready where more is desired by now."""

    def confirm(
        self,
        lane: Lane,
        *,
        reason: str,
        synced_hash: bytes | None,
        revision: int,
        confirmed: Confirmed | None,
        sink_ref: str | None,
        sink_etag: str | None,
        status: int | None,
        again: bool = False,
        withheld: Sequence[Withheld] | None = None,
        seen: Json | None = None,
        closing: str | None = None,
        locked: bool = False,
    ) -> bool:
        """End the claim: the sink holds what ``synced_hash`` stands for.

        ``confirmed`` None: no more is known to be ours than before, in a resource that was ``seen`` to be so now.
        ``closing``: the intent that is closed with it. ``locked``: the lane is, and the claim the caller's.
        """

    def open_intent(self, lane: Lane, intent: Intent, quiet_s: float) -> None:
        """Write down what is about to be sent; it may be looked for after ``quiet_s``.

        Raises Conflict (``concurrent_write``) when the lane has an intent open already.
        """

    def close_intent(self, lane: Lane, intent_id: str) -> bool:
        """The outcome of an intent is known; False when it was closed before."""

    def resolve_later(self, lane: Lane, intent_id: str, quiet_s: float) -> None:
        """The answer was lost now: the quiet period runs from here."""

    def find_intent(self, lane: Lane) -> tuple[Intent, float] | None:
        """The open intent and in how many seconds it may be looked for. Raises BadRecord when it is unreadable."""

    def answered(self, lane: Lane, intent_id: str) -> list[tuple[int | None, str]]:
        """Status and code of each answer to an intent that left open what became of it."""

    def log_outcome(self, lane: Lane, intent: Intent, outcome: str, reply: Reply | None, code: str) -> None:
        """Append to the write log what became of an intent; also where the claim was lost."""

    def more_desired(self, lane: Lane) -> bool:
        """Whether more is desired of a lane by now than when it was claimed; its row is held, as by ``lock``."""

    def set_aside(
        self, lane: Lane, code: str, message: str, *, sink: str, body: Json | None = None, status: int | None = None
    ) -> bool:
        """End the claim: quarantined, for a person, with what was sent."""

    def settled(self, lane: Lane) -> None:
        """Whatever was put aside about this lane is done with."""

    def others_landed(self, lane: Lane, within_s: float) -> bool:
        """Whether a write of another lane of the sink landed lately."""

    def in_flight(self, sink_id: str) -> list[tuple[str, float]]:
        """Owners of leases on lanes of the sink, and how long those last."""

    def due_count(self, sink_id: str, limit: int) -> int:
        """How many lanes are due, counted up to ``limit``."""

    def sink_state(self, sink_id: str) -> SinkState:
        """Whether the sink may be written to now."""

    def pause(self, sink_id: str, code: str, for_s: float) -> None:
        """Stop writing to a sink for a time."""

    def fail(self, sink_id: str) -> float:
        """A request met a fault of the sink; seconds until the next try."""

    def works(self, sink_id: str) -> bool:
        """The sink answered: its breaker learns, a pause is over. Whether the next success would be no news."""

    def reap(self, limit: int) -> int:
        """End leases whose time is over: nothing was sent → ready; an intent is open → unknown. How many."""


class LaneStore(Protocol):
    """Opens transactions over the lanes of one workspace."""

    def begin(self) -> AbstractContextManager[LaneTx]:
        """A transaction; committed when its block ends, undone when it raises."""

    def retrying(self, work: Callable[[LaneTx], T]) -> T:
        """Run ``work`` in a transaction, again from the start where another one was quicker."""


class Writable(Protocol):
    """What a lane has to say to its sink, as planned."""

    @property
    def ref(self) -> str | None:
        """``Type/id`` of its resource there; None: it is to be created."""

    @property
    def desired_hash(self) -> bytes:
        """Stands for everything that is to be said."""

    @property
    def known(self) -> Json | None:
        """The resource as the sink was last known to hold it."""

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """What is not said, and why."""

    def creation(self, lane: Lane, sink: Sink) -> Intent | Nothing:
        """The intent of a create. Raises BadRecord, Misconfigured or NotYet where it can never be one."""

    def change(self, lane: Lane, current: Json, etag: str | None) -> Intent | Nothing:
        """The intent that brings ``current`` to what is wanted; ``etag`` is its precondition."""

    def adopting(self, ref: str) -> Writable:
        """The same, for a resource that turned out to be in the sink."""


class Problem(Protocol):
    """Why an intent must not be sent as it is. ``wait``: the same may pass later, without anybody's help."""

    @property
    def reason(self) -> str:
        """The reason code of the lane: ``invalid_<layer>``."""

    @property
    def path(self) -> str:
        """Where in the body; never the value."""

    @property
    def code(self) -> str:
        """What is wrong."""

    @property
    def wait(self) -> bool:
        """Whether time may mend it."""


class Desk(Protocol):
    """Knows what entities want of one sink, and is told what became of it."""

    def survey(self, tx: LaneTx, lanes: Sequence[Lane]) -> Mapping[str, object]:
        """Look at several claimed lanes at once: lane id -> what ``plan`` is spared looking at. Raises BadRecord."""

    def plan(
        self, tx: LaneTx, lane: Lane, along: Mapping[str, str] = NOBODY, seen: object = None
    ) -> Nothing | Wait | Writable:
        """What is to be done for a claimed lane, of what holds now. Raises BadRecord.

        ``along``: entity -> ``reference`` of its record, where that is to be made in the same transaction. ``seen``:
        what a survey in this transaction saw of it.
        """

    def compared_meanwhile(self, entity_ids: Sequence[str]) -> None:
        """These wait to be compared as of now: have those looked at again that were, while that was decided.

        With no transaction open: it waits for whoever is comparing them.
        """

    def reference(self, lane: Lane, planned: Writable) -> str:
        """What refers to the record that a create is to make, in other steps of the same transaction."""

    def still(self, tx: LaneTx, lane: Lane, planned: Writable) -> bool:
        """Whether what was planned is what holds now."""

    def still_all(self, tx: LaneTx, plans: Sequence[tuple[Lane, Writable]]) -> set[str]:
        """As ``still``, for several at once: the ids of the lanes of which it is so."""

    def terms_changed(self, tx: LaneTx) -> bool:
        """Whether the sink has other terms by now: nothing more is to be planned by those that the desk goes by."""

    def announce(self, tx: LaneTx, opened: Sequence[tuple[Lane, Intent]]) -> None:
        """In the transaction that opens the intents: whose the records are that may come to be."""

    def landed(self, tx: LaneTx, lane: Lane, intent: Intent, ref: str, body: Json | None) -> None:
        """``ref`` is the entity's record there. ``body``: as it stands there, our words in it; None: without them."""

    def arrived(self, tx: LaneTx, lanes: Sequence[Lane]) -> None:
        """The entities of these have records there by now, which they had not: who waits for them may go on.

        In the transaction that settled the lanes, after all of them.
        """

    def refused(self, tx: LaneTx, lane: Lane, intent: Intent, code: str) -> bool:
        """The sink will not take what was sent; whether somebody was promised it, so that trying again is no use."""

    def carries(self, found: Json, intent: Intent) -> bool:
        """Whether a resource of the sink says what an intent meant to make it say."""

    def maker(self, tx: LaneTx, lane: Lane, intent: Intent, found: Json) -> Intent:
        """Which of the lane's creates made a resource that says other than the last of them (``intent``)."""

    def before_create(self, lane: Lane, intent: Intent, sink: Sink, planned: Writable) -> Nothing | Reply | str | None:
        """We know of no record of the entity in the sink: create it (None), adopt this ``Type/id``, or leave it.

        May ask the sink; a Reply says why it could not be told.
        """

    def check(self, intent: Intent) -> Sequence[Problem]:
        """What is wrong with an intent that is about to be opened."""


Opened = Callable[[LaneTx], tuple[SinkTerms, Sink]]
"""Opens the sink; raises Misconfigured."""


def _in_threads(tasks: Sequence[Callable[[], T]]) -> list[T]:
    if len(tasks) == 1:
        return [tasks[0]()]
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


@dataclass(frozen=True, slots=True)
class Runtime:
    """Time, chance and hands. ``clock`` only measures spans; the store has the time that leases are on."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: random.Random = field(default_factory=random.Random)
    new_id: Callable[[], str] = new_id
    spawn: Callable[[Sequence[Callable[[], Any]]], Sequence[Any]] = _in_threads
    """Runs all of them at once and waits for their answers."""
    round_s: float = 0.5
    """So long may a round of lanes take that are sent one after another; 0: each goes by itself."""


REAL = Runtime()
