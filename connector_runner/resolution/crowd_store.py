"""Rows of keys that too many have, and of phones of too many people: true to the records whatever came first.

A loose key (see key_store) is among the former only where one of those who have it says no day of birth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector_runner.infra.database import Tx, execute, rows
from connector_runner.resolution.key_store import HELD, LOOSE, SPEAKS, UNDATED, asked, token_array

CAPPED: Final = "capped_key"
CROWDED: Final = "crowded_phone"


def known(tx: Tx, workspace_id: str, table: str, tokens: Iterable[int]) -> set[int]:
    """Which of these keys stand in one of the two tables."""
    found = rows(
        tx,
        f"SELECT token FROM {table} WHERE workspace_id = :ws AND token = ANY(CAST(:tokens AS bigint[]))",
        ws=workspace_id,
        tokens=token_array(tokens),
    )
    return {row["token"] for row in found}


def replace(tx: Tx, workspace_id: str, table: str, *, more: Iterable[int], fewer: Iterable[int]) -> None:
    """Put keys into one of the two tables, and take others out."""
    execute(
        tx,
        f"WITH gone AS (DELETE FROM {table} WHERE workspace_id = :ws AND token = ANY(CAST(:fewer AS bigint[])))"
        f" INSERT INTO {table} (workspace_id, token) SELECT :ws, t FROM unnest(CAST(:more AS bigint[])) t"
        " ORDER BY t ON CONFLICT DO NOTHING",
        ws=workspace_id,
        more=token_array(more),
        fewer=token_array(fewer),
    )


def of_many(tx: Tx, workspace_id: str, tokens: Iterable[int], most: int) -> set[int]:
    """Which of these keys, that more records have than ``most``, are found with more given names; by first letters."""
    found = rows(
        tx,
        "SELECT t.token FROM unnest(CAST(:tokens AS bigint[])) AS t (token) CROSS JOIN LATERAL"
        " (SELECT count(DISTINCT left(i.body->>'given', 3)) AS names"
        f"  FROM {HELD} k CROSS JOIN LATERAL"
        "   (SELECT body FROM identity WHERE workspace_id = :ws AND entity_id = k.entity_id OFFSET 0) i"
        "  WHERE k.workspace_id = :ws AND k.token = t.token) n WHERE n.names > :most",
        ws=workspace_id,
        tokens=token_array(tokens),
        most=most,
    )
    return {row["token"] for row in found}


def request_holders(
    tx: Tx, workspace_id: str, kind: str, tokens: Iterable[int], but: str, *, weighed: bool = False
) -> int:
    """Ask for all who have one of these keys to be compared anew, but for those in ``but``; how many.

    ``weighed``: only those of whose likeness to anybody evidence is kept.
    """
    kept = "SELECT 1 FROM pair_evidence p WHERE p.workspace_id = :ws AND p.{} = h.entity_id"
    only = f" WHERE EXISTS ({kept.format('one')}) OR EXISTS ({kept.format('other')})" if weighed else ""
    return execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind, identified)"
        f" SELECT :ws, entity_id, :kind, true FROM (SELECT DISTINCT entity_id FROM {HELD} k WHERE workspace_id = :ws"
        "  AND token = ANY(CAST(:tokens AS bigint[])) AND entity_id <> ALL(CAST(:but AS uuid[])) OFFSET 0) h"
        f"{only} ORDER BY entity_id ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kind=kind,
        tokens=token_array(tokens),
        but=but,
    )


def request_parted(tx: Tx, workspace_id: str, kind: str, tokens: Iterable[int], but: str) -> int:
    """Ask for those to be compared anew, but for ``but``, whom nothing but one of these keys brought together.

    Of whose likeness no evidence is kept nothing changes. Of a loose key those are asked about who say no day of birth:
    it brings together nobody else, and thousands may have it.
    """
    tokens_of = "SELECT tokens FROM identity WHERE workspace_id = :ws AND entity_id = p.{} OFFSET 0"
    evidence = "SELECT one, other FROM pair_evidence e WHERE e.workspace_id = :ws AND e.{} = a.entity_id"
    return execute(
        tx,
        f"WITH held AS MATERIALIZED (SELECT token & {~UNDATED} AS token, entity_id FROM {HELD} k"
        "  WHERE workspace_id = :ws AND token = ANY(CAST(:tokens AS bigint[]))),"
        " parted AS MATERIALIZED (SELECT p.one, p.other FROM held a"
        f"  CROSS JOIN LATERAL ({evidence.format('one')} UNION ALL {evidence.format('other')} OFFSET 0) p"
        f"  CROSS JOIN LATERAL ({tokens_of.format('one')}) i CROSS JOIN LATERAL ({tokens_of.format('other')}) o"
        "  WHERE a.token = ANY(i.tokens) AND a.token = ANY(o.tokens)"
        "   AND NOT EXISTS (SELECT 1 FROM unnest(i.tokens) AS x (token) WHERE x.token = ANY(o.tokens)"
        f"   AND {SPEAKS.format('x.token')} AND x.token & {UNDATED} = 0 AND (x.token & {LOOSE} = 0"
        f"    OR x.token | {UNDATED} = ANY(i.tokens) OR x.token | {UNDATED} = ANY(o.tokens))))"
        " INSERT INTO pending_resolution (workspace_id, entity_id, kind, identified) SELECT :ws, id, :kind, true"
        " FROM (SELECT one AS id FROM parted UNION SELECT other FROM parted) p WHERE id <> ALL(CAST(:but AS uuid[]))"
        " ORDER BY id ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kind=kind,
        tokens=token_array(asked(tokens)),
        but=but,
    )
