"""The hash chain: what an entry's hash covers, and what a digest of reads covers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from connector_runner.kernel import exact_json

SEAL_ACTION = "reads.sealed"
ANCHOR_ACTION = "audit.anchored"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log. ``txid`` is the transaction that wrote it."""

    n: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: Mapping[str, Any]
    txid: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """The chain as it stood: number and hash of its last entry. ``mac`` is under a key that is not in the database."""

    workspace_id: str
    n: int
    hash: bytes
    made_at: datetime
    mac: bytes

    @property
    def stated(self) -> str:
        """What ``mac`` is over, beside the workspace."""
        return f"{self.n}|{self.hash.hex()}|{_instant(self.made_at)}"


@dataclass(frozen=True, slots=True)
class Read:
    """One note: an access to protected data, a write or a link, before or after it is sealed."""

    read_id: str
    at: datetime
    actor: str
    action: str
    object: str
    detail: Mapping[str, Any]


def genesis(workspace_id: str) -> bytes:
    """What the first entry of a workspace points back to."""
    return sha256(f"connector_runner audit|{workspace_id}".encode()).digest()


def content(at: datetime, actor: str, action: str, object: str, detail: Mapping[str, Any]) -> str:
    """What an entry says, as it is hashed: a JSON array. Raises TypeError or ValueError when the detail is no JSON."""
    return exact_json.dumps([_instant(at), actor, action, object, normalised(detail)])


def entry_hash(workspace_id: str, previous: bytes, entry: Entry) -> bytes:
    """32 bytes over the previous hash and everything that the entry says; ``store.chain`` has it in SQL."""
    said = content(entry.at, entry.actor, entry.action, entry.object, entry.detail)
    text = f'["{workspace_id}",{entry.n},{said[1:-1]},{entry.txid}]'
    return sha256(previous + text.encode()).digest()


def reads_digest(workspace_id: str, reads: Iterable[Read]) -> tuple[int, str]:
    """How many reads there are, and the digest (hex) over them in the order of their ids."""
    total = sha256(workspace_id.encode())
    count = 0
    for read in sorted(reads, key=lambda read: read.read_id):
        said = content(read.at, read.actor, read.action, read.object, read.detail)
        text = f'["{read.read_id}",{said[1:]}'
        total.update(len(text).to_bytes(4, "big") + text.encode())
        count += 1
    return count, total.hexdigest()


def normalised(value: Any) -> Any:
    """``value`` as it comes back from jsonb: numbers in plain notation, tuples as lists, keys as text.

    Raises TypeError for what JSON does not know, ValueError for a number that is not finite.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | Decimal):
        number = value if isinstance(value, Decimal) else Decimal(repr(value))
        if not math.isfinite(number):
            raise ValueError("a number in the audit log is finite")
        text = format(abs(number) if number == 0 else number, "f")
        return Decimal(text) if "." in text else int(text)
    if isinstance(value, Mapping):
        return {str(key): normalised(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [normalised(item) for item in value]
    raise TypeError(f"{type(value).__name__} does not belong in the audit log")


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
