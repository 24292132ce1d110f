"""How common names are: counted now and then, in steps, so that the same records give the same weights.

Sizes and shares are rounded to steps. A record more or less then changes the weight of hardly any pair, and only who
has a name whose share took a step is compared anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import log2
from typing import Final

from connector_runner.infra.database import Tx, execute, one, rows, tuples
from connector_runner.kernel import exact_json
from connector_runner.resolution import store
from connector_runner.resolution.evidence import RAREST, rules_of

LEAST: Final = 1000
"""A population is taken for at least so large: in a new workspace a few records must not link on little."""
_FIELDS: Final = ("given", "family")
_MANY: Final = 99
Steps = dict[str, tuple[float | None, float | None]]
"""Name -> its share before and now; None while it is rare."""


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
        return _MANY if phone in self.crowded else 1


def load(tx: Tx, workspace_id: str, kind: str) -> Snapshot:
    """The latest count, without shares (see ``look_up``); of a kind never counted, that of a small town."""
    counted = one(
        tx, "SELECT size FROM population WHERE workspace_id = :ws AND kind = :kind", ws=workspace_id, kind=kind
    )
    return Snapshot(int(counted["size"]) if counted else LEAST, {})


def grow(tx: Tx, workspace_id: str, kind: str, more: int) -> None:
    """Keep how many records there are: so many more."""
    execute(
        tx,
        "INSERT INTO population AS p (workspace_id, kind, records) VALUES (:ws, :kind, :more)"
        " ON CONFLICT (workspace_id, kind) DO UPDATE SET records = p.records + excluded.records",
        ws=workspace_id,
        kind=kind,
        more=more,
    )


def records(tx: Tx, workspace_id: str) -> int:
    """How many records of all kinds are compared, as kept from batch to batch."""
    row = one(tx, "SELECT coalesce(sum(records), 0) AS n FROM population WHERE workspace_id = :ws", ws=workspace_id)
    return int(row["n"]) if row else 0


def look_up(tx: Tx, workspace_id: str, kind: str, snapshot: Snapshot, names: Iterable[str]) -> None:
    """Put the shares of these names into a snapshot."""
    found = tuples(
        tx,
        "SELECT field, name, share FROM name_share WHERE workspace_id = :ws AND kind = :kind AND name = ANY(:names)",
        ws=workspace_id,
        kind=kind,
        names=sorted(names),
    )
    snapshot.shares.update(((of, name), float(share)) for of, name, share in found)


def size_step(records: int) -> int:
    """What a population of so many records is taken for: the nearest of steps that lie a factor of 1.4 apart."""
    return round(LEAST * 2 ** (round(2 * log2(max(records, LEAST) / LEAST)) / 2))


def share_step(share: float) -> float:
    """A share to half a bit, at least the rarest that counts."""
    return max(RAREST, 2 ** (round(2 * log2(share)) / 2))


def count_again(tx: Tx, workspace_id: str, kind: str, *, now: datetime, slack: float) -> int:
    """Count names anew where the population has changed by more than ``slack`` (a share of it), or the rules have.

    Whom that concerns waits to be compared, by new rules everybody; how many do. Among more records, and by names
    that are commoner, any two are less likely one person than they were: that concerns only those of whom evidence is
    kept. Of a kind of which there has been no record nothing is counted: that reads the records of all kinds.
    """
    row = one(
        tx,
        "SELECT records, counted, size, rules FROM population WHERE workspace_id = :ws AND kind = :kind",
        ws=workspace_id,
        kind=kind,
    )
    if row is None:
        return 0
    records, rules = int(row["records"]), rules_of(kind)
    anew = row["rules"] is not None and row["rules"] != rules
    if not anew and slack and row["counted"] is not None and abs(records - row["counted"]) <= slack * row["counted"]:
        return 0
    records = _counted(tx, workspace_id, kind)
    size = size_step(records)
    changed = {name: _changed_names(tx, workspace_id, kind, name, records) for name in _FIELDS}
    for name, steps in changed.items():
        _save_shares(tx, workspace_id, kind, name, {value: now for value, (_, now) in steps.items()})
    execute(
        tx,
        "INSERT INTO population AS p (workspace_id, kind, size, records, counted, counted_at, rules)"
        " VALUES (:ws, :kind, :size, :n, :n, :now, :rules) ON CONFLICT (workspace_id, kind) DO UPDATE SET"
        " size = excluded.size, records = excluded.records, counted = excluded.counted,"
        " counted_at = excluded.counted_at, rules = excluded.rules",
        ws=workspace_id,
        kind=kind,
        size=size,
        n=records,
        now=now,
        rules=rules,
    )
    if anew:
        return store.request_anew(tx, workspace_id, kind)
    return _ask_anew(tx, workspace_id, kind, size, row["size"], changed)


def _counted(tx: Tx, workspace_id: str, kind: str) -> int:
    """How many records there really are; what is kept from batch to batch starts from it again."""
    row = one(
        tx, "SELECT count(*) AS n FROM identity WHERE workspace_id = :ws AND kind = :kind", ws=workspace_id, kind=kind
    )
    return int(row["n"]) if row else 0


def _ask_anew(tx: Tx, workspace_id: str, kind: str, size: int, before: int, changed: Mapping[str, Steps]) -> int:
    if size < before:
        return store.request_all(tx, workspace_id, kind)
    waiting = store.request_all(tx, workspace_id, kind, weighed=True) if size > before else 0
    for name, steps in changed.items():
        for weighed in (False, True):
            some = [value for value, (was, is_now) in steps.items() if (_share(is_now) > _share(was)) is weighed]
            if some:
                waiting += store.request_named(tx, workspace_id, kind, name, some, weighed=weighed)
    return waiting


def _share(share: float | None) -> float:
    return RAREST if share is None else share


def _changed_names(tx: Tx, workspace_id: str, kind: str, name: str, records: int) -> Steps:
    """Names whose share took a step since it was counted last."""
    population = max(records, LEAST)
    counted = tuples(
        tx,
        f"SELECT body->>'{name}', count(*) FROM identity WHERE workspace_id = :ws AND kind = :kind"
        f" AND body ? '{name}' GROUP BY 1 HAVING count(*) > :least",
        ws=workspace_id,
        kind=kind,
        least=RAREST * population,
    )
    now = {value: share_step(count / population) for value, count in counted}
    before = {
        row["name"]: float(row["share"])
        for row in rows(
            tx,
            "SELECT name, share FROM name_share WHERE workspace_id = :ws AND kind = :kind AND field = :field",
            ws=workspace_id,
            kind=kind,
            field=name,
        )
    }
    both = {value: (before.get(value), now.get(value)) for value in now.keys() | before.keys()}
    return {value: step for value, step in both.items() if step[0] != step[1]}


def _save_shares(tx: Tx, workspace_id: str, kind: str, name: str, shares: dict[str, float | None]) -> None:
    execute(
        tx,
        "WITH counted AS (SELECT * FROM jsonb_to_recordset(CAST(:shares AS jsonb))"
        "  AS s (name text, share double precision)),"
        " gone AS (DELETE FROM name_share n USING counted c WHERE n.workspace_id = :ws AND n.kind = :kind"
        "  AND n.field = :field AND n.name = c.name AND c.share IS NULL)"
        " INSERT INTO name_share AS n (workspace_id, kind, field, name, share)"
        " SELECT :ws, :kind, :field, name, share FROM counted WHERE share IS NOT NULL ORDER BY name"
        " ON CONFLICT (workspace_id, kind, field, name) DO UPDATE SET share = excluded.share",
        ws=workspace_id,
        kind=kind,
        field=name,
        shares=exact_json.dumps([{"name": value, "share": share} for value, share in sorted(shares.items())]),
    )
