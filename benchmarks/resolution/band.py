"""Possible matches answered rightly: every question that people are asked, through the queue of review, once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from benchmarks.resolution.landing import Clinic
from connector_runner.infra.database import rows
from connector_runner.review import queue
from connector_runner.review.items import Answer, Refused

_ASKED = (
    "SELECT i.id, i.entity_type, a.canonical_id AS one, b.canonical_id AS other FROM review_item i"
    " JOIN entity a ON a.workspace_id = i.workspace_id AND a.entity_id = i.entity_id"
    " JOIN entity b ON b.workspace_id = i.workspace_id AND b.entity_id = i.other_id"
    " WHERE i.kind = 'match' AND i.entity_type = :kind AND i.status = 'pending' ORDER BY i.id"
)


def answer(clinic: Clinic, kind: str, people: Mapping[str, str]) -> dict[str, float]:
    """Answer what is asked about a kind by the truth (record -> person), and compare; how much was asked.

    ``asked``: questions. ``records_asked_about``: the share of records that one of them names. ``same``: how many of
    them are about one person. What is asked because of the answers is left.
    """
    with clinic.database.begin(clinic.workspace) as tx:
        asked = rows(tx, _ASKED, kind=kind)
    same = 0
    for row in asked:
        is_same = people[row["one"]] == people[row["other"]]
        said = Answer("approved" if is_same else "rejected", "truth", notes=None if is_same else "known")
        with clinic.database.begin(clinic.workspace) as tx:
            done = queue.decide(tx, clinic.handlers, clinic.workspace, row["id"], said, now=datetime.now(UTC))
        if isinstance(done, Refused):
            raise SystemExit(f"an answer was refused: {done}")
        same += is_same
    clinic.compare(all_of_it=True)
    named = {row[side] for row in asked for side in ("one", "other")}
    return {"asked": len(asked), "same": same, "records_asked_about": round(len(named) / len(people), 4)}
