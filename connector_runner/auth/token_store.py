"""Rows of tokens: what is held, who is getting another, and what went wrong. Times are those of Postgres alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from connector_runner.infra.database import Row, Tx, execute, one, rows

_LOOK = """
SELECT serial, sealed, sealed_refresh, refresh_of, asked, granted, notes, discovered, clock_offset_s,
       owner, failures, failure_code, failure_text, failure_lasts, failure_of,
       extract(epoch FROM expires_at - clock_timestamp())::float8 AS expires_in_s,
       extract(epoch FROM renew_at - clock_timestamp())::float8 AS renew_in_s,
       extract(epoch FROM retry_at - clock_timestamp())::float8 AS retry_in_s,
       extract(epoch FROM clock_timestamp() - refused_at)::float8 AS refused_ago_s,
       extract(epoch FROM clock_timestamp() - discovered_at)::float8 AS discovered_ago_s,
       coalesce(refused_at >= issued_at, false) AS refused,
       coalesce(owner_until > clock_timestamp(), false) AS taken
FROM access_token WHERE workspace_id = :ws AND token_key = :key
"""


def look(tx: Tx, workspace_id: str, key: bytes) -> Row | None:
    """What there is under a key; spans are in seconds from now."""
    return one(tx, _LOOK, ws=workspace_id, key=key)


def claim(
    tx: Tx,
    workspace_id: str,
    key: bytes,
    *,
    data_source_id: str,
    direction: str,
    kind: str,
    serial: int,
    failures: int,
    owner: str,
    lease_s: float,
) -> bool:
    """Become the one who gets the token after ``serial``; False when somebody else is at it, or has been.

    ``failures`` are those seen: with one more, another worker has just been told that there is none. A row that was
    dropped since it was seen is made anew as it was.
    """
    made = execute(
        tx,
        "INSERT INTO access_token AS held"
        " (workspace_id, token_key, data_source_id, direction, kind, serial, failures, owner, owner_until) VALUES"
        " (:ws, :key, :source, :direction, :kind, :serial, :failures, :owner,"
        " clock_timestamp() + make_interval(secs => :lease))"
        " ON CONFLICT (workspace_id, token_key) DO UPDATE SET owner = excluded.owner,"
        " owner_until = excluded.owner_until, data_source_id = excluded.data_source_id,"
        " direction = excluded.direction"
        " WHERE held.serial = :serial AND held.failures = :failures"
        " AND coalesce(held.owner_until < clock_timestamp(), true)",
        ws=workspace_id,
        key=key,
        source=data_source_id,
        direction=direction,
        kind=kind,
        owner=owner,
        lease=lease_s,
        serial=serial,
        failures=failures,
    )
    return made == 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A token as it is put into its row; ``*_s`` are seconds from now."""

    sealed: bytes
    sealed_refresh: bytes | None
    refresh_of: bytes | None
    life_s: float
    renew_s: float
    asked: str | None
    granted: str | None
    notes: list[str]
    discovered: str | None
    discovered_now: bool
    clock_offset_s: float


_KEEP = """
UPDATE access_token SET serial = serial + 1, sealed = :sealed, sealed_refresh = :sealed_refresh,
    refresh_of = :refresh_of, issued_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => :life_s),
    renew_at = clock_timestamp() + make_interval(secs => :renew_s), asked = :asked, granted = :granted,
    notes = CAST(:notes AS text[]), discovered = CAST(:discovered AS jsonb),
    discovered_at = CASE WHEN :discovered_now THEN clock_timestamp() ELSE discovered_at END,
    clock_offset_s = :clock_offset_s, owner = NULL, owner_until = NULL, failures = 0, failure_code = NULL,
    failure_text = NULL, failure_lasts = false, failure_of = NULL, retry_at = NULL
WHERE workspace_id = :ws AND token_key = :key AND serial = :serial
"""


def keep(tx: Tx, workspace_id: str, key: bytes, serial: int, kept: Kept) -> bool:
    """Put the token after ``serial`` there, for everybody; False when another one is there already."""
    return execute(tx, _KEEP, ws=workspace_id, key=key, serial=serial, **asdict(kept)) == 1


def fail(
    tx: Tx,
    workspace_id: str,
    key: bytes,
    *,
    serial: int,
    owner: str,
    code: str,
    text: str,
    lasts: bool,
    failure_of: bytes,
    retry_s: float,
) -> None:
    """Note why there is no token after ``serial``, and when one may be asked for. What was discovered is doubted."""
    execute(
        tx,
        "UPDATE access_token SET failures = failures + 1, failure_code = :code, failure_text = :text,"
        " failure_lasts = :lasts, failure_of = :failure_of, discovered_at = NULL,"
        " retry_at = clock_timestamp() + make_interval(secs => :retry), owner = NULL, owner_until = NULL"
        " WHERE workspace_id = :ws AND token_key = :key AND serial = :serial AND owner = :owner",
        ws=workspace_id,
        key=key,
        serial=serial,
        owner=owner,
        code=code,
        text=text,
        lasts=lasts,
        failure_of=failure_of,
        retry=retry_s,
    )


def let_go(tx: Tx, workspace_id: str, key: bytes, owner: str) -> None:
    """Give up getting a token without having tried."""
    execute(
        tx,
        "UPDATE access_token SET owner = NULL, owner_until = NULL"
        " WHERE workspace_id = :ws AND token_key = :key AND owner = :owner",
        ws=workspace_id,
        key=key,
        owner=owner,
    )


def refuse(tx: Tx, workspace_id: str, key: bytes, serial: int) -> None:
    """The token of this serial was refused before its time."""
    execute(
        tx,
        "UPDATE access_token SET expires_at = clock_timestamp(), renew_at = clock_timestamp(),"
        " refused_at = clock_timestamp() WHERE workspace_id = :ws AND token_key = :key AND serial = :serial",
        ws=workspace_id,
        key=key,
        serial=serial,
    )


def forget_failures(tx: Tx, workspace_id: str, data_source_id: str | None = None) -> None:
    """Let tokens be asked for at once: of one data source, or of all."""
    execute(
        tx,
        "UPDATE access_token SET failures = 0, retry_at = NULL, refused_at = NULL WHERE workspace_id = :ws"
        " AND (CAST(:source AS uuid) IS NULL OR data_source_id = CAST(:source AS uuid))",
        ws=workspace_id,
        source=data_source_id,
    )


def remove_old(tx: Tx, workspace_id: str) -> None:
    """Drop what nobody has used for long: tokens of single requests after an hour, others after 30 days.

    Also where there never was a token: what is known of parameters that were refused.
    """
    execute(
        tx,
        "DELETE FROM access_token WHERE workspace_id = :ws AND sealed_refresh IS NULL"
        " AND coalesce(owner_until < clock_timestamp(), true)"
        " AND CASE WHEN kind = 'bearer_token_exchange'"
        " THEN coalesce(greatest(expires_at, retry_at), '-infinity') < clock_timestamp() - interval '1 hour'"
        " ELSE expires_at < clock_timestamp() - interval '30 days' END",
        ws=workspace_id,
    )


def of_source(tx: Tx, workspace_id: str, data_source_id: str) -> list[Row]:
    """How the tokens of a data source are; without the tokens. Those of single requests are left out."""
    return rows(
        tx,
        "SELECT direction, kind, issued_at, renew_at, expires_at, asked, granted, notes, clock_offset_s, failures,"
        " failure_code, failure_text, retry_at FROM access_token"
        " WHERE workspace_id = :ws AND data_source_id = :source AND kind <> 'bearer_token_exchange'"
        " ORDER BY direction, coalesce(expires_at, retry_at) DESC",
        ws=workspace_id,
        source=data_source_id,
    )
