"""Tokens that are asked for once and used by all: kept in Postgres, sealed, and renewed by one worker at a time.

A token is renewed when four fifths of its life are over, by whoever gets the row's lease; the others go on with the
old one while it holds, and else wait. What went wrong is in the row too, with the time before which nobody tries
again, so that many workers make no more requests than one would. No transaction is open while a server is asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from connector_runner.auth import token_store as store
from connector_runner.auth.scopes import Granted
from connector_runner.auth.settings import Direction
from connector_runner.infra.database import Database, Row, Tx
from connector_runner.infra.http import AnswerLost
from connector_runner.infra.logging import get_logger
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import Forbidden, Misconfigured, RunnerError, TryAgain, Unavailable
from connector_runner.kernel.ids import new_id
from connector_runner.resilience.retry import Backoff

log = get_logger(__name__)

RENEWED_AT: Final = 0.8
"""Of a token's life. Spread a little, so that tokens issued together are not renewed together."""
LEASE_S: Final = 45.0
"""Longer than all requests that one token may take, together."""
WAIT_S: Final = 60.0
_MARGIN_S: Final = 5.0
"""A token that ends sooner is not sent any more: the request may take as long."""
_FRESHLY_S: Final = 60.0
"""Two refusals within this time, and the fault is not the token's."""
_DISCOVERED_FOR_S: Final = 3600.0
_LOOK_EVERY_S: Final = (0.05, 0.25)
_KEEP_TRYING_S: Final = 20.0
_KEEP_EVERY_S: Final = 0.5
PARAMETERS_REFUSED: Final = "exchange_parameters_refused"
"""The failure of one set of parameters, and so of one record; not of the data source."""
_NOT_ITS_TURN: Final = "read_paced"
"""The code of a request that was not sent, because a quota has other requests in front."""
PASSING: Final = Backoff(base_s=2, cap_s=300, floor=0.5)
LASTING: Final = Backoff(base_s=15, cap_s=900, floor=0.5)


@dataclass(frozen=True, slots=True)
class Slot:
    """One token among all: ``key`` is the keyed digest of what it is for."""

    workspace_id: str
    key: bytes
    data_source_id: str
    direction: Direction
    kind: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known when a token is asked for. ``discovered`` is None when nothing is, or it is too old."""

    refresh_token: str | None = None
    discovered: dict[str, Any] | None = None
    clock_offset_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Minted:
    """A token as the server gave it. ``life_s`` is never None: where the server is silent it is a guess of ours."""

    access_token: str = field(repr=False)
    life_s: float
    asked: str | None = None
    granted: str | None = None
    refresh_token: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    discovered: dict[str, Any] | None = None
    clock_offset_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """A token that may be used. ``fresh_until`` is on the monotonic clock."""

    access_token: str = field(repr=False)
    serial: int
    fresh_until: float
    granted: Granted
    scopes: tuple[str | None, str | None] = (None, None)
    """As they were asked for and granted."""

    @property
    def fresh(self) -> bool:
        """Whether nobody needs to look for another yet."""
        return time.monotonic() < self.fresh_until


class Mint(Protocol):
    """Asks a server for one token."""

    def __call__(self, known: Known) -> Minted:
        """The token. Raises Misconfigured when asking again is no use, TryAgain when it may be."""

    def material(self) -> str:
        """The secrets that are used, as one text: when it changes, what failed for good may be tried again."""

    def first_refresh_token(self) -> str | None:
        """The refresh token that the settings refer to, where there is one."""


class Tokens:
    """Holds tokens for everybody who asks. Share one between threads."""

    def __init__(self, database: Database, sealer: Sealer, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._database = database
        self._sealer = sealer
        self._sleep = sleep

    def digest(self, workspace_id: str, text: str) -> bytes:
        """Stands for what a token is for; nobody without the installation's key can try out guesses."""
        return self._sealer.keyed_digest(workspace_id, "access_token", text)

    def current(self, slot: Slot, mint: Mint) -> Held:
        """The token of a slot, asked for when there is none that holds.

        Raises what ``mint`` raises, also where another worker was told so shortly before; Unavailable (``token_busy``)
        when another worker does not come to an end.
        """
        give_up = time.monotonic() + WAIT_S
        while True:
            with self._database.begin(slot.workspace_id) as tx:
                row = store.look(tx, slot.workspace_id, slot.key)
                held = self._held(tx, slot, row)
            if held is not None and row is not None and row["renew_in_s"] > 0:
                return held
            found = self._next(slot, mint, row, held)
            if found is not None:
                return found
            if time.monotonic() > give_up:
                raise Unavailable("another worker has been getting the token for long", code="token_busy")
            self._sleep(random.uniform(*_LOOK_EVERY_S))

    def renewed(self, slot: Slot, mint: Mint, refused_serial: int) -> Held | None:
        """Another token in the place of one that was refused; None when a fresh one is refused as well."""
        with self._database.begin(slot.workspace_id) as tx:
            row = store.look(tx, slot.workspace_id, slot.key)
            if row is not None and row["serial"] == refused_serial and not row["refused"]:
                if row["refused_ago_s"] is not None and row["refused_ago_s"] < _FRESHLY_S:
                    return None
                store.refuse(tx, slot.workspace_id, slot.key, refused_serial)
        return self.current(slot, mint)

    def _held(self, tx: Tx, slot: Slot, row: Row | None) -> Held | None:
        """The token of the row, if it holds still."""
        if row is None or row["sealed"] is None or row["expires_in_s"] <= 0:
            return None
        token = self._sealer.open(tx, slot.workspace_id, bytes(row["sealed"]), _context(slot, "token")).decode()
        fresh_until = time.monotonic() + min(row["renew_in_s"], row["expires_in_s"])
        return Held(token, row["serial"], fresh_until, Granted.of(row["granted"]), (row["asked"], row["granted"]))

    def _next(self, slot: Slot, mint: Mint, row: Row | None, held: Held | None) -> Held | None:
        """A new token, or the old one while it holds; None when another worker is getting one."""
        if row is not None and row["failure_code"] and (row["retry_in_s"] or 0) > 0:
            if held is not None:
                return held
            if not row["failure_lasts"] or bytes(row["failure_of"] or b"") == self._material(slot, mint):
                raise _noted(row)
        serial = row["serial"] if row is not None else 0
        if row is not None and row["taken"]:
            return held
        owner = new_id()
        with self._database.begin(slot.workspace_id) as tx:
            mine = store.claim(
                tx,
                slot.workspace_id,
                slot.key,
                data_source_id=slot.data_source_id,
                direction=slot.direction,
                kind=slot.kind,
                serial=serial,
                failures=row["failures"] if row is not None else 0,
                owner=owner,
                lease_s=LEASE_S,
            )
        return self._get(slot, mint, row, owner, serial, held) if mine else held

    def _get(self, slot: Slot, mint: Mint, row: Row | None, owner: str, serial: int, held: Held | None) -> Held:
        try:
            known = self._known(slot, mint, row)
            minted = _asked(mint, known)
        except RunnerError as error:
            if error.code == _NOT_ITS_TURN:
                self._let_go(slot, owner)
                raise
            self._note(slot, mint, owner, serial, row, error)
            if held is not None:
                log.warning("token.not_renewed", data_source_id=slot.data_source_id, code=error.code)
                return held
            raise
        except BaseException:
            self._let_go(slot, owner)
            raise
        self._surely_keep(slot, mint, serial, known, minted)
        return Held(
            minted.access_token,
            serial + 1,
            time.monotonic() + minted.life_s * RENEWED_AT,
            Granted.of(minted.granted),
            (minted.asked, minted.granted),
        )

    def _let_go(self, slot: Slot, owner: str) -> None:
        with self._database.begin(slot.workspace_id) as tx:
            store.let_go(tx, slot.workspace_id, slot.key, owner)

    def _known(self, slot: Slot, mint: Mint, row: Row | None) -> Known:
        first = mint.first_refresh_token()
        if row is None:
            return Known(refresh_token=first)
        kept = first
        if row["sealed_refresh"] is not None and bytes(row["refresh_of"] or b"") == self._origin(slot, first):
            with self._database.begin(slot.workspace_id) as tx:
                sealed = bytes(row["sealed_refresh"])
                kept = self._sealer.open(tx, slot.workspace_id, sealed, _context(slot, "refresh")).decode()
        recent = row["discovered_ago_s"] is not None and row["discovered_ago_s"] < _DISCOVERED_FOR_S
        return Known(kept, row["discovered"] if recent else None, row["clock_offset_s"])

    def _surely_keep(self, slot: Slot, mint: Mint, serial: int, known: Known, minted: Minted) -> None:
        """Keep it, also where Postgres is away for a while: the server takes the refresh token before no more."""
        give_up = time.monotonic() + (_KEEP_TRYING_S if minted.refresh_token else 0.0)
        while True:
            try:
                self._keep(slot, mint, serial, known, minted)
                return
            except Unavailable:
                if time.monotonic() >= give_up:
                    raise
            self._sleep(_KEEP_EVERY_S)

    def _keep(self, slot: Slot, mint: Mint, serial: int, known: Known, minted: Minted) -> None:
        first = mint.first_refresh_token()
        refresh = minted.refresh_token or (known.refresh_token if known.refresh_token != first else None)
        with self._database.begin(slot.workspace_id) as tx:

            def sealed(text: str, what: str) -> bytes:
                return self._sealer.seal(tx, slot.workspace_id, text.encode(), _context(slot, what))

            kept = store.Kept(
                sealed=sealed(minted.access_token, "token"),
                sealed_refresh=sealed(refresh, "refresh") if refresh else None,
                refresh_of=self._origin(slot, first) if refresh else None,
                life_s=max(minted.life_s - min(_MARGIN_S, minted.life_s / 10), 0.0),
                renew_s=minted.life_s * RENEWED_AT * random.uniform(0.95, 1.0),
                asked=minted.asked,
                granted=minted.granted,
                notes=list(minted.notes),
                discovered=None if minted.discovered is None else exact_json.dumps(minted.discovered),
                discovered_now=minted.discovered is not None and minted.discovered is not known.discovered,
                clock_offset_s=minted.clock_offset_s,
            )
            store.keep(tx, slot.workspace_id, slot.key, serial, kept)
            store.remove_old(tx, slot.workspace_id)

    def _note(self, slot: Slot, mint: Mint, owner: str, serial: int, row: Row | None, error: RunnerError) -> None:
        lasts = not isinstance(error, TryAgain)
        failures = (row["failures"] if row is not None else 0) + 1
        wait = error.retry_after_s if isinstance(error, TryAgain) else None
        with self._database.begin(slot.workspace_id) as tx:
            store.fail(
                tx,
                slot.workspace_id,
                slot.key,
                serial=serial,
                owner=owner,
                code=error.code,
                text=str(error),
                lasts=lasts,
                failure_of=self._material(slot, mint) if lasts else b"",
                retry_s=(LASTING if lasts else PASSING).pause_s(failures, retry_after_s=wait),
            )

    def _material(self, slot: Slot, mint: Mint) -> bytes:
        try:
            return self.digest(slot.workspace_id, f"material|{mint.material()}")
        except Misconfigured as error:
            return self.digest(slot.workspace_id, f"no material|{error.code}")

    def _origin(self, slot: Slot, first: str | None) -> bytes:
        return self.digest(slot.workspace_id, f"refresh_of|{first or ''}")


def _asked(mint: Mint, known: Known) -> Minted:
    """Ask. That the token server's answer was lost says nothing of the request that the token is for: it never left."""
    try:
        return mint(known)
    except AnswerLost as error:
        raise Unavailable(error.message, code="token_server_failed", where=error.where) from None


def _context(slot: Slot, what: str) -> str:
    return f"access_token|{slot.key.hex()}|{what}"


def _noted(row: Row) -> RunnerError:
    """What another worker was told shortly before."""
    text, code = str(row["failure_text"]), str(row["failure_code"])
    if code == PARAMETERS_REFUSED:
        return Forbidden(text, code=code)
    if row["failure_lasts"]:
        return Misconfigured(text, code=code)
    return Unavailable(text, code=code, retry_after_s=float(row["retry_in_s"]))
