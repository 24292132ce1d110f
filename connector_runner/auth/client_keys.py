"""The keys with which a workspace signs its assertions: made or given once, sealed, never shown again.

A key lives by times alone, so that no step of a rotation can be missed. SMART App Launch 2.2 ("Client
Authentication: Asymmetric") has the order: publish the new key beside the old; when every server has had to read the
set anew, sign with the new; when the last assertion of the old has lapsed and the set was read anew once more, drop
the old.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from connector_runner.audit import log as audit
from connector_runner.auth import client_key_store as store
from connector_runner.auth import token_store
from connector_runner.auth.assertions import ALGORITHMS, SigningKey, new_private_key, public_jwk, read_private_key
from connector_runner.infra.database import Row, Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id

ASSERTION_LIFE: Final = timedelta(minutes=5)
_KID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")


def state_of(row: Row, now: datetime) -> str:
    """``published`` (signs later), ``signing``, ``retiring`` (signs no more, still published) or ``retired``."""
    if row["published_until"] is not None and row["published_until"] <= now:
        return "retired"
    if row["signs_until"] is not None and row["signs_until"] <= now:
        return "retiring"
    return "published" if row["signs_from"] > now else "signing"


def add(
    tx: Tx,
    workspace_id: str,
    sealer: Sealer,
    *,
    actor: str,
    now: datetime,
    cache_life: timedelta,
    algorithm: str = "ES384",
    private: str | None = None,
    kid: str | None = None,
) -> Row:
    """A new key of ``algorithm``, or the ``private`` one that is given (PEM or JWK).

    The first of its algorithm signs at once: no server has read a set without it. A later one signs when servers have
    had to read the set anew. Raises Misconfigured (``private_key``, ``key_exists``).
    """
    key = _to_add(algorithm, private, kid)
    others = [row for row in store.keys(tx, workspace_id) if row["algorithm"] == key.algorithm]
    alone = all(state_of(row, now) == "retired" for row in others)
    made = store.insert(
        tx,
        workspace_id,
        kid=key.kid,
        algorithm=key.algorithm,
        public_jwk=public_jwk(key.pem, key.kid),
        sealed=sealer.seal(tx, workspace_id, key.pem.encode(), _context(key.kid)),
        now=now,
        signs_from=now if alone else now + cache_life,
    )
    if not made:
        raise Misconfigured("there is a key of this name", code="key_exists", where=key.kid)
    action = "client_key.imported" if private is not None else "client_key.created"
    audit.append(
        tx, workspace_id, actor=actor, action=action, object=key.kid, detail={"algorithm": key.algorithm}, now=now
    )
    token_store.forget_failures(tx, workspace_id)
    return _one(tx, workspace_id, key.kid)


def _to_add(algorithm: str, private: str | None, kid: str | None) -> SigningKey:
    if algorithm not in ALGORITHMS:
        raise Misconfigured(f"the algorithm is one of {', '.join(ALGORITHMS)}", code="private_key", where="--algorithm")
    if kid is not None and not _KID.fullmatch(kid):
        raise Misconfigured("a key's name is letters, digits and . _ ~ -", code="private_key", where="--kid")
    given = private if private is not None else new_private_key(algorithm)
    key = read_private_key(given, kid=kid or (None if private is not None else new_id()))
    if not _KID.fullmatch(key.kid):
        raise Misconfigured(
            "a key's name is letters, digits and . _ ~ -; give another", code="private_key", where="--kid"
        )
    return key


def ensure(tx: Tx, workspace_id: str, sealer: Sealer, *, actor: str, now: datetime) -> None:
    """Make a first key where none can sign."""
    if not any(state_of(row, now) == "signing" for row in store.keys(tx, workspace_id)):
        add(tx, workspace_id, sealer, actor=actor, now=now, cache_life=timedelta(0))


def rotate(
    tx: Tx, workspace_id: str, sealer: Sealer, *, actor: str, now: datetime, cache_life: timedelta, algorithm: str
) -> Row:
    """A new key, and the end of those of its algorithm that sign now: they overlap as servers' caches need."""
    old = [
        row
        for row in store.keys(tx, workspace_id)
        if row["algorithm"] == algorithm and row["signs_until"] is None and state_of(row, now) != "retired"
    ]
    new = add(tx, workspace_id, sealer, actor=actor, now=now, cache_life=cache_life, algorithm=algorithm)
    for row in old:
        _end(tx, workspace_id, row["kid"], new["signs_from"], cache_life)
        audit.append(tx, workspace_id, actor=actor, action="client_key.rotated", object=row["kid"], now=now)
    store.wipe(tx, workspace_id, now)
    return new


def retire(
    tx: Tx, workspace_id: str, kid: str, *, actor: str, now: datetime, cache_life: timedelta, force: bool = False
) -> Row:
    """Sign no more with a key, and publish it until servers have done with it.

    Raises Misconfigured (``no_such_key``; ``last_key`` when no other of its algorithm signs now, or none would when
    those that are being rotated have ended, unless ``force``).
    """
    row = _one(tx, workspace_id, kid)
    others = [
        other
        for other in store.keys(tx, workspace_id)
        if other["kid"] != kid and other["algorithm"] == row["algorithm"] and state_of(other, now) != "retired"
    ]
    signs = any(state_of(other, now) == "signing" for other in others)
    stays = row["signs_until"] is not None or any(other["signs_until"] is None for other in others)
    if not force and not (stays and (signs or state_of(row, now) != "signing")):
        raise Misconfigured(
            "no other key of this algorithm can sign in its place: rotate instead, or wait until the new one signs",
            code="last_key",
            where=kid,
        )
    _end(tx, workspace_id, kid, now, cache_life)
    store.wipe(tx, workspace_id, now)
    audit.append(tx, workspace_id, actor=actor, action="client_key.retired", object=kid, now=now)
    return _one(tx, workspace_id, kid)


def published(tx: Tx, workspace_id: str, now: datetime) -> dict[str, Any]:
    """The JWK set (RFC 7517) of the workspace: public halves of all keys that a server may meet."""
    return {"keys": [row["public_jwk"] for row in store.keys(tx, workspace_id) if state_of(row, now) != "retired"]}


def listing(tx: Tx, workspace_id: str, now: datetime) -> list[dict[str, Any]]:
    """All keys with their states; private halves are not among it. Those of retired keys are dropped."""
    store.wipe(tx, workspace_id, now)
    return [shown(row, now) for row in store.keys(tx, workspace_id)]


def shown(row: Row, now: datetime) -> dict[str, Any]:
    """One key as people may see it."""
    return {name: value for name, value in row.items() if name != "sealed"} | {"state": state_of(row, now)}


def signing_key(
    tx: Tx,
    workspace_id: str,
    sealer: Sealer,
    *,
    now: datetime,
    algorithms: Sequence[str] = ALGORITHMS,
    kid: str | None = None,
) -> SigningKey:
    """The newest key that may sign now, or the one named. Raises Misconfigured (``no_client_key``)."""
    for row in _fitting(store.keys(tx, workspace_id), kid, algorithms):
        if state_of(row, now) == "signing" and row["sealed"] is not None:
            pem = sealer.open(tx, workspace_id, bytes(row["sealed"]), _context(row["kid"])).decode()
            return SigningKey(row["kid"], row["algorithm"], pem)
    wanted = f"key {kid}" if kid else f"a key for {' or '.join(algorithms)}"
    raise Misconfigured(
        f"the workspace has not {wanted} that signs now: see `connector-runner key list`; `key create` makes one",
        code="no_client_key",
        where="auth.key",
    )


def _fitting(rows: Iterable[Row], kid: str | None, algorithms: Sequence[str]) -> Iterable[Row]:
    return (row for row in rows if (row["kid"] == kid if kid is not None else row["algorithm"] in algorithms))


def _end(tx: Tx, workspace_id: str, kid: str, at: datetime, cache_life: timedelta) -> None:
    store.end(tx, workspace_id, kid, signs_until=at, published_until=at + ASSERTION_LIFE + cache_life)


def _one(tx: Tx, workspace_id: str, kid: str) -> Row:
    row = store.key(tx, workspace_id, kid)
    if row is None:
        raise Misconfigured("the workspace has no key of this name", code="no_such_key", where=kid)
    return row


def _context(kid: str) -> str:
    return f"client_key|{kid}"
