"""The audit log of a workspace: append, verify, and the sealing of reads.

Each entry's hash covers the one before it, so a changed, missing or moved entry is found by walking the
chain; the head row finds entries cut off the end. Someone who can rewrite the whole database can rewrite the
whole chain: keep ``head`` outside now and then and hand it to ``verify`` as an anchor.

Reads of protected data are too many to stand in line for the head row. They are written unchained
(``record_read``) and ``seal_reads`` chains one digest for a batch of them soon after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from connector_runner.audit import store
from connector_runner.audit.chain import SEAL_ACTION, Entry, Read, entry_hash, genesis, normalised, reads_digest
from connector_runner.infra.database import Tx
from connector_runner.kernel.ids import new_id

Anchor = tuple[int, bytes]
SEAL_BATCH: Final = 2000


def append(
    tx: Tx,
    workspace_id: str,
    *,
    actor: str,
    action: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
    now: datetime,
) -> int:
    """Add an entry in the caller's transaction; its number.

    ``object`` and ``detail`` hold ids, codes and counts, never what a record says. Entries of one workspace
    queue on its head row until the transaction ends, so append late in it.
    """
    if action == SEAL_ACTION:
        raise ValueError("only seal_reads writes this action")
    return _append(tx, workspace_id, actor, action, object, detail or {}, now)


def _append(
    tx: Tx, workspace_id: str, actor: str, action: str, object: str, detail: Mapping[str, Any], now: datetime
) -> int:
    n, previous, txid = store.lock_head(tx, workspace_id)
    entry = Entry(n + 1, now, actor, action, object, normalised(detail), txid)
    store.add(tx, workspace_id, entry, previous, entry_hash(workspace_id, previous, entry))
    return entry.n


def head(tx: Tx, workspace_id: str) -> Anchor | None:
    """Number and hash of the last entry, to be kept as an anchor outside; None while there is none."""
    return store.head(tx, workspace_id)


def entries(tx: Tx, workspace_id: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
    """Entries with a number over ``after``, in order."""
    return store.entries(tx, workspace_id, after=after, limit=limit)


def verify(tx: Tx, workspace_id: str, *, anchors: Sequence[Anchor] = ()) -> int | None:
    """Walk the chain; the number of the first entry that is changed, missing or surplus, or None.

    ``anchors`` are heads kept outside: the chain must still pass through each. A digest of reads is checked
    against its reads. Others may append meanwhile.
    """
    kept = dict(anchors)
    last = store.head(tx, workspace_id) or (0, genesis(workspace_id))
    expected, previous = 1, genesis(workspace_id)
    for entry, its_previous, its_hash in store.walk(tx, workspace_id, last[0]):
        computed = entry_hash(workspace_id, previous, entry)
        if entry.n != expected or its_previous != previous or its_hash != computed:
            return expected
        if kept.pop(entry.n, computed) != computed or not _reads_hold(tx, workspace_id, entry):
            return entry.n
        expected, previous = entry.n + 1, computed
    if last[0] >= expected or kept:
        return expected
    return store.surplus(tx, workspace_id) if last == (expected - 1, previous) else max(last[0], 1)


def _reads_hold(tx: Tx, workspace_id: str, entry: Entry) -> bool:
    if entry.action != SEAL_ACTION:
        return True
    detail = entry.detail
    reads = store.reads_sealed_by(tx, workspace_id, entry.n, (detail["first"], detail["last"]))
    return reads_digest(workspace_id, reads) == (detail["count"], detail["digest"])


def record_read(
    tx: Tx,
    workspace_id: str,
    *,
    actor: str,
    action: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
    now: datetime,
) -> str:
    """Note one access to protected data, without waiting for other writers; the id of the note."""
    read = Read(new_id(), now, actor, action, object, normalised(detail or {}))
    store.add_reads(tx, workspace_id, [read])
    return read.read_id


def seal_reads(tx: Tx, workspace_id: str, *, now: datetime, limit: int = SEAL_BATCH) -> int:
    """Chain one entry that stands for the accesses noted since; how many it covers.

    Run it until it answers less than ``limit``. Two at once wait for each other.
    """
    if not store.has_open_reads(tx, workspace_id):
        return 0
    n, _, _ = store.lock_head(tx, workspace_id)
    reads = store.open_reads(tx, workspace_id, limit)
    if not reads:
        return 0
    count, digest = reads_digest(workspace_id, reads)
    detail = {"count": count, "digest": digest, "first": reads[0].read_id, "last": reads[-1].read_id}
    _append(tx, workspace_id, "connector_runner", SEAL_ACTION, "audit_read", detail, now)
    store.mark_sealed(tx, workspace_id, [read.read_id for read in reads], n + 1)
    return count
