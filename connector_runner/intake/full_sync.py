"""Deletes need proof: what a source says is gone, and what a complete reading of it did not hold.

A missing record counts as deleted only when every page of the window was read without an error, a record
that the window did hold can be read in the same run (else the credential may see less than it did), and a
direct read of the missing one answers 404 or 410. More of them in one run than a clinic deletes by hand are
parked for a person instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from connector_runner.connectors.base import DataSource, Source, SourceRecord
from connector_runner.infra.database import Tx
from connector_runner.intake import sync_store
from connector_runner.intake.landing import Rejects
from connector_runner.intake.sync_store import LiveRecord, Scope
from connector_runner.kernel.errors import BadRecord, TryAgain, Unavailable
from connector_runner.kernel.ids import canonical_id, entity_id_of

STAGE: Final = "tombstones"
MAX_DIRECT_READS: Final = 500
_PARKED_IDS: Final = 1000


def limit(live: int) -> int:
    """How many deletes of one record type one run may bring: two in a hundred, at least 5, at most 50."""
    return min(50, max(5, live * 2 // 100))


@dataclass(slots=True)
class Findings:
    """What became of the records that a source no longer lists."""

    gone: list[SourceRecord] = field(default_factory=list)
    found: list[SourceRecord] = field(default_factory=list)
    """Those that a direct read did find: they moved between pages, or the listing leaves them out."""
    unusable: list[str] = field(default_factory=list)
    """Those that are there in a form that cannot be used (their page has quarantined them)."""


def record_ids(source: DataSource, records: Sequence[SourceRecord]) -> list[str]:
    """The ids under which records are known."""
    return [
        entity_id_of(source.workspace_id, canonical_id(source.name, record.resource_type, record.record_id))
        for record in records
    ]


def confirm(
    reader: Source,
    resource_type: str,
    missing: Sequence[LiveRecord],
    *,
    canary: str,
    allowed: int,
    alive: Callable[[], None],
) -> Findings:
    """Read each missing record directly, until one more than ``allowed`` is known to be gone.

    ``alive`` is called before each read (to renew a lease). Raises Unavailable (``canary_failed``) when the
    canary cannot be read afterwards, TryAgain (``listing_incomplete``) when the listing leaves out so many
    records that exist that it proves nothing, and whatever a read raises: a 403 ends the run without a delete.
    """
    findings = Findings()
    for read, record in enumerate(missing):
        if len(findings.gone) > allowed:
            break
        if read >= MAX_DIRECT_READS:
            raise TryAgain(
                "the listing leaves out many records that exist", code="listing_incomplete", where=resource_type
            )
        alive()
        try:
            answer = reader.read(resource_type, record.fhir_id)
        except BadRecord:
            findings.unusable.append(record.fhir_id)
            continue
        if answer is None:
            findings.gone.append(SourceRecord(resource_type, record.fhir_id, b"", None, deleted=True))
        else:
            (findings.gone if answer.deleted else findings.found).append(answer)
    if findings.gone:
        alive()
        witness = reader.read(resource_type, canary)
        if witness is None or witness.deleted:
            raise Unavailable(
                "a record that was listed a moment ago cannot be read: nothing counts as deleted",
                code="canary_failed",
                where=resource_type,
            )
    return findings


def park(
    tx: Tx,
    rejects: Rejects,
    source: DataSource,
    resource_type: str,
    ids: Sequence[str],
    *,
    how: str,
    allowed: int,
    code: str,
    now: datetime,
) -> None:
    """Keep deletes for a person to decide: one quarantine row of ids, one for each way of having noticed them."""
    messages = {
        "too_many_deletes": f"{len(ids)} records are gone at once; more than {allowed} need a person's approval",
        "nothing_listed": "the source lists no record at all, so nothing proves that the known ones are gone",
    }
    rejects.put(
        tx,
        source.workspace_id,
        stage=STAGE,
        subject=f"{source.data_source_id}:{resource_type}:{how}",
        code=code,
        message=messages[code],
        place=resource_type,
        data_source_id=source.data_source_id,
        body=None,
        context={
            "resource_type": resource_type,
            "records": len(ids),
            "allowed": allowed,
            "ids": list(ids[:_PARKED_IDS]),
        },
        now=now,
    )


def admissible(
    tx: Tx, source: DataSource, resource_type: str, deleted: Sequence[SourceRecord]
) -> tuple[list[SourceRecord], int]:
    """Of explicit deletes those whose records are alive here, and how many one run may bring."""
    keys = record_ids(source, deleted)
    scope = Scope(source.workspace_id, source.data_source_id, resource_type)
    alive = sync_store.alive_among(tx, scope, keys) if keys else set()
    wanted = [record for record, key in zip(deleted, keys, strict=True) if key in alive]
    allowed = limit(sync_store.count_live(tx, scope)) if len(wanted) > limit(0) else limit(0)
    return wanted, allowed


def allowed_of(tx: Tx, source: DataSource, resource_type: str) -> int:
    """How many deletes one run may bring, by how many records are alive here."""
    return limit(sync_store.count_live(tx, Scope(source.workspace_id, source.data_source_id, resource_type)))
