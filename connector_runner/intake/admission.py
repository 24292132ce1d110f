"""Whether a source may be asked now: its hours, and its breaker, which all workers share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from connector_runner.connectors import read_state_store as store
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.windows import WindowSettings
from connector_runner.infra.database import Row, Tx
from connector_runner.infra.http import AnswerLost
from connector_runner.kernel.errors import RateLimited, RunnerError, Unavailable
from connector_runner.resilience.breaker import Breaker
from connector_runner.resilience.calendar import Calendar

WINDOW: Final = "window"
BREAKER: Final = "breaker"
PROBE_S: Final = 60.0
"""Who finds out whether a source works again has so long for it before somebody else tries."""
WAKE_WITHIN_S: Final = 5.0
_REFUSALS: Final = frozenset({"forbidden", "unauthorized"})
_NOT_THE_SOURCE: Final = frozenset({"canary_failed", "database_unavailable"})


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a poll may ask. ``closed`` is why not and ``until`` when it may.

    ``probing``: this poll alone finds out whether the source works again. ``clean``: a success would be no news.
    """

    closed: str | None = None
    until: datetime | None = None
    probing: bool = False
    clean: bool = True


def admit(tx: Tx, source: DataSource, now: datetime) -> Admission:
    """Whether a source may be asked now. Of those who come when its breaker may be tried one is let through."""
    hours = calendar_of(source)
    if not hours.is_open(now):
        return Admission(WINDOW, hours.next_open(now))
    row = store.breaker(tx, source.workspace_id, source.data_source_id)
    if row is None:
        return Admission()
    breaker = _breaker(row)
    if breaker.phase(now.timestamp()) == "shut":
        return Admission(clean=breaker.clean)
    row = store.breaker(tx, source.workspace_id, source.data_source_id, lock=True) or row
    breaker = _breaker(row)
    phase = breaker.phase(now.timestamp())
    if phase == "open":
        return Admission(BREAKER, row["until"])
    if phase == "shut":
        return Admission(clean=breaker.clean)
    _keep(tx, source, replace(breaker, until=now.timestamp() + PROBE_S))
    return Admission(probing=True, clean=False)


def worked(tx: Tx, source: DataSource, admission: Admission, now: datetime) -> None:
    """The source answered. Where this was the probe, the record types that waited for it are due soon."""
    row = store.breaker(tx, source.workspace_id, source.data_source_id, lock=True)
    if row is None:
        return
    before = _breaker(row)
    after = _seen(before, admission, now).succeeded(now.timestamp())
    if after != before:
        _keep(tx, source, after)
    if admission.probing:
        store.wake_waiting(tx, source.workspace_id, source.data_source_id, now, WAKE_WITHIN_S)


def failed(tx: Tx, source: DataSource, admission: Admission, now: datetime) -> None:
    """A request met a fault of the source."""
    row = store.breaker(tx, source.workspace_id, source.data_source_id, lock=True)
    if row is not None:
        limits = source.settings.breaker.limits()
        _keep(tx, source, _seen(_breaker(row), admission, now).failed(now.timestamp(), limits))


def speaks_against(error: RunnerError) -> bool:
    """Whether an error is a fault of the source as a whole: not reached, no answer in time, or 5xx."""
    return isinstance(error, Unavailable | AnswerLost) and error.code not in _NOT_THE_SOURCE


def answered(error: RunnerError) -> bool:
    """Whether an error is an answer of the source: it serves, though not this."""
    return error.code in _REFUSALS or isinstance(error, RateLimited) or error.code.startswith("http_4")


def calendar_of(source: DataSource) -> Calendar:
    """The hours in which a source may be read."""
    return _calendar(source.settings.windows.model_dump_json())


def closed_from(source: DataSource, now: datetime, due_at: datetime) -> datetime:
    """``due_at``, or when the source may be read again if it may not then."""
    hours = calendar_of(source)
    return due_at if hours.always_open else hours.next_open(max(due_at, now))


def _seen(breaker: Breaker, admission: Admission, now: datetime) -> Breaker:
    """The breaker as its probe sees it: half open, though it is held open for all others meanwhile."""
    return replace(breaker, until=now.timestamp()) if admission.probing and breaker.opens else breaker


def _breaker(row: Row) -> Breaker:
    until: datetime | None = row["until"]
    return Breaker(row["failures"], row["recent"], row["opens"], None if until is None else until.timestamp())


def _keep(tx: Tx, source: DataSource, breaker: Breaker) -> None:
    until = None if breaker.until is None else datetime.fromtimestamp(breaker.until, UTC)
    store.set_breaker(
        tx,
        source.workspace_id,
        source.data_source_id,
        failures=breaker.in_a_row,
        recent=breaker.recent,
        opens=breaker.opens,
        until=until,
    )


@lru_cache(maxsize=1000)
def _calendar(settings: str) -> Calendar:
    return WindowSettings.model_validate_json(settings).calendar()


def soon_after(until: datetime, random: float, within_s: float = 2.0) -> datetime:
    """A moment within so many seconds after ``until``, so that those who wait for it do not all come at once."""
    return until + timedelta(seconds=random * within_s)
