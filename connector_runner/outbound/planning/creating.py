"""Whether a record should be made in a sink at all: not once it is called off, not while something is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from connector_runner.outbound.gating.choosing import Choice, home_of
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.world.atoms import field_of
from connector_runner.world.reading import EntityView

CANCELLED_BEFORE_SENT: Final = "cancelled_before_sent"
MISSING_REQUIRED: Final = "missing_required"
REJECTED: Final = "rejected"

# Of appointments, orders, requests and tasks: the words for what will not take place (R4 value sets of each status).
_CALLED_OFF: Final = frozenset({"cancelled", "entered-in-error", "revoked", "abandoned"})


def called_off(view: EntityView, lane: Lane | None, choice: Choice, sources: Mapping[str, str]) -> str | None:
    """Why a record that no sink has yet is not worth making any more: its status, or ``rejected``.

    What is an old story in the system it comes from is told as it is; what was called off while it waited here to
    be sent, or was only ever an intention of ours, is not.
    """
    status = choice.chosen.get("status")
    if status is not None and status.value in _CALLED_OFF:
        ours = home_of(view.canonical_id, sources) is None
        waited = lane is not None and lane.wanted_at is not None and status.ingested_at > lane.wanted_at
        return str(status.value) if ours or waited else None
    if lane is not None and not choice.chosen and not choice.withheld and not view.folded.atoms:
        return REJECTED
    return None


def lacking(choice: Choice, required: Iterable[str], needs: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The fields without which a record cannot be made: ``required`` by the sink, ``needs`` by the mapping.

    Of a group in ``needs`` one is enough; the first stands for it. A name may be of an atom or the beginning of
    its key: ``telecom[phone]`` is any phone.
    """
    there = [atom for atom, claim in choice.chosen.items() if claim.value not in (None, "", [], {})]
    absent = [name for name in required if not any(_names(name, atom) for atom in there)]
    fields = {field_of(atom) for atom in there}
    absent += [group[0] for group in needs if group and fields.isdisjoint(group)]
    return tuple(dict.fromkeys(absent))


def _names(name: str, atom: str) -> bool:
    return name in (atom, field_of(atom)) or (name.endswith("]") and atom.startswith(f"{name[:-1]}|"))
