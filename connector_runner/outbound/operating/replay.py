"""Replay of what was quarantined, item by item, each stage in its own way and each item in its own transaction.

Records of polls and imports land again, through today's mappings. Deliveries are worked off again. Lanes are put back,
and go under the same idempotency key. Entities that release could not decide about are decided again. Texts without a
code are asked again, and so is an export for what the server could not export. Deletes that were parked, or that could
not be read, are applied, when they are named, after each record was read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.http import HTTP
from connector_runner.infra.logging import get_logger
from connector_runner.infra.sealing import Sealer
from connector_runner.intake import full_sync, polling
from connector_runner.intake.bulk import replaying as exports
from connector_runner.intake.landing import Intake
from connector_runner.intake.push.reviving import revive
from connector_runner.intake.push.settling import STAGE as PUSH
from connector_runner.intake.read_gate import Gates
from connector_runner.kernel.errors import Conflict, RunnerError
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes import lane_store, store
from connector_runner.outbound.lanes.lane import State
from connector_runner.outbound.operating import status, status_store
from connector_runner.outbound.operating.replay_records import Refused, land_again
from connector_runner.outbound.operating.safety import Standing, replay_safety
from connector_runner.outbound.releasing import release
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.translating import translation_store
from connector_runner.outbound.translating.deciding import STAGE as TRANSLATION
from connector_runner.resilience.quarantine import Entry, Quarantine
from connector_runner.world import reading

RELEASE: Final = "release"
RECORDS: Final = frozenset({"unify", "poll", "import"})

log = get_logger(__name__)


class Deps(Protocol):
    """What replaying works with."""

    @property
    def database(self) -> Database:
        """Postgres."""

    @property
    def intake(self) -> Intake:
        """Lands records."""

    @property
    def quarantine(self) -> Quarantine:
        """What is replayed."""

    @property
    def outbound(self) -> Outbound:
        """Lanes and release."""

    @property
    def http(self) -> HTTP:
        """The way out, to read parked records once more."""

    @property
    def sealer(self) -> Sealer:
        """Opens secrets."""

    @property
    def gates(self) -> Gates:
        """Keeps requests within what sources take."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one entry.

    ``outcome``: ``replayed`` (it went through), ``put_back`` (a lane that will be tried), ``asked`` (a text),
    ``failed`` (as before, or otherwise: ``reason``), ``refused`` (it must not be done), ``gone`` (no longer open).
    """

    quarantine_id: str
    stage: str
    code: str
    outcome: str
    reason: str | None = None
    message: str | None = None


class _Rehearsed(Exception):
    """Rolls a rehearsal back."""

    def __init__(self, result: Replayed) -> None:
        super().__init__()
        self.result = result


def replay(
    deps: Deps,
    workspace_id: str,
    entries: Sequence[Entry],
    *,
    actor: str,
    named: bool,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Replayed]:
    """Replay entries in their order. Audited.

    ``named``: a person named each of them, so that what is never done for a whole cause may be done. ``dry_run``
    tells what would become of each, and changes nothing.
    """
    results: list[Replayed] = []
    if entries and not dry_run:
        _audit(deps, workspace_id, actor, "quarantine.replay_asked", [e.quarantine_id for e in entries], {})
    for number, entry in enumerate(entries):
        results.append(_apart(deps, workspace_id, entry, named=named, dry_run=dry_run))
        if progress is not None:
            progress(number + 1, len(entries))
    if results and not dry_run:
        ids = [result.quarantine_id for result in results]
        _audit(deps, workspace_id, actor, "quarantine.replayed", ids, {"outcomes": _counts(results)})
    return results


def _audit(
    deps: Deps, workspace_id: str, actor: str, action: str, ids: Sequence[str], detail: dict[str, object]
) -> None:
    """Who asked is chained before anything is done, what came of it once all is: in between a process may die."""
    with deps.database.begin(workspace_id) as tx:
        audit.append(
            tx,
            workspace_id,
            actor=actor,
            action=action,
            object=ids[0],
            detail={"ids": ids[:100], "count": len(ids), **detail},
            now=deps.outbound.clock(),
        )


def _counts(results: Sequence[Replayed]) -> dict[str, int]:
    return {word: sum(r.outcome == word for r in results) for word in sorted({r.outcome for r in results})}


def _apart(deps: Deps, workspace_id: str, entry: Entry, *, named: bool, dry_run: bool) -> Replayed:
    """One entry in its own transaction: what it does to us is told, and holds up no other."""

    def done(outcome: str, reason: str | None = None, message: str | None = None) -> Replayed:
        return Replayed(entry.quarantine_id, entry.stage, entry.code, outcome, reason, message)

    def work(tx: Tx) -> Replayed:
        held = deps.quarantine.hold(tx, workspace_id, entry.quarantine_id)
        result = done("gone") if held is None else done(*_one(deps, tx, workspace_id, held, named=named))
        if dry_run:
            raise _Rehearsed(result)
        return result

    try:
        if entry.stage == full_sync.STAGE:
            return done(*_parked(deps, workspace_id, entry, named=named, dry_run=dry_run))
        if entry.stage == exports.STAGE and entry.code != exports.ISSUE:
            return done(*_listed(deps, workspace_id, entry, named=named, dry_run=dry_run))
        return deps.database.retrying(workspace_id, work)
    except _Rehearsed as rehearsed:
        return rehearsed.result
    except Refused as refused:
        return done("refused", refused.code, refused.message)
    except RunnerError as error:
        if error.code == "database_unavailable":
            raise
        if not dry_run and not isinstance(error, Conflict):
            _count_up(deps, workspace_id, entry)
        return done("failed", error.code, str(error))
    except Exception as error:
        log.error("replay_failed", quarantine_id=entry.quarantine_id, stage=entry.stage, exc_info=error)
        if not dry_run:
            _count_up(deps, workspace_id, entry)
        return done("failed", "internal_error", "replaying failed inside this program; the log says where")


def _count_up(deps: Deps, workspace_id: str, entry: Entry) -> None:
    """It failed again, past what counts by itself: the entry says so."""
    with deps.database.begin(workspace_id) as tx:
        deps.quarantine.met_again(tx, workspace_id, entry.quarantine_id, deps.outbound.clock())


Result = tuple[str, str | None, str | None]


def _one(deps: Deps, tx: Tx, workspace_id: str, entry: Entry, *, named: bool) -> Result:
    if entry.stage in RECORDS:
        return _record(deps, tx, workspace_id, entry)
    if entry.stage == lane_store.STAGE:
        return _lane(deps, tx, workspace_id, entry, named=named)
    if entry.stage == RELEASE:
        return _release(deps, tx, workspace_id, entry)
    if entry.stage == TRANSLATION:
        translation_store.set_state(tx, workspace_id, bytes.fromhex(entry.subject), "asked", None)
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
        return "asked", None, "it is asked again; `outbound translate` sets a code"
    if entry.stage == PUSH:
        return _push(deps, tx, workspace_id, entry)
    if entry.stage == exports.STAGE and entry.data_source_id is not None:
        exports.ask_again(tx, workspace_id, entry.data_source_id, entry.context, now=deps.outbound.clock())
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
        return "asked", None, "an export is asked for again; what the server cannot export then is told anew"
    raise Refused("no_replay", f"nothing is known of how to replay stage {entry.stage}")


def _record(deps: Deps, tx: Tx, workspace_id: str, entry: Entry) -> Result:
    if land_again(tx, workspace_id, deps.intake, deps.quarantine, entry, now=deps.outbound.clock()):
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
        return "replayed", None, None
    again = deps.quarantine.get(tx, workspace_id, entry.quarantine_id)
    if again is not None and again.times == entry.times:
        # It fails for another reason now, which has an entry of its own.
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
        return "failed", "other_cause", "it fails in another way now, and was quarantined for that"
    return "failed", entry.code, again.message if again is not None else None


def _push(deps: Deps, tx: Tx, workspace_id: str, entry: Entry) -> Result:
    """A delivery waits again; what it is about is read by the next worker."""
    content = deps.quarantine.body(tx, workspace_id, entry.quarantine_id)
    if content is None or not revive(tx, deps.sealer, workspace_id, str(entry.context.get("push_id")), content):
        raise Refused("not_known", "the delivery is not known any more: sync the source")
    deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
    return "put_back", None, "it is worked off again"


def _lane(deps: Deps, tx: Tx, workspace_id: str, entry: Entry, *, named: bool) -> Result:
    lane = store.lane_by_id(tx, entry.subject)
    if lane is None or lane.state not in (State.QUARANTINED, State.UNKNOWN, State.PAUSED):
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
        return "replayed", None, "the lane has gone on by itself"
    safety = replay_safety(
        Standing(
            lane.state, lane.reason, lane.open_intent, lane.last_sent is not None, lane.sink_ref is not None,
            status.may_duplicate(tx, workspace_id, lane.sink_id), undo_asked=lane.undo_asked,
        )
    )  # fmt: skip
    if not safety.safe and not named:
        raise Refused(safety.code, f"{safety.because}; name this entry to do it all the same")
    status_store.put_back(tx, workspace_id, lane_ids=[lane.lane_id], sink=None)
    sink_store.request_release(tx, workspace_id, [lane.entity_id])
    return "put_back", None, safety.because


def _release(deps: Deps, tx: Tx, workspace_id: str, entry: Entry) -> Result:
    sink_id, _, entity_id = entry.subject.partition(":")
    view = reading.view(tx, workspace_id, entity_id)
    terms = next((t for t in deps.outbound.sinks.terms(tx, workspace_id) if t.sink_id == sink_id), None)
    if view is not None and terms is not None and view.entity_type in terms.entity_types:
        release.consider(deps.outbound, tx, workspace_id, terms, view)
    deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
    return "replayed", None, None


def _parked(deps: Deps, workspace_id: str, entry: Entry, *, named: bool, dry_run: bool) -> Result:
    """Deletes that were too many: a person's yes to each."""
    if not named:
        raise Refused("name_it", "deletes are applied only where their entry is named")
    ids = [str(each) for each in entry.context.get("ids", ())]
    if entry.data_source_id is None or len(ids) < int(entry.context.get("records", 0)):
        raise Refused("too_many", "not all of their ids were kept: sync the source again")
    if dry_run:
        return "replayed", None, f"{len(ids)} records would be read once more, and deleted here where they are gone"
    landed = polling.bury_parked(
        deps, workspace_id, entry.data_source_id, str(entry.context["resource_type"]), ids, now=deps.outbound.clock()
    )
    with deps.database.begin(workspace_id) as tx:
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
    return "replayed", None, f"{landed.records} records read once more"


def _listed(deps: Deps, workspace_id: str, entry: Entry, *, named: bool, dry_run: bool) -> Result:
    """Deletes of an export that could not be read then: each record is read once more."""
    if not named:
        raise Refused("name_it", "deletes are applied only where their entry is named")
    with deps.database.begin(workspace_id) as tx:
        told = exports.deletes(deps.quarantine.body(tx, workspace_id, entry.quarantine_id))
    records = sum(len(ids) for ids in told.values())
    if dry_run or entry.data_source_id is None:
        return "replayed", None, f"{records} records would be read once more, and deleted here where they are gone"
    for resource_type, ids in told.items():
        now = deps.outbound.clock()
        polling.bury_parked(deps, workspace_id, entry.data_source_id, resource_type, ids, now=now)
    with deps.database.begin(workspace_id) as tx:
        deps.quarantine.mark_replayed(tx, workspace_id, [entry.quarantine_id])
    return "replayed", None, f"{records} records read once more"
