"""Which strategy a window is read by: as measured, else as the vendor's profile prefers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connector_runner.connectors.fhir.profile import Measured, Profile, Strategy
from connector_runner.kernel.clock import parse_instant

LISTING: frozenset[Strategy] = frozenset({"last_updated", "date_window", "roster", "bulk", "whole"})
"""Those that can give everything; a feed tells only of changes."""


def candidates(
    profile: Profile,
    resource_type: str,
    measured: Measured | None,
    *,
    able: Collection[Strategy],
    full: bool,
    demoted: Collection[str],
) -> list[Strategy]:
    """The strategies to try for a window, best first; never none.

    ``able`` are those for which everything is at hand. ``demoted`` are strategies that polling saw to fail: they come
    last, and the filter by stamps not at all, for what it leaves out would be missed in silence.
    """
    order = list(profile.order(resource_type))
    if measured is not None:
        order = [measured.strategy, *(name for name in order if name != measured.strategy)]
    usable = [name for name in order if name in able and not (full and name not in LISTING)]
    heeded = measured.verdicts.get("whole") if measured is not None else None
    if full and "bulk" in usable and "whole" in usable and heeded == "honoured":
        # An export does not show what is missing from it; a list does, and with that what was deleted.
        usable.remove("whole")
        usable.insert(usable.index("bulk"), "whole")
    trusted = [name for name in usable if name not in demoted]
    failed = [name for name in usable if name not in trusted and name != "last_updated"]
    return [*trusted, *failed] or ["whole"]


def standing(measured: Measured | None, demoted: Mapping[str, str]) -> dict[str, str]:
    """What is left of ``demoted`` when a later probe speaks for a strategy again."""
    return {name: at for name, at in demoted.items() if not _cleared(name, at, measured)}


def _cleared(name: str, demoted_at: str, measured: Measured | None) -> bool:
    if measured is None or measured.strategy != name:
        return False
    at = parse_instant(demoted_at)
    return at is None or measured.at > at
