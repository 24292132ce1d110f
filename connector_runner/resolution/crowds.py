"""Which keys bring nobody together because too many have them, and which phones are of too many people.

Both follow the records: whoever is concerned by a key that crosses the line, one way or the other, is compared anew.
So what is found does not depend on who came first, and nothing is held against a phone for what has been corrected
since. A phone of many brings nobody together by itself: it takes a name besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from connector_runner.infra.database import Tx, id_array
from connector_runner.resolution import crowd_store, store
from connector_runner.resolution.blocking import phone_key
from connector_runner.resolution.crowd_store import CAPPED, CROWDED
from connector_runner.resolution.identity import Identity, Kind

MANY_NAMES: Final = 3
"""A phone with more given names than this is of many people: an employer's, a shelter's, a clinic's own."""


def phone_token(kind: Kind, number: str) -> int:
    """The key under which a phone is found."""
    return store.token(kind, phone_key(number))


def follow(
    tx: Tx, workspace_id: str, kind: Kind, people: Sequence[Identity], added: set[int], removed: set[int]
) -> None:
    """Bring both up to date after what identifies ``people`` was saved: keys that they got, and that were lost."""
    phones = {phone_token(kind, number) for person in people for number in person.phones}
    before = crowd_store.known(tx, workspace_id, CAPPED, added | removed | phones)
    asked = (added - before) | (removed & before)
    beyond = crowd_store.beyond_cap(tx, workspace_id, asked) if asked else set()
    risen, fallen = beyond - before, (removed & before) - beyond
    capped = (before | risen) - fallen
    if risen or fallen:
        crowd_store.replace(tx, workspace_id, CAPPED, more=risen, fewer=fallen)
    compared = id_array(person.record for person in people)
    heard = set(fallen)
    if phones or removed:
        crowded = crowd_store.known(tx, workspace_id, CROWDED, phones | removed)
        looked_at = phones | (removed & crowded)
        asked = looked_at - capped
        now = (looked_at & capped) | (crowd_store.of_many(tx, workspace_id, asked, MANY_NAMES) if asked else set())
        more, fewer = now - crowded, (crowded & looked_at) - now
        if more or fewer:
            crowd_store.replace(tx, workspace_id, CROWDED, more=more, fewer=fewer)
        if more:
            # What a phone says of strangers is never enough to link or ask; so they need not be compared without it.
            crowd_store.request_holders(tx, workspace_id, kind, more, compared, weighed=True)
        heard |= fewer
    if heard:
        crowd_store.request_holders(tx, workspace_id, kind, heard, compared)
    if risen:
        crowd_store.request_parted(tx, workspace_id, kind, risen, compared)


def crowded_numbers(tx: Tx, workspace_id: str, kind: Kind, people: Iterable[Identity]) -> set[str]:
    """The phones of these that are of too many people."""
    numbers = {number: phone_token(kind, number) for person in people for number in person.phones}
    known = crowd_store.known(tx, workspace_id, CROWDED, numbers.values()) if numbers else set()
    return {number for number, value in numbers.items() if value in known}
