"""Where a window stands among the searches that it is made of. Pure.

One search is enough where a server gives all that changed; others want a search for each patient, for each set of
mandatory parameters, or for each part of a range of time. The walk goes patient by patient, set by set, part by
part, and is kept in the cursor, so that it goes on anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connector_runner.connectors.fhir.profile import Parameters
from connector_runner.kernel.clock import parse_instant

LAST_UPDATED: Final = "_lastUpdated"
_BEGINNING: Final = datetime(1900, 1, 1, tzinfo=UTC)
_BEYOND: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of time from ``start`` (inclusive) up to ``end`` (exclusive); None is open."""

    start: datetime | None = None
    end: datetime | None = None

    def halves(self, now: datetime, least: timedelta) -> tuple[Span, Span] | None:
        """The span in two; None when its parts would be shorter than ``least``."""
        start, end = self.start or _BEGINNING, self.end or max(now, self.start or now) + _BEYOND
        middle = start + (end - start) // 2 // least * least
        if middle <= start or middle >= end:
            return None
        return Span(self.start, middle), Span(middle, self.end)


@dataclass(frozen=True, slots=True)
class Walk:
    """One search of a window, and what else is to be searched with the same patient and set.

    ``spans`` begins with the one being searched. ``narrowed``: a search reached its cap and was parted.
    """

    spans: tuple[Span, ...] = (Span(),)
    set: int = 0
    patient: str | None = None
    narrowed: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the cursor."""
        return {
            "spans": [[_text(span.start), _text(span.end)] for span in self.spans],
            "set": self.set,
            "patient": self.patient,
            "narrowed": self.narrowed,
        }


def walk_of(kept: dict[str, Any]) -> Walk:
    """The reverse of ``Walk.to_json``."""
    spans = tuple(Span(_moment(start), _moment(end)) for start, end in kept["spans"])
    return Walk(spans, kept["set"], kept["patient"], kept["narrowed"])


@dataclass(frozen=True, slots=True)
class Route:
    """All searches of a window: ``sets`` of parameters, each over ``span`` of the parameter ``by``.

    ``parameter`` and ``next_patient`` are those of a roster. ``least`` is the shortest span that can be asked for;
    ``days``: spans are asked for by the day. ``whole``: together the searches give every record of the type.
    """

    whole: bool
    sets: tuple[Parameters, ...] = ((),)
    span: Span = Span()
    by: str | None = None
    days: bool = False
    parameter: str | None = None
    next_patient: Callable[[str | None], str | None] | None = None
    sort: bool = False

    @property
    def several(self) -> bool:
        """Whether there is more than one search from the start."""
        return len(self.sets) > 1 or self.next_patient is not None

    @property
    def least(self) -> timedelta:
        """The shortest span that is worth a search."""
        return timedelta(days=1) if self.days else timedelta(milliseconds=1)

    def begin(self) -> Walk | None:
        """The first search; None when there is none, as of a roster without patients."""
        if self.next_patient is None:
            return Walk((self.span,))
        patient = self.next_patient(None)
        return None if patient is None else Walk((self.span,), 0, patient)

    def after(self, walk: Walk) -> Walk | None:
        """The search that follows a finished one."""
        if len(walk.spans) > 1:
            return replace(walk, spans=walk.spans[1:])
        if walk.set + 1 < len(self.sets):
            return replace(walk, spans=(self.span,), set=walk.set + 1)
        if self.next_patient is None or (patient := self.next_patient(walk.patient)) is None:
            return None
        return Walk((self.span,), 0, patient, walk.narrowed)

    def narrowed(self, walk: Walk, now: datetime, least: timedelta = timedelta(0)) -> Walk | None:
        """The first of two searches instead of one; None when nothing narrows it to no less than ``least``."""
        halves = walk.spans[0].halves(now, max(self.least, least)) if self.by is not None else None
        return None if halves is None else replace(walk, spans=(*halves, *walk.spans[1:]), narrowed=True)

    def proves(self, walk: Walk) -> bool:
        """Whether what the window does not hold may be gone: parts by a clinical date leave out what has none."""
        return self.whole and not (walk.narrowed and self.by != LAST_UPDATED)

    def parameters(self, walk: Walk) -> list[tuple[str, str]]:
        """What to search with."""
        span, params = walk.spans[0], list(self.sets[min(walk.set, len(self.sets) - 1)])
        if self.parameter is not None and walk.patient is not None:
            params.append((self.parameter, walk.patient))
        if self.by is not None:
            params += [
                (self.by, f"{prefix}{self._bound(bound)}")
                for prefix, bound in (("ge", span.start), ("lt", span.end))
                if bound is not None
            ]
        return params

    def _bound(self, bound: datetime) -> str:
        return bound.date().isoformat() if self.days else _text(bound) or ""


def _text(value: datetime | None) -> str | None:
    """A FHIR instant in UTC; ``Z`` needs no escaping in a URL, ``+`` would."""
    if value is None:
        return None
    precision = "milliseconds" if value.microsecond % 1000 == 0 else "auto"
    return value.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _moment(text: object) -> datetime | None:
    return parse_instant(text) if isinstance(text, str) else None
