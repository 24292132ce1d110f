"""What a sink's resource holds, compared with what it confirmed of ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from connector_runner.connectors.sinks import Json
from connector_runner.kernel.clock import EARLIEST, parse_instant
from connector_runner.outbound.gating.choosing import same_value
from connector_runner.outbound.lanes.intents import Confirmed
from connector_runner.world.fold import Claim


def ours(held: Json, confirmed: Confirmed) -> Json:
    """Of what the sink confirmed, what was ours: an edit of another's that came along with it is theirs still."""
    return {atom: value for atom, value in held.items() if atom in confirmed.atoms}


def edited(atom: str, held: Json, confirmed: Json, seen: Mapping[str, object]) -> bool:
    """Whether the sink's value is neither what it confirmed of ours nor what a poll last saw there."""
    if atom not in held:
        return False
    return not any(atom in known and same_value(held[atom], known[atom]) for known in (confirmed, seen))


def last_known(atom: str, claim: Claim, confirmed: Json) -> bool:
    """Whether a claim was confirmed there already: what took its place, where the sink has no clock, came later."""
    return atom in confirmed and same_value(confirmed[atom], claim.value)


def last_updated(resource: Json) -> datetime:
    meta = resource.get("meta")
    text = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return (parse_instant(text) if isinstance(text, str) else None) or EARLIEST
