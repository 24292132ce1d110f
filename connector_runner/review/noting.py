"""Who has to be judged, noted in the transaction that makes it so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from connector_runner.infra.database import Tx, after_commit
from connector_runner.review import noting_store, pending_store
from connector_runner.world.changes import EntityChange


@dataclass(frozen=True, slots=True)
class Subscriber:
    """World's EntityChanged: has what was said in doubt judged, and what a change of anything else may have made so.

    ``hint`` is called for the workspace once that is committed.
    """

    hint: Callable[[str], None]

    def __call__(self, tx: Tx, workspace_id: str, changes: Sequence[EntityChange]) -> None:
        """Note whom a run of review has to look at, of entities that changed.

        Those of whom something was said in doubt, and those that are gone; those about whom people are asked, as what
        they are asked may be said no more; and where another who is the same has changed, of whom anything is in doubt.
        """
        wanted = {change.entity_id for change in changes if change.doubtful or change.gone}
        others = [change.entity_id for change in changes if not change.created and not change.gone]
        if others:
            wanted |= noting_store.concerned(tx, workspace_id, others)
        self._note(tx, workspace_id, wanted)

    def resolved(self, tx: Tx, workspace_id: str, compared: Sequence[str], regrouped: Sequence[str]) -> None:
        """World's EntitiesResolved: who is one with others than before is held against what these say."""
        if regrouped:
            self._note(tx, workspace_id, noting_store.doubted(tx, workspace_id, regrouped))

    def _note(self, tx: Tx, workspace_id: str, wanted: Iterable[str]) -> None:
        entities = sorted(set(wanted))
        if entities:
            pending_store.request(tx, workspace_id, entities)
            after_commit(tx, lambda: self.hint(workspace_id))
