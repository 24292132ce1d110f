"""How the tokens of a data source are, for its owner: what was granted, what is worth a word, what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector_runner.auth import scopes, token_store
from connector_runner.auth.answers import DEFAULT_LIFE_S, NO_EXPIRY
from connector_runner.infra.database import Row, Tx

NOTES: Final[Mapping[str, str]] = {
    NO_EXPIRY: f"the token server does not say how long a token lives; {DEFAULT_LIFE_S:.0f} s are assumed:"
    " state auth.token_life_s",
    "scope_narrowed": "the token server granted less than was asked: widen the client's registration, or ask for less",
    "clock_skew": "this machine's clock and the token server's differ; assertions are made by the server's:"
    " synchronise ours",
}


def tokens_of(tx: Tx, workspace_id: str, data_source_id: str) -> list[dict[str, Any]]:
    """One entry for each token of the source, those of single requests left out; no token is among it."""
    return [_shown(row) for row in token_store.of_source(tx, workspace_id, data_source_id)]


def _shown(row: Row) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in ("notes", "clock_offset_s")}
    return {
        **kept,
        "not_granted": list(scopes.missing(row["asked"], row["granted"])),
        "clock_offset_s": round(row["clock_offset_s"], 1),
        "notes": {code: NOTES.get(code, code) for code in row["notes"]},
    }
