"""Two systems that undo each other's writes through us: found in what was seen of them, and cut. Pure.

Each normalises a value its own way, or an automation writes back what we changed. Every round looks like fresh news
from one of them, so no gate stops it; but the same values come round again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from connector_runner.outbound.gating.choosing import Choice, same_value
from connector_runner.world.atoms import split
from connector_runner.world.events import StoredEvent
from connector_runner.world.reading import EntityView

PING_PONG: Final = "ping_pong"
ALTERNATIONS: Final = 3
"""So often a sink may put its own value back over the same one of ours; then a person decides."""


def quarrels(view: EntityView, sink_id: str, choice: Choice, since: datetime | None = None) -> tuple[str, ...]:
    """Atoms that would be written once more though the sink has put its own value back ``ALTERNATIONS`` times.

    Only what was seen after ``since`` counts. A value that is new to both sides is no part of a quarrel.
    """
    seen = [event for event in view.events if event.snapshot and (since is None or event.ingested_at > since)]
    of_sink = [event for event in seen if event.data_source_id == sink_id]
    if len(of_sink) <= 2 * ALTERNATIONS:
        return ()
    found = []
    for atom in choice.differing():
        claim, held = choice.chosen[atom], choice.own.get(atom)
        if _is_echo(view, sink_id, atom) or _runs(of_sink, atom, held) <= ALTERNATIONS:
            continue
        of_other = (event for event in seen if event.data_source_id == claim.data_source_id)
        if max(_runs(of_sink, atom, claim.value), _runs(of_other, atom, claim.value)) >= ALTERNATIONS:
            found.append(atom)
    return tuple(found)


def _is_echo(view: EntityView, sink_id: str, atom: str) -> bool:
    """Whether what the sink holds is what we wrote there: then it follows, and somebody else changes their mind."""
    settled = view.folded.atoms[atom]
    return any(claim.echo and claim.data_source_id == sink_id for claim in (settled.winner, *settled.losers))


def _runs(events: Iterable[StoredEvent], atom: str, value: Any) -> int:
    """How many times a record came to hold a value, having held another before."""
    runs, inside = 0, False
    for event in events:
        now = same_value(split(event.facts).get(atom), value)
        runs += now and not inside
        inside = now
    return runs
