"""The arithmetic of an incremental cursor over ``_lastUpdated``: pure, and only ever on the server's clock.

A window is one search from its first page to its last, over as many polls as it takes; or several, where a
server wants one for each patient or gives only so many rows. The checkpoint ``since`` may not pass anything
that the window could have missed:

* while pages are still to come it moves only when the server sorts by ``_lastUpdated`` and is seen to do so, and
  only by records that have not changed since the window was opened, as others stand where they stood before;
* it never passes the server's time when the window was opened, for what changed later may have stood on a
  page that had been read already; nor ours, where the server does not say its own and a stamp may be of any time;
* a record without a stamp could never be found again by its stamp, so there is no checkpoint at all then,
  every window reads everything, and the content decides what is new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from connector_runner.connectors.base import WindowLost
from connector_runner.connectors.fhir.paging import ParsedPage
from connector_runner.connectors.fhir.profile import Strategy
from connector_runner.connectors.fhir.walk import LAST_UPDATED, Span, Walk, walk_of
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.ids import new_id

MAX_PAGES = 200_000
"""Of one search."""
_TRAIL = 64
_SUMS = 1 << 48
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_ALWAYS = Span()
_FIRST = Walk()
_BY_STAMP = frozenset({"last_updated", "whole"})
"""Strategies that reach every record, so that what they read may move the checkpoint."""


@dataclass(frozen=True, slots=True)
class Window:
    """A reading under way: one search, or several one after the other (``walk`` is the one that it stands in).

    ``whole`` reads everything; ``floor`` is the checkpoint when it was opened; ``span`` the part of time that each
    search is about. ``high`` is the latest stamp, ``steady`` the latest of what had not changed since ``opened``, the
    server's time then. ``waiting``: the search of ``walk`` has not been opened. ``pages`` are all that were read,
    ``search_pages`` and ``rows`` those of this search. ``partial``: the server said that it left something out.
    ``seen`` stands for all rows of this search, ``before`` for those of the pass before it, ``passes`` counts them.
    """

    id: str
    whole: bool
    floor: datetime | None
    next_link: str | None = None
    opened: datetime | None = None
    first_high: datetime | None = None
    high: datetime | None = None
    steady: datetime | None = None
    undated: int = 0
    sorted: bool = False
    pages: int = 0
    fingerprint: str = ""
    trail: tuple[str, ...] = ()
    strategy: Strategy = "last_updated"
    walk: Walk = _FIRST
    span: Span = _ALWAYS
    several: bool = False
    waiting: bool = False
    search_pages: int = 0
    rows: int = 0
    partial: bool = False
    seen: int = 0
    before: int | None = None
    passes: int = 0

    def lower_bound(self, overlap_s: float) -> datetime | None:
        """From when on to ask, inclusive; None when everything is asked for."""
        return None if self.whole else lower_bound(self.floor, overlap_s)

    @property
    def over(self) -> bool:
        """Whether everything that the window asks for has been read."""
        return self.pages > 0 and self.next_link is None and not self.waiting

    def after(self, page: ParsedPage, link_digest: str, date: datetime | None, now: datetime | None = None) -> Window:
        """The window once ``page`` is read; ``date`` is the server's time in its answer, ``now`` ours.

        Raises WindowLost (``paging_loop``) when the pages go round in a circle.
        """
        fingerprint = page.fingerprint
        repeated = fingerprint != "" and fingerprint == self.fingerprint
        # A single record may come twice while pages shift.
        marks = {link_digest, fingerprint} if len(page.records) > 1 else {link_digest}
        if repeated or marks & {*self.trail} or self.search_pages >= MAX_PAGES:
            raise WindowLost("the pages of the server go round in a circle", code="paging_loop")
        in_order = self.sorted if self.pages else page.sorted_by == LAST_UPDATED and not self.several
        opened = self.opened if self.pages else (date or page.server_time or self.opened)
        high, steady, undated = self.high, self.steady, self.undated
        for record in page.records:
            stamp = record.last_updated
            if stamp is None:
                undated += 1
                continue
            high = stamp if high is None else max(high, stamp)
            # What changed since the window was opened stands where it stood before.
            if stamp <= opened if opened is not None else self.pages == 0:
                in_order = in_order and (steady is None or stamp >= steady)
                steady = stamp if steady is None else max(steady, stamp)
        return replace(
            self,
            next_link=page.next_link,
            opened=opened,
            first_high=self.first_high if self.pages else _reached(page, now),
            high=high,
            steady=steady,
            undated=undated,
            sorted=in_order,
            pages=self.pages + 1,
            fingerprint=fingerprint or self.fingerprint,
            trail=(*self.trail, *sorted(marks))[-_TRAIL:],
            waiting=False,
            search_pages=self.search_pages + 1,
            rows=self.rows + len(page.records),
            seen=(self.seen + _sum_of(page)) % _SUMS,
        )

    def turned(self, walk: Walk) -> Window:
        """The window when it goes on with another search. From here on no order holds over its pages."""
        return replace(self._anew(), walk=walk, several=True, sorted=False, seen=0, before=None, passes=0)

    def stepped(self, walk: Walk) -> Window:
        """The window when it reads on by stamp, from the first of ``walk``; the order of its rows holds on."""
        return replace(self._anew(), walk=walk, steady=walk.spans[0].start)

    def left(self, walk: Walk) -> Window:
        """The window when what is left of a search stays unread."""
        return replace(self, walk=walk, several=True, sorted=False, partial=True)

    def repeated(self) -> Window:
        """The window when the search that it stands in begins again, as its pages may have shifted."""
        return replace(self._anew(), several=True, sorted=False, before=self.seen, seen=0, passes=self.passes + 1)

    def _anew(self) -> Window:
        return replace(self, next_link=None, fingerprint="", trail=(), waiting=True, search_pages=0, rows=0)

    @property
    def checkpoint(self) -> datetime | None:
        """From when on the next window has to look, should this one go no further than it has."""
        if self.strategy not in _BY_STAMP:
            return self.floor
        if self.undated:
            return None
        # Without the server's time, only what stood on the first page is known to have been so when it was opened.
        known = self.opened or self.first_high
        reached = min(self.high, known) if self.high is not None and known is not None else None
        if not self.over:
            reached = self.steady if self.sorted and not self.whole else None
        if reached is None:
            return self.floor
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
            "steady": instant(self.steady),
            "undated": self.undated,
            "sorted": self.sorted,
            "pages": self.pages,
            "fingerprint": self.fingerprint,
            "trail": list(self.trail),
            "strategy": self.strategy,
            "walk": self.walk.to_json(),
            "span": [instant(self.span.start), instant(self.span.end)],
            "several": self.several,
            "waiting": self.waiting,
            "search_pages": self.search_pages,
            "rows": self.rows,
            "partial": self.partial,
            "seen": self.seen,
            "before": self.before,
            "passes": self.passes,
        }


def open_window(
    since: datetime | None, *, whole: bool, strategy: Strategy = "last_updated", span: Span | None = None
) -> Window:
    """A new window from a checkpoint; by the server's stamp it reads everything without one."""
    everything = whole or (since is None and strategy == "last_updated")
    return Window(new_id(), everything, since, strategy=strategy, span=span or _ALWAYS)


def lower_bound(since: datetime | None, overlap_s: float) -> datetime | None:
    """From when on to ask so that nothing before the checkpoint is missed, cut to the millisecond."""
    overlap = timedelta(seconds=overlap_s)
    if since is None or since - _FIRST_INSTANT < overlap:
        return None
    bound = since - overlap
    return bound.replace(microsecond=bound.microsecond // 1000 * 1000)


def resumed(cursor: dict[str, Any]) -> Window | None:
    """The window that a cursor was left in the middle of, if any; one that an earlier release left as well."""
    kept = cursor.get("window")
    if not isinstance(kept, dict) or not (isinstance(kept.get("next"), str) or kept.get("waiting")):
        return None
    start, end = kept.get("span", (None, None))
    return Window(
        id=kept["id"],
        whole=kept["whole"],
        floor=moment(kept["floor"]),
        next_link=kept["next"],
        opened=moment(kept["opened"]),
        first_high=moment(kept["first_high"]),
        high=moment(kept["high"]),
        steady=moment(kept.get("steady")),
        undated=kept["undated"],
        sorted=kept["sorted"],
        pages=kept["pages"],
        fingerprint=kept["fingerprint"],
        trail=tuple(kept["trail"]),
        strategy=kept.get("strategy", "last_updated"),
        walk=walk_of(kept["walk"]) if "walk" in kept else _FIRST,
        span=Span(moment(start), moment(end)),
        several=kept.get("several", False),
        waiting=kept.get("waiting", False),
        search_pages=kept["search_pages"] if "search_pages" in kept else kept["pages"],
        rows=kept.get("rows", 0),
        partial=kept.get("partial", False),
        seen=kept.get("seen", 0),
        before=kept.get("before"),
        passes=kept.get("passes", 0),
    )


def _reached(page: ParsedPage, now: datetime | None) -> datetime | None:
    """The latest stamp of a page that is not of the future; ``now`` is our clock."""
    stamps = [record.last_updated for record in page.records if record.last_updated is not None]
    past = [stamp for stamp in stamps if now is None or stamp <= now]
    return max(past, default=now if stamps else None)


def _sum_of(page: ParsedPage) -> int:
    """A sum over the rows of a page that does not depend on how they are spread over pages."""
    total = 0
    for record in page.records:
        stamped = record.version is not None or record.last_updated is not None
        name = f"{record.record_id} {record.version} {record.last_updated}".encode("utf-8", "surrogatepass")
        digest = blake2b(name if stamped else name + record.raw, digest_size=6).digest()
        total += int.from_bytes(digest, "big")
    return total


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


def link_digest(link: str | None) -> str:
    """Stands for a link in the trail of a window."""
    return blake2b((link or "").encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
