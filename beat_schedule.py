"""What beat sends besides one entry for each polled resource: the task and its period in seconds.

An entry only hints, and claims its row of the table ``schedule`` first. Workers look at the same rows, so
what a silent beat leaves overdue runs all the same.
"""

from connector_runner.infra import queue

ENTRIES: dict[str, tuple[str, float]] = {
    "sweep": (queue.SWEEP, 2.0),
    "seal_reads": (queue.SEAL_READS, 1.0),
    # Looks which logs were not anchored today.
    "anchor_audit": (queue.ANCHOR_AUDIT, 600.0),
    "refresh_config": (queue.REFRESH_CONFIG, 60.0),
    # Looks whose turn it is; each sink's own is every five minutes.
    "reconcile": (queue.RECONCILE, 30.0),
    # As above: each source is probed once a day.
    "probe": (queue.PROBE, 60.0),
    # Finds what nobody noted for the judge, and lets go what nobody answered.
    "review_tend": (queue.REVIEW_TEND, 900.0),
    # Counts only where a population changed by a tenth.
    "recount": (queue.RECOUNT, 3600.0),
}
