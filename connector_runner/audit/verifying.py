"""Is the log as it was written? Walk the chain, count the notes, and hold it against anchors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from connector_runner.audit import log, store
from connector_runner.audit.chain import ANCHOR_ACTION, SEAL_ACTION, Anchor, Entry, entry_hash, genesis, reads_digest
from connector_runner.infra.database import Tx
from connector_runner.kernel.ids import is_uuid

Code = Literal["altered", "missing", "surplus", "reads_altered", "anchor_differs", "anchor_missing", "anchor_forged"]
_STEP: Final = 1000


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry that does not hold, and how: one that is not there has the number that it should have."""

    n: int
    code: Code


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found; ``broken`` is None where all holds. ``anchors`` counts those that the chain was held against."""

    entries: int
    anchors: int
    broken: Broken | None


def verify(
    tx: Tx,
    workspace_id: str,
    *,
    anchors: Sequence[Anchor] = (),
    genuine: Callable[[Sequence[Anchor]], bool] = lambda anchors: True,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Verified:
    """Walk the chain of a workspace. Others may append meanwhile.

    ``anchors`` are those kept outside; the chain must pass through each, as through those of the database.
    ``genuine`` says whether anchors were made by this installation. ``progress`` is told how many of how many.
    """
    log.flush(tx, workspace_id)
    # In this order, so that the chain has come as far as each anchor whoever makes one now.
    known = store.anchors(tx, workspace_id)
    last = store.head(tx, workspace_id) or (0, genesis(workspace_id))
    given = [*known, *anchors]
    forged = [one.n for one in given if not genuine([one])]
    broken = Broken(min(forged), "anchor_forged") if forged else None
    if broken is None:
        broken = _walk(tx, workspace_id, last, given, {one.n for one in known}, progress)
    if broken is None:
        odd = store.miscounted(tx, workspace_id)
        broken = Broken(odd, "reads_altered") if odd is not None else None
    return Verified(last[0], len(given), broken)


def _walk(
    tx: Tx,
    workspace_id: str,
    last: tuple[int, bytes],
    given: Sequence[Anchor],
    known: set[int],
    progress: Callable[[int, int], None],
) -> Broken | None:
    kept: dict[int, set[bytes]] = {}
    for one in given:
        kept.setdefault(one.n, set()).add(one.hash)
    expected, previous = 1, genesis(workspace_id)
    for entry, its_previous, its_hash in store.walk(tx, workspace_id, last[0]):
        if entry.n != expected:
            return Broken(expected, "missing") if entry.n > expected else Broken(entry.n, "surplus")
        computed = entry_hash(workspace_id, previous, entry)
        if its_previous != previous or its_hash != computed:
            return Broken(expected, "altered")
        if kept.pop(entry.n, {computed}) != {computed}:
            return Broken(entry.n, "anchor_differs")
        if not _reads_hold(tx, workspace_id, entry):
            return Broken(entry.n, "reads_altered")
        if entry.action == ANCHOR_ACTION and not _is_kept(tx, workspace_id, entry.detail.get("n"), known):
            return Broken(entry.n, "anchor_missing")
        expected, previous = entry.n + 1, computed
        if entry.n % _STEP == 0:
            progress(entry.n, last[0])
    progress(expected - 1, last[0])
    return _end(tx, workspace_id, last, expected, previous, bool(kept))


def _end(
    tx: Tx, workspace_id: str, last: tuple[int, bytes], expected: int, previous: bytes, beyond: bool
) -> Broken | None:
    if last[0] >= expected or beyond:
        return Broken(expected, "missing")
    if last != (expected - 1, previous):
        return Broken(max(last[0], 1), "altered")
    odd = store.surplus(tx, workspace_id)
    return Broken(odd, "surplus") if odd is not None else None


def _is_kept(tx: Tx, workspace_id: str, n: Any, known: set[int]) -> bool:
    if not isinstance(n, int):
        return False
    if n not in known:
        known |= {one.n for one in store.anchors(tx, workspace_id)}
    return n in known


def _reads_hold(tx: Tx, workspace_id: str, entry: Entry) -> bool:
    """Whether a seal covers the notes that it says; whoever rewrites a chain may let it say anything."""
    if entry.action != SEAL_ACTION:
        return True
    first, last, *said = (entry.detail.get(name) for name in ("first", "last", "count", "digest"))
    if not (isinstance(first, str) and isinstance(last, str) and is_uuid(first) and is_uuid(last)):
        return False
    reads = store.reads_sealed_by(tx, workspace_id, entry.n, (first, last))
    return [*reads_digest(workspace_id, reads)] == said
