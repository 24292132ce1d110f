"""How common names and phones are: counted now and then, so that the same records give the same weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from connector_runner.infra.database import Tx, execute, one, rows
from connector_runner.resolution.evidence import RAREST


@dataclass(slots=True)
class Snapshot:
    """A Population as it was counted last. ``crowded``: the phones of too many people among those asked about."""

    size: int
    shares: dict[tuple[str, str], float]
    crowded: set[str] = field(default_factory=set)

    def share(self, name_field: str, value: str) -> float:
        """The share of records with this name; of a name that is not common, the least that counts."""
        return self.shares.get((name_field, value), RAREST)

    def given_names_on(self, phone: str) -> int:
        """Many, for a phone known to be of many."""
        return 99 if phone in self.crowded else 1


def load(tx: Tx, workspace_id: str, kind: str) -> Snapshot:
    """The latest count; of a kind never counted, that of a small town."""
    of_kind = "WHERE workspace_id = :ws AND kind = :kind"
    counted = one(tx, f"SELECT size FROM population {of_kind}", ws=workspace_id, kind=kind)
    found = rows(tx, f"SELECT field, name, share FROM name_share {of_kind}", ws=workspace_id, kind=kind)
    shares = {(row["field"], row["name"]): float(row["share"]) for row in found}
    return Snapshot(int(counted["size"]) if counted else LEAST, shares)


LEAST = 1000
"""A population is taken for at least so large: in a new workspace a few records must not link on little."""


def count_again(tx: Tx, workspace_id: str, kind: str, *, now: datetime, slack: float) -> bool:
    """Count names anew where the population has changed by more than ``slack`` (a share of it); whether it has."""
    row = one(
        tx,
        "SELECT (SELECT count(*) FROM identity WHERE workspace_id = :ws AND kind = :kind) AS n,"
        " (SELECT size FROM population WHERE workspace_id = :ws AND kind = :kind) AS known",
        ws=workspace_id,
        kind=kind,
    )
    size = max(int(row["n"]) if row else 0, LEAST)
    known = row["known"] if row else None
    if known is not None and abs(size - known) <= slack * known:
        return False
    execute(
        tx,
        "INSERT INTO population (workspace_id, kind, size, counted_at) VALUES (:ws, :kind, :size, :now)"
        " ON CONFLICT (workspace_id, kind) DO UPDATE SET size = excluded.size, counted_at = excluded.counted_at",
        ws=workspace_id,
        kind=kind,
        size=size,
        now=now,
    )
    execute(tx, "DELETE FROM name_share WHERE workspace_id = :ws AND kind = :kind", ws=workspace_id, kind=kind)
    for name in ("given", "family"):
        execute(
            tx,
            "INSERT INTO name_share (workspace_id, kind, field, name, share)"
            f" SELECT :ws, :kind, :field, body->>'{name}', count(*) / CAST(:size AS double precision) FROM identity"
            f" WHERE workspace_id = :ws AND kind = :kind AND body ? '{name}' GROUP BY body->>'{name}'"
            " HAVING count(*) > :least",
            ws=workspace_id,
            kind=kind,
            field=name,
            size=size,
            least=RAREST * size,
        )
    return True


def crowded(tx: Tx, workspace_id: str, tokens: Iterable[int]) -> set[int]:
    """Which of these phones' keys are known to be of many people."""
    found = rows(
        tx,
        "SELECT token FROM crowded_phone WHERE workspace_id = :ws AND token = ANY(CAST(:tokens AS bigint[]))",
        ws=workspace_id,
        tokens="{" + ",".join(map(str, sorted(set(tokens)))) + "}",
    )
    return {row["token"] for row in found}


def set_crowded(tx: Tx, workspace_id: str, tokens: Iterable[int]) -> set[int]:
    """Note that phones are of many people; those of which it was not known."""
    found = rows(
        tx,
        "INSERT INTO crowded_phone (workspace_id, token) SELECT :ws, unnest(CAST(:tokens AS bigint[]))"
        " ON CONFLICT DO NOTHING RETURNING token",
        ws=workspace_id,
        tokens="{" + ",".join(map(str, sorted(set(tokens)))) + "}",
    )
    return {row["token"] for row in found}
