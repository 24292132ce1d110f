"""What an operator does about writes that should not have been: look what undoing them would do, and ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Final

from connector_runner.audit import log as audit
from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.errors import Misconfigured, RunnerError
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes import intents, store
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.operating import undo, undo_store
from connector_runner.outbound.operating.inverse import inverse
from connector_runner.outbound.operating.looking import Looker
from connector_runner.outbound.operating.undo import CREATED, NOTHING_TO_UNDO, Logged
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.outbound.releasing import release_store as sink_store

MOST_WRITES: Final = 10_000
_LANES_A_TX: Final = 50

Sinks = dict[str, tuple[SinkTerms, Sink]]
Progress = Callable[[int, int], None]
"""Told how many lanes of how many are done."""


@dataclass(frozen=True, slots=True)
class Undoable:
    """What undoing the chosen writes to one record means. ``restored`` and ``request`` hold PHI.

    ``action``: ``restore`` (an update), ``created`` (the write made the record: for a person), ``nothing``, or
    ``not_read`` (the sink could not be asked; ``reason`` says why).
    """

    lane_id: str
    sink: str
    entity_id: str
    sink_ref: str | None
    writes: tuple[dict[str, Any], ...]
    action: str
    reason: str | None = None
    restored: tuple[dict[str, Any], ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    request: Json | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A command to undo: how many lanes it was put to, and those that an update cannot help."""

    undo_id: str
    lanes: int
    writes: int
    created: tuple[dict[str, str], ...]
    already: int


def survey(
    outbound: Outbound, workspace_id: str, chosen: Selection, *, progress: Progress | None = None
) -> list[Undoable]:
    """Per record what would be restored and what left alone, with the sink's resource read now. Sends nothing.

    Raises Misconfigured (``undo_too_many``) when more than ``MOST_WRITES`` writes are chosen.
    """
    with outbound.database.begin(workspace_id) as tx:
        groups = _by_lane(tx, workspace_id, chosen)
    sinks: Sinks = {}
    found = []
    for number, group in enumerate(groups):
        found.append(_look(outbound, workspace_id, group, sinks))
        if progress is not None:
            progress(number + 1, len(groups))
    return found


def ask(
    outbound: Outbound, workspace_id: str, chosen: Selection, *, actor: str, progress: Progress | None = None
) -> Asked:
    """Have the lanes of the chosen writes take them back, and hold their values back from now on. Audited.

    Raises as ``survey`` does. What is asked already is not asked twice.
    """
    with outbound.database.begin(workspace_id) as tx:
        groups = _by_lane(tx, workspace_id, chosen)
    asked = Asked(new_id(), 0, 0, (), 0)
    for start in range(0, len(groups), _LANES_A_TX):
        part = groups[start : start + _LANES_A_TX]
        asked = outbound.database.retrying(workspace_id, partial(_ask, outbound, workspace_id, asked, part, actor))
        if progress is not None:
            progress(start + len(part), len(groups))
    return asked


def _by_lane(tx: Tx, workspace_id: str, chosen: Selection) -> list[list[Row]]:
    if chosen == Selection():
        raise Misconfigured("say which writes: all of them is not a choice", code="undo_what")
    found = undo_store.landed(tx, workspace_id, chosen, MOST_WRITES + 1)
    if len(found) > MOST_WRITES:
        raise Misconfigured(
            f"more than {MOST_WRITES} writes are chosen: take a smaller window", code="undo_too_many", where="--since"
        )
    return [list(group) for _, group in groupby(found, key=lambda row: row["lane_id"])]


def _ask(
    outbound: Outbound, workspace_id: str, asked: Asked, groups: Sequence[Sequence[Row]], actor: str, tx: Tx
) -> Asked:
    put: list[str] = []
    for group in groups:
        lane = store.lane_by_id(tx, group[0]["lane_id"])
        if lane is None:
            continue
        found = undo.logged(tx, outbound.sealer, workspace_id, lane, [row["intent_id"] for row in group])
        if undo.makes_it(found) or lane.sink_ref is None:
            made = {"lane_id": lane.lane_id, "sink": str(group[0]["sink"]), "sink_ref": lane.sink_ref or ""}
            asked = replace(asked, created=(*asked.created, made))
        elif _put_to(tx, workspace_id, asked.undo_id, group[0], found, actor):
            put.append(lane.lane_id)
            asked = replace(asked, lanes=asked.lanes + 1, writes=asked.writes + len(found))
        else:
            asked = replace(asked, already=asked.already + 1)
    if put:
        # A release that is deciding about such a lane now may put it to rest: another look follows that one.
        sink_store.request_release(tx, workspace_id, [group[0]["entity_id"] for group in groups])
        audit.append(
            tx,
            workspace_id,
            actor=actor,
            action="outbound.undo",
            object=asked.undo_id,
            detail={"lanes": put, "asked": len(put)},
            now=outbound.clock(),
        )
    return asked


def _put_to(tx: Tx, workspace_id: str, undo_id: str, lane: Row, found: Sequence[Logged], actor: str) -> bool:
    """Ask one lane; False when it has something to undo already."""
    ids = [each.intent.intent_id for each in found]
    if not undo_store.request(tx, workspace_id, undo_id=undo_id, lane=lane, intent_ids=ids, actor=actor):
        return False
    undo_store.hold_back(tx, workspace_id, lane["lane_id"], undo_id, undo.values_to_hold(tx, found))
    return True


def _look(outbound: Outbound, workspace_id: str, group: Sequence[Row], sinks: Sinks) -> Undoable:
    first = group[0]
    with outbound.database.begin(workspace_id) as tx:
        lane = store.lane_by_id(tx, first["lane_id"])
        if lane is None:
            raise LookupError("a write has no lane")
        ids = [row["intent_id"] for row in group]
        ids += undo_store.beneath(tx, lane.lane_id, ids)
        writes = undo.logged(tx, outbound.sealer, workspace_id, lane, ids)
        confirmed = intents.open_confirmed(tx, outbound.sealer, lane)
    shown = Undoable(lane.lane_id, first["sink"], lane.entity_id, lane.sink_ref, _shown(group), "nothing")
    made = undo.makes_it(writes) or lane.sink_ref is None
    try:
        reply = _read(outbound, workspace_id, lane, sinks)
    except RunnerError as error:
        return replace(shown, action=CREATED if made else "not_read", reason=error.code)
    if made:
        untouched = (
            confirmed is not None and reply.body is not None and _content(reply.body) == _content(confirmed.body)
        )
        reason = "the record was made by this write" + ("" if untouched else ", and has changed since")
        return replace(shown, action=CREATED, reason=reason)
    if reply.outcome is not Outcome.LANDED or reply.body is None:
        return replace(shown, action="not_read", reason=reply.code or str(reply.outcome))
    return _compared(shown, writes, reply.body, reply.etag)


def _read(outbound: Outbound, workspace_id: str, lane: Lane, sinks: Sinks) -> Reply:
    """The record as its sink holds it now; an open sink is kept for the next one."""
    if lane.sink_ref is None:
        return Reply(Outcome.ABSENT, "no_record")
    if lane.sink_id not in sinks:
        with outbound.database.begin(workspace_id) as tx:
            sinks[lane.sink_id] = outbound.sinks.open(tx, workspace_id, lane.sink_id)
    return Looker(outbound, workspace_id, *sinks[lane.sink_id]).read(lane.sink_ref)


def _content(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key not in ("meta", "text")}


def _compared(shown: Undoable, writes: Sequence[Logged], current: Json, etag: str | None) -> Undoable:
    plan = inverse([each.write for each in writes], current)
    skipped = tuple({"field": name, "code": code} for name, code in sorted(plan.skipped.items()))
    if not plan.restored:
        return replace(shown, reason=NOTHING_TO_UNDO, skipped=skipped)
    return replace(
        shown,
        action="restore",
        restored=tuple({"field": piece.name, "to": piece.value} for piece in plan.restored),
        skipped=skipped,
        request={"method": "PUT", "target": shown.sink_ref, "if_match": etag, "body": plan.body},
    )


def _shown(group: Sequence[Row]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {name: row[name] for name in ("intent_id", "operation", "mapping_version", "written_at")} for row in group
    )
