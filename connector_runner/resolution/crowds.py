"""Which keys bring nobody together because too many have them, and which phones are of too many people.

Both follow the records: whoever is concerned by a key that crosses the line, one way or the other, is compared anew.
So what is found does not depend on who came first, and nothing is held against a phone for what has been corrected
since. A phone of many brings nobody together by itself: it takes a name besides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from connector_runner.infra.database import Tx, id_array
from connector_runner.resolution import crowd_store, key_store
from connector_runner.resolution.blocking import phone_key
from connector_runner.resolution.crowd_store import CAPPED, CROWDED
from connector_runner.resolution.identity import Identity, Kind
from connector_runner.resolution.store import Saved

MANY_NAMES: Final = 3
"""A phone with more given names than this is of many people: an employer's, a shelter's, a clinic's own."""


@dataclass(frozen=True, slots=True)
class Met:
    """``held_by``: key -> who has it, of keys that bring people together. ``crowded``: keys of phones of many."""

    held_by: Mapping[int, Sequence[str]]
    crowded: Set[int]


def phone_token(kind: Kind, number: str) -> int:
    """The key under which a phone is found."""
    return key_store.token(kind, phone_key(number))


def follow(
    tx: Tx, workspace_id: str, kind: Kind, people: Sequence[Identity], saved: Saved, besides: Set[int] = frozenset()
) -> Met:
    """Bring both up to date after what identifies ``people`` was saved; whom their keys and ``besides`` bring together.

    Each key is looked up once, for whom it brings together and for whether too many have it. With who says no day of
    birth, a loose key (see key_store) comes to bring people together or stops doing so.
    """
    added, removed = saved.added, saved.removed | key_store.loose(saved.removed)
    phones = {phone_token(kind, number) for person in people for number in person.phones}
    held_by = key_store.holders(tx, workspace_id, added | removed | phones | besides)
    beyond = {value for value, ids in held_by.items() if ids is None}
    # What few have, and nobody lost, was no key of too many before, and no phone of many people.
    many = {value for value, ids in held_by.items() if ids is None or len(ids) > MANY_NAMES}
    before = crowd_store.known(tx, workspace_id, CAPPED, beyond | removed) if beyond or removed else set()
    crowded = crowd_store.known(tx, workspace_id, CROWDED, many | removed) if many or removed else set()
    risen, fallen = beyond - before, before - beyond
    if risen or fallen:
        crowd_store.replace(tx, workspace_id, CAPPED, more=risen, fewer=fallen)
    capped = (before | risen) - fallen
    numbers = phones | removed & crowded
    asked = numbers & many - capped
    now = numbers & capped | (crowd_store.of_many(tx, workspace_id, asked, MANY_NAMES) if asked else set())
    more, fewer = now - crowded, (crowded & numbers) - now
    if more or fewer:
        crowd_store.replace(tx, workspace_id, CROWDED, more=more, fewer=fewer)
    compared = id_array(person.record for person in people)
    if more:
        # What a phone says of strangers is never enough to link or ask; so they need not be compared without it.
        crowd_store.request_holders(tx, workspace_id, kind, more, compared, weighed=True)
    again = fewer | fallen & held_by.keys()
    if again:
        crowd_store.request_holders(tx, workspace_id, kind, again, compared)
    if risen:
        crowd_store.request_parted(tx, workspace_id, kind, risen, compared)
    crowded = (crowded | more) - fewer
    silent = capped | crowded
    return Met({value: ids for value, ids in held_by.items() if ids and value not in silent}, crowded)


def among(kind: Kind, people: Iterable[Identity], crowded: Set[int]) -> set[str]:
    """The phones of these whose keys are ``crowded``."""
    return {number for person in people for number in person.phones if phone_token(kind, number) in crowded}


def crowded_numbers(tx: Tx, workspace_id: str, kind: Kind, people: Collection[Identity]) -> set[str]:
    """The phones of these that are of too many people."""
    tokens = {phone_token(kind, number) for person in people for number in person.phones}
    return among(kind, people, crowd_store.known(tx, workspace_id, CROWDED, tokens)) if tokens else set()
