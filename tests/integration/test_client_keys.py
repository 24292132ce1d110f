"""Keys of a workspace: what may be taken out of use, and when."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from connector_runner.auth import client_keys
from connector_runner.infra.database import Database, Row
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured

CACHE = timedelta(hours=1)


class Keys:
    """The keys of one workspace, as time goes by."""

    def __init__(self, database: Database, workspace: str) -> None:
        self.database, self.workspace, self.sealer, self.now = database, workspace, Sealer(b"k" * 32), utc_now()

    def add(self) -> str:
        with self.database.begin(self.workspace) as tx:
            made = client_keys.add(tx, self.workspace, self.sealer, actor="test", now=self.now, cache_life=CACHE)
        return str(made["kid"])

    def rotate(self) -> str:
        with self.database.begin(self.workspace) as tx:
            made = client_keys.rotate(
                tx, self.workspace, self.sealer, actor="test", now=self.now, cache_life=CACHE, algorithm="ES384"
            )
        return str(made["kid"])

    def retire(self, kid: str, *, force: bool = False) -> Row:
        with self.database.begin(self.workspace) as tx:
            return client_keys.retire(
                tx, self.workspace, kid, actor="test", now=self.now, cache_life=CACHE, force=force
            )

    def refuses(self, kid: str) -> bool:
        try:
            self.retire(kid)
        except Misconfigured as error:
            return error.code == "last_key"
        return False

    def signing(self, at: datetime) -> str:
        with self.database.begin(self.workspace) as tx:
            return client_keys.signing_key(tx, self.workspace, self.sealer, now=at).kid


@pytest.fixture
def keys(database: Database, workspace: str) -> Keys:
    return Keys(database, workspace)


def test_the_one_that_takes_over_cannot_be_retired(keys: Keys) -> None:
    """The old key's end is fixed already: without its successor nothing would sign an hour later."""
    old, new = keys.add(), keys.rotate()
    assert keys.refuses(new)
    assert keys.refuses(old)
    newest = keys.rotate()
    assert not keys.refuses(new)
    for hours in (0, 1.5, 3):
        assert keys.signing(keys.now + timedelta(hours=hours)) == (old if hours == 0 else newest)


def test_once_the_new_one_signs_the_old_one_can_go_at_once(keys: Keys) -> None:
    old, new = keys.add(), keys.rotate()
    keys.now += CACHE - timedelta(seconds=1)
    assert keys.refuses(old)
    other = keys.add()
    keys.now += timedelta(seconds=2)
    assert not keys.refuses(old)
    assert not keys.refuses(other)
    assert keys.refuses(new)
    assert keys.retire(new, force=True)["signs_until"] == keys.now


def test_there_is_a_key_that_signs_at_every_moment_of_many_rotations(keys: Keys) -> None:
    keys.add()
    for minutes in (1, 20, 70, 5, 130):
        keys.now += timedelta(minutes=minutes)
        keys.rotate()
        for later in range(0, 400, 7):
            assert keys.signing(keys.now + timedelta(minutes=later))
