"""Read the records that deliveries name, several at once, and stop when the source itself fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from connector_runner.connectors.base import Source, SourceRecord
from connector_runner.kernel.errors import BadRecord, Forbidden, RunnerError

Target = tuple[str, str]
"""Type and id of a record in its source."""
_ALIVE_EVERY_S: Final = 10.0


@dataclass(slots=True)
class Reads:
    """What became of each record that was asked for. ``fault``: why the source could not be read on."""

    found: dict[Target, SourceRecord] = field(default_factory=dict)
    gone: dict[Target, SourceRecord] = field(default_factory=dict)
    """The source says that it was deleted."""
    unknown: list[Target] = field(default_factory=list)
    """The source knows none of that id: now, or any more."""
    unproved: list[Target] = field(default_factory=list)
    """Those of the unknown that we know of, and of which nothing proves that they were deleted."""
    refused: dict[Target, RunnerError] = field(default_factory=dict)
    """This record only: it cannot be used, or may not be read."""
    fault: RunnerError | None = None

    def settled(self, target: Target) -> bool:
        """Whether the source answered about a record."""
        return any(target in where for where in (self.found, self.gone, self.unknown, self.unproved))


def read_all(source: Source, targets: Sequence[Target], *, at_once: int, alive: Callable[[], None]) -> Reads:
    """Read each of ``targets``; ``alive`` is called every few seconds, and may raise to stop.

    What the source says about a record is in the answer; a fault of the source ends the reading of others.
    """
    reads = Reads()
    if len(targets) == 1:
        _take(reads, targets[0], lambda: source.read(*targets[0]))
        return reads
    waiting = list(reversed(targets))
    with ThreadPoolExecutor(min(at_once, len(targets) or 1), thread_name_prefix="push-read") as threads:
        running: dict[Future[SourceRecord | None], Target] = {}
        said_at = time.monotonic()
        while waiting or running:
            while waiting and len(running) < at_once and reads.fault is None:
                target = waiting.pop()
                running[threads.submit(source.read, *target)] = target
            if not running:
                break
            done, _ = wait(running, timeout=_ALIVE_EVERY_S, return_when=FIRST_COMPLETED)
            for future in done:
                _take(reads, running.pop(future), future.result)
            if time.monotonic() - said_at >= _ALIVE_EVERY_S:
                said_at = time.monotonic()
                alive()
    return reads


def _take(reads: Reads, target: Target, answer: Callable[[], SourceRecord | None]) -> None:
    try:
        record = answer()
    except (BadRecord, Forbidden) as error:
        reads.refused[target] = error
    except RunnerError as error:
        reads.fault = error
    else:
        if record is None:
            reads.unknown.append(target)
        elif record.deleted:
            reads.gone[target] = record
        else:
            reads.found[target] = record
