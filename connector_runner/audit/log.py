"""The audit log of a workspace: append, note, and the sealing of notes.

Each entry's hash covers the one before it, so a changed, missing or moved entry is found by walking the chain
(``audit.verifying``); the head row and anchors kept outside find entries cut off the end.

What a transaction appends is chained at its end, by Postgres and in the message that brings the COMMIT: the head row
is locked while that is carried out, however long the transaction was and however slow this process is. So entries of
one transaction stand together, and the chain is in the order of commits.

Reads of protected data, writes to sinks and links are too many to stand in line for the head row. They are noted
unchained (``record_read``, and triggers of the tables ``write_log`` and ``link_event``); ``seal_reads`` chains one
digest for a batch of them soon after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from connector_runner.audit import store
from connector_runner.audit.acting import with_authority
from connector_runner.audit.chain import (
    ANCHOR_ACTION,
    SEAL_ACTION,
    Anchor,
    Entry,
    Read,
    content,
    normalised,
    reads_digest,
)
from connector_runner.infra.database import Tx, before_commit, once
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.ids import new_id

SEAL_BATCH: Final = 2000
PURGE: Final = "purge"
"""Chained at once: what may be deleted is what an entry of the same transaction names."""
_OURS: Final = "connector_runner"


def append(
    tx: Tx,
    workspace_id: str,
    *,
    actor: str,
    action: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
    reason: str | None = None,
    now: datetime,
) -> None:
    """Add an entry in the caller's transaction, as part of its COMMIT.

    ``object`` and ``detail`` hold ids, codes and counts, never what a record says. ``reason`` is in the words of the
    person who decided. On whose authority it was done is added by itself (``audit.acting``).
    Raises TypeError or ValueError when the detail is no JSON.
    """
    if action in (SEAL_ACTION, ANCHOR_ACTION):
        raise ValueError("only seal_reads and anchor write this action")
    said = dict(detail or {}) | ({"reason": reason} if reason else {})
    _append(tx, workspace_id, content(now, actor, action, object, with_authority(said)))
    if action == PURGE:
        flush(tx, workspace_id)


def _append(tx: Tx, workspace_id: str, said: str) -> None:
    waiting = _waiting(tx, workspace_id)
    if not waiting:
        before_commit(tx, partial(flush, tx, workspace_id))
    waiting.append(said)


def _waiting(tx: Tx, workspace_id: str) -> list[str]:
    return once(tx, f"audit|{workspace_id}", list[str])


def flush(tx: Tx, workspace_id: str) -> None:
    """Chain what the transaction has appended so far, with its next statement.

    Others that append wait from there to the end of the transaction.
    """
    waiting = _waiting(tx, workspace_id)
    if waiting:
        store.chain(tx, workspace_id, waiting)
        waiting.clear()


def head(tx: Tx, workspace_id: str) -> tuple[int, bytes] | None:
    """Number and hash of the last entry; None while there is none."""
    flush(tx, workspace_id)
    return store.head(tx, workspace_id)


def entries(tx: Tx, workspace_id: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
    """Entries with a number over ``after``, in order."""
    flush(tx, workspace_id)
    return store.entries(tx, workspace_id, after=after, limit=limit)


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
    read = Read(new_id(), now, actor, action, object, normalised(with_authority(detail or {})))
    store.add_read(tx, workspace_id, read)
    return read.read_id


note = record_read
"""What is too frequent to be chained one by one, and no read: refusals of policy, say."""


def seal_reads(tx: Tx, workspace_id: str, *, now: datetime, limit: int = SEAL_BATCH) -> int:
    """Chain one entry that stands for what was noted since; how many notes it covers.

    Run it until it answers less than ``limit``. Two at once wait for each other.
    """
    if not store.has_open_reads(tx, workspace_id):
        return 0
    flush(tx, workspace_id)
    n, _ = store.lock_head(tx, workspace_id)
    reads = store.open_reads(tx, workspace_id, limit)
    if not reads:
        return 0
    count, digest = reads_digest(workspace_id, reads)
    detail = {"count": count, "digest": digest, "first": reads[0].read_id, "last": reads[-1].read_id}
    _append(tx, workspace_id, content(now, _OURS, SEAL_ACTION, "audit_read", detail))
    flush(tx, workspace_id)
    store.mark_sealed(tx, workspace_id, [read.read_id for read in reads], n + 1)
    return count


def anchor(tx: Tx, workspace_id: str, sealer: Sealer, *, actor: str = _OURS, now: datetime) -> Anchor | None:
    """Keep what the chain stands at, and chain that it was kept; None while the log is empty.

    Where nothing came since the last anchor it is that one. To keep it elsewhere is the point: someone who can
    rewrite the whole database can rewrite the whole chain, but knows no anchor's key.
    """
    flush(tx, workspace_id)
    n, digest = store.lock_head(tx, workspace_id)
    last = store.last_anchor(tx, workspace_id)
    if n == 0 or (last is not None and n == last.n + 1):
        return last
    plain = Anchor(workspace_id, n, digest, now, b"")
    made = Anchor(workspace_id, n, digest, now, _mac(sealer, plain))
    store.add_anchor(tx, made)
    detail = with_authority({"n": n, "hash": digest.hex()})
    _append(tx, workspace_id, content(now, actor, ANCHOR_ACTION, str(n), detail))
    return made


def genuine(sealer: Sealer, anchors: Iterable[Anchor]) -> bool:
    """Whether all of them were made by this installation."""
    return all(one.mac == _mac(sealer, one) for one in anchors)


def _mac(sealer: Sealer, about: Anchor) -> bytes:
    return sealer.keyed_digest(about.workspace_id, "audit anchor", about.stated)
