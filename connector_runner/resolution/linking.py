"""Links as events: what became of them, by which rule or whose word, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from connector_runner.kernel.ids import new_ids
from connector_runner.resolution.clusters import Clusters, Pair
from connector_runner.resolution.guards import ONLY_PHONE

RESOLUTION: Final = "resolution"


def changes_of(rows: Sequence[Mapping[str, Any]], grouped: Clusters) -> tuple[list[Pair], list[Pair]]:
    """The pairs that join clusters now and did not, and those that did and do not any more."""
    before = {(row["one"], row["other"]) for row in rows if row["linked"]}
    now = set(grouped.links)
    return sorted(now - before), sorted(before - now)


def link_events(
    rows: Sequence[Mapping[str, Any]],
    made: Sequence[Pair],
    parted: Sequence[Pair],
    decided: Mapping[Pair, bool],
    now: datetime,
) -> list[dict[str, Any]]:
    """An event for each link that was made or parted, with its evidence."""
    evidence = {(row["one"], row["other"]): row for row in rows}
    ids = new_ids()
    return [
        _event(next(ids), two, action, evidence.get(two), two in decided, now)
        for action, pairs in (("parted", parted), ("made", made))
        for two in pairs
    ]


def _event(
    event_id: str, two: Pair, action: str, row: Mapping[str, Any] | None, by_person: bool, now: datetime
) -> dict[str, Any]:
    weights = row["weights"] if row else {}
    levels = row["levels"] if row else {}
    rule = rule_of(levels, weights, row["held"] if row else None)
    return {
        "id": event_id,
        "one": two[0],
        "other": two[1],
        "action": action,
        "method": "person" if by_person else "rule" if rule else "score",
        "rule": rule,
        "bits": row["bits"] if row else None,
        "features": {name: {"level": levels.get(name), "bits": weights.get(name)} for name in {*levels, *weights}},
        "version": row["version"] if row else None,
        "actor": RESOLUTION,
        "reason": (row["held"] or row["veto"]) if row else None,
        "at": now.isoformat(),
    }


def rule_of(levels: Mapping[str, str], weights: Mapping[str, float], held: str | None = None) -> str | None:
    """The deterministic rule that a pair meets, the strongest first; None for one that is only likely."""
    named = levels.get("given") in ("equal", "nickname") and levels.get("family") == "equal"
    if held == ONLY_PHONE:
        return ONLY_PHONE
    if "identifier" in weights and levels.get("identifier") not in ("differs", "chart_differs"):
        return "identifier"
    if levels.get("npi") == "equal":
        return "npi"
    if named and levels.get("specialty") == "equal":
        return "name_and_specialty"
    if "given" not in levels and levels.get("place") in ("equal", "equal_and_code") and "birth" not in levels:
        return "address" if "prior" in weights else None
    if levels.get("phone") == "equal" and levels.get("given") == "equal":
        return "phone"
    if levels.get("email") == "equal" and levels.get("given") == "equal":
        return "email"
    return "name_and_birth_date" if named and levels.get("birth") == "equal" else None
