"""A record that was pushed and is not there: deleted, or only not to be seen? Deletes need proof here as everywhere.

410 is the source's own word. 404 also comes of a wrong address or a narrowed scope, so another record that is known to
be there is asked for beside it. Where there is none to ask for, a full sync decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connector_runner.connectors.base import DataSource, Source, SourceRecord
from connector_runner.intake import full_sync
from connector_runner.intake.opening import Deps
from connector_runner.intake.push import witness_store
from connector_runner.intake.push.reading import Reads, Target
from connector_runner.intake.sync_store import Scope
from connector_runner.kernel.errors import BadRecord, RunnerError, Unavailable


class Prover:
    """Proves the deletes of one slice."""

    def __init__(self, deps: Deps, source: DataSource, reader: Source, alive: Callable[[], None]) -> None:
        self._deps, self._source, self._reader, self._alive = deps, source, reader, alive

    def prove(self, reads: Reads) -> None:
        """Of the records that the source does not know those that we do are gone, unproved, or not settled at all.

        What stays in ``unknown`` was never here. A source that does not know the witness either has a fault.
        """
        by_type: dict[str, list[Target]] = {}
        for target in reads.unknown:
            by_type.setdefault(target[0], []).append(target)
        for resource_type, targets in by_type.items():
            self._prove_type(reads, resource_type, targets)

    def _prove_type(self, reads: Reads, resource_type: str, targets: Sequence[Target]) -> None:
        records = [SourceRecord(*target, b"", None, deleted=True) for target in targets]
        with self._deps.database.begin(self._source.workspace_id) as tx:
            ours, _ = full_sync.admissible(tx, self._source, resource_type, records)
            if not ours:
                return
            scope = Scope(self._source.workspace_id, self._source.data_source_id, resource_type)
            witness = witness_store.live(tx, scope, [record_id for _, record_id in targets])
        known = {record.record_id for record in ours}
        mine = [target for target in targets if target[1] in known]
        reads.unknown = [target for target in reads.unknown if target not in mine]
        if witness is None:
            reads.unproved += mine
            return
        self._alive()
        fault = self._witness_fails(resource_type, witness)
        if fault is not None:
            reads.fault = reads.fault or fault
            return
        reads.gone |= {(record.resource_type, record.record_id): record for record in ours}

    def _witness_fails(self, resource_type: str, witness: str) -> RunnerError | None:
        try:
            found = self._reader.read(resource_type, witness)
        except BadRecord:
            return None  # it is there, in whatever form
        except RunnerError as error:
            return error
        if found is None or found.deleted:
            return Unavailable(
                "neither the record nor one that is known to be there can be read: nothing counts as deleted",
                code="canary_failed",
                where=resource_type,
            )
        return None
