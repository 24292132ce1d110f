"""A log of a few entries and notes, and how tests alter it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from connector_runner.audit import log as audit
from connector_runner.audit import verifying
from connector_runner.audit.chain import Anchor
from connector_runner.infra.database import Database
from connector_runner.infra.sealing import Sealer

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
Tamper = Callable[..., None]
"""Runs a statement as somebody who has the whole database."""


def fill(database: Database, workspace: str, count: int = 6) -> None:
    for n in range(count):
        with database.begin(workspace) as tx:
            detail = {
                "n": n,
                "ratio": 0.1,
                "dose": Decimal("1.00"),
                "big": 1e16,
                "names": ["é", None],
                "deep": {"b": 1},
            }
            audit.append(
                tx, workspace, actor="operator:1", action="source.apply", object=f"source:{n}", detail=detail, now=NOW
            )


def verify(database: Database, workspace: str, **options: object) -> int | None:
    with database.begin(workspace) as tx:
        broken = verifying.verify(tx, workspace, **options).broken  # type: ignore[arg-type]
        return broken.n if broken is not None else None


def read(database: Database, workspace: str, count: int) -> None:
    with database.begin(workspace) as tx:
        for n in range(count):
            audit.record_read(tx, workspace, actor="operator:1", action="entity.show", object=f"entity:{n}", now=NOW)


def seal(database: Database, workspace: str, limit: int = 100) -> int:
    with database.begin(workspace) as tx:
        return audit.seal_reads(tx, workspace, now=NOW, limit=limit)


def anchored(database: Database, workspace: str, sealer: Sealer) -> Anchor:
    with database.begin(workspace) as tx:
        made = audit.anchor(tx, workspace, sealer, now=NOW)
    assert made is not None
    return made
