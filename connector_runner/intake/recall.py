"""What is known of the records of a page, looked up once a transaction."""

from __future__ import annotations

from collections.abc import Iterable

from connector_runner.infra.database import Tx
from connector_runner.intake import landing_store
from connector_runner.intake.dedupe import Known
from connector_runner.kernel.ids import canonical_id, entity_id_of
from connector_runner.world.store import adopted

Name = tuple[str, str]
"""Resource type and id of a record in its source."""


class Recall:
    """The names, derived ids, known versions and adopting entities of records of one source, in one transaction."""

    def __init__(self, tx: Tx, workspace_id: str, source: str) -> None:
        self._tx, self._workspace_id, self._source = tx, workspace_id, source
        self._ids: dict[Name, tuple[str, str]] = {}
        self.known: dict[str, list[Known]] = {}
        self.owners: dict[str, str] = {}

    def learn(self, names: Iterable[Name]) -> None:
        """Look up those that were not looked up before."""
        fresh = {name: self._ids_of(name) for name in names if name not in self._ids}
        if fresh:
            record_ids = [record_id for _, record_id in fresh.values()]
            self.known |= landing_store.known_versions(self._tx, record_ids)
            self.owners |= adopted(self._tx, record_ids)
            self._ids |= fresh

    def ids(self, name: Name) -> tuple[str, str]:
        """Canonical id and record id of a record, which is looked up if it was not before."""
        found = self._ids.get(name)
        if found is None:
            self.learn([name])
            found = self._ids[name]
        return found

    def says_the_same(self, name: Name, raw_hash: bytes) -> bool:
        """Whether these very bytes are the latest that the record came in.

        Then they cannot say anything new, and need not be read to know it. A name that was only guessed does no
        harm: the bytes have been read once, and were found to be this record.
        """
        history = self.known.get(self._ids[name][1])
        return history is not None and max(history, key=lambda known: known.order).raw_hash == raw_hash

    def _ids_of(self, name: Name) -> tuple[str, str]:
        key = canonical_id(self._source, *name)
        return key, entity_id_of(self._workspace_id, key)
