"""Run many seeds, or see one again: ``python -m tests.simulation --seeds 20000``, ``--seed 17``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from connector_runner.infra.embedded.ephemeral import EphemeralServices
from connector_runner.infra.migrations import upgrade
from tests.simulation.sabotage import MUTATIONS
from tests.simulation.sql_store import VirtualDatabase
from tests.simulation.world import Failed, on_sql, report, simulate

_CHUNK = 100


def _chunk(seeds: range) -> list[tuple[int, str]]:
    """The seeds that failed, and how."""
    logging.disable(logging.CRITICAL)
    failed = []
    for seed in seeds:
        try:
            simulate(seed)
        except Failed as error:
            failed.append((seed, str(error)))
    return failed


def soak(first: int, count: int) -> int:
    """Many seeds on all cores; how many failed."""
    chunks = [range(at, min(at + _CHUNK, first + count)) for at in range(first, first + count, _CHUNK)]
    failed: list[tuple[int, str]] = []
    began = time.monotonic()
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
        ProcessPoolExecutor(os.cpu_count()) as pool,
    ):
        bar = progress.add_task("seeds", total=count)
        for done in as_completed(futures := {pool.submit(_chunk, chunk): chunk for chunk in chunks}):
            failed += done.result()
            progress.advance(bar, len(futures[done]))
    for _, story in sorted(failed)[:3]:
        print(story)
    names = ", ".join(str(seed) for seed, _ in sorted(failed)[:50])
    print(f"{count} seeds from {first} in {time.monotonic() - began:.0f} s, failed: {names or 'none'}")
    return len(failed)


def again(seed: int, *, sql: bool, without: str | None) -> int:
    """One seed with its whole story, whether it fails or not."""
    sabotage = MUTATIONS[without] if without else None
    try:
        if sql:
            with EphemeralServices(None, None) as services:
                upgrade(services.services.database_url)
                database = VirtualDatabase(services.services.database_url)
                database.prepare()
                run = simulate(seed, sabotage=sabotage, make_store=on_sql(database), small=True)
                database.dispose()
        else:
            run = simulate(seed, sabotage=sabotage)
    except Failed as error:
        print(error)
        return 1
    print(report(run, None))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its story")
    parser.add_argument("--sql", action="store_true", help="with --seed: on the SQL store")
    parser.add_argument("--without", choices=sorted(MUTATIONS), help="with --seed: a safeguard to take away")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    if given.seed is not None:
        return again(given.seed, sql=given.sql, without=given.without)
    return 1 if soak(given.first, given.seeds) else 0


if __name__ == "__main__":
    sys.exit(main())
