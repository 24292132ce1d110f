"""The arithmetic of an incremental cursor over ``_lastUpdated``: pure, and only ever on the server's clock.

A window is one search from its first page to its last, over as many polls as it takes. The checkpoint
``since`` may not pass anything that the window could have missed:

* while pages are still to come it moves only when the server sorts by ``_lastUpdated`` and is seen to do so;
* it never passes the server's time when the window was opened, for what changed later may have stood on a
  page that had been read already;
* a record without a stamp could never be found again by its stamp, so there is no checkpoint at all then,
  every window reads everything, and the content decides what is new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connector_runner.connectors.base import WindowLost
from connector_runner.connectors.fhir.paging import ParsedPage
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.ids import new_id

MAX_PAGES = 200_000
_TRAIL = 32


@dataclass(frozen=True, slots=True)
class Window:
    """A search under way. ``whole`` reads everything; ``floor`` is the checkpoint when it was opened."""

    id: str
    whole: bool
    floor: datetime | None
    next_link: str | None = None
    opened: datetime | None = None
    first_high: datetime | None = None
    high: datetime | None = None
    undated: int = 0
    sorted: bool = False
    pages: int = 0
    fingerprint: str = ""
    trail: tuple[str, ...] = ()

    def lower_bound(self, overlap_s: float) -> datetime | None:
        """From when on to ask, inclusive; None when everything is asked for."""
        if self.whole or self.floor is None:
            return None
        bound = self.floor - timedelta(seconds=overlap_s)
        return bound.replace(microsecond=bound.microsecond // 1000 * 1000)

    def after(self, page: ParsedPage, link_digest: str, date: datetime | None) -> Window:
        """The window once ``page`` is read; ``date`` is the server's time in its answer.

        Raises WindowLost (``paging_loop``) when the pages go round in a circle.
        """
        fingerprint = page.fingerprint
        repeated = fingerprint != "" and fingerprint == self.fingerprint
        if repeated or link_digest in self.trail or self.pages >= MAX_PAGES:
            raise WindowLost("the pages of the server go round in a circle", code="paging_loop")
        in_order = self.sorted if self.pages else page.sorted_by == "_lastUpdated"
        high, undated = self.high, self.undated
        for record in page.records:
            if record.last_updated is None:
                undated += 1
                continue
            in_order = in_order and (high is None or record.last_updated >= high)
            high = record.last_updated if high is None else max(high, record.last_updated)
        opened = self.opened if self.pages else (date or page.server_time)
        return replace(
            self,
            next_link=page.next_link,
            opened=opened,
            first_high=self.first_high if self.pages else high,
            high=high,
            undated=undated,
            sorted=in_order,
            pages=self.pages + 1,
            fingerprint=fingerprint or self.fingerprint,
            trail=(*self.trail, link_digest)[-_TRAIL:],
        )

    @property
    def checkpoint(self) -> datetime | None:
        """From when on the next window has to look, should this one go no further than it has."""
        if self.undated:
            return None
        ended = self.next_link is None and self.pages > 0
        if not ended and (self.whole or not self.sorted):
            return self.floor
        if self.high is None:
            return self.floor
        # Without the server's time, an order that held puts what changed meanwhile behind what was read.
        known = self.opened or (self.high if self.sorted else self.first_high)
        if known is None:
            return self.floor
        reached = min(self.high, known)
        return reached if self.floor is None else max(self.floor, reached)

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the cursor."""
        return {
            "id": self.id,
            "whole": self.whole,
            "floor": instant(self.floor),
            "next": self.next_link,
            "opened": instant(self.opened),
            "first_high": instant(self.first_high),
            "high": instant(self.high),
            "undated": self.undated,
            "sorted": self.sorted,
            "pages": self.pages,
            "fingerprint": self.fingerprint,
            "trail": list(self.trail),
        }


def open_window(since: datetime | None, *, whole: bool) -> Window:
    """A new window from a checkpoint; without one it reads everything."""
    return Window(new_id(), whole or since is None, since)


def resumed(cursor: dict[str, Any]) -> Window | None:
    """The window that a cursor was left in the middle of, if any."""
    kept = cursor.get("window")
    if not isinstance(kept, dict) or not isinstance(kept.get("next"), str):
        return None
    return Window(
        id=kept["id"],
        whole=kept["whole"],
        floor=moment(kept["floor"]),
        next_link=kept["next"],
        opened=moment(kept["opened"]),
        first_high=moment(kept["first_high"]),
        high=moment(kept["high"]),
        undated=kept["undated"],
        sorted=kept["sorted"],
        pages=kept["pages"],
        fingerprint=kept["fingerprint"],
        trail=tuple(kept["trail"]),
    )


def instant(value: datetime | None) -> str | None:
    """A FHIR instant in UTC; ``Z`` needs no escaping in a URL, ``+`` would."""
    if value is None:
        return None
    return (
        value.astimezone(UTC)
        .isoformat(timespec="milliseconds" if value.microsecond % 1000 == 0 else "auto")
        .replace("+00:00", "Z")
    )


def moment(text: object) -> datetime | None:
    """The reverse of ``instant``."""
    return parse_instant(text) if isinstance(text, str) else None
