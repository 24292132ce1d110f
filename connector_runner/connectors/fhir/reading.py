"""Reads one record type of a FHIR server from a cursor: chooses a strategy, opens its searches, follows their pages.

What a server is seen not to do (a parameter refused, a filter ignored) is remembered in the cursor, and the next
strategy of its profile is used instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors.base import Page, WindowLost
from connector_runner.connectors.fhir import spoilt, stepping
from connector_runner.connectors.fhir.client import outcome_codes, read_failure
from connector_runner.connectors.fhir.means import Means, able
from connector_runner.connectors.fhir.outcomes import PASSING, failures, warnings
from connector_runner.connectors.fhir.paging import ParsedPage, newest, parse_page
from connector_runner.connectors.fhir.profile import ChangedFeed, Strategy
from connector_runner.connectors.fhir.strategies import date_window, last_updated, roster, whole
from connector_runner.connectors.fhir.strategies.choosing import candidates, standing
from connector_runner.connectors.fhir.turns import Expired, Narrow, Spoilt, TurnedBack
from connector_runner.connectors.fhir.walk import LAST_UPDATED, Route, Walk
from connector_runner.connectors.fhir.window import (
    Window,
    instant,
    link_digest,
    lower_bound,
    moment,
    open_window,
    resumed,
)
from connector_runner.connectors.rate_headers import http_date
from connector_runner.infra.http import Answer
from connector_runner.kernel.errors import Misconfigured, Unavailable

REFUSES_PARAMETER: Final = frozenset({400, 405, 422, 501})
_LINK_EXPIRED: Final = frozenset({400, 404, 410})
_MOST_PASSES: Final = 6
_MOST_RESTARTS: Final = 3
_SORT: Final = "_sort"
_PRIMING: Final = "priming"


class Reading:
    """One run over the pages of one record type. ``kept`` is what the cursor holds besides a window."""

    def __init__(self, means: Means, resource_type: str, cursor: dict[str, Any], *, full: bool) -> None:
        self._means, self._client, self._profile = means, means.client, means.profile
        self._type = resource_type
        # Everything has to have been read once; that is still to come, too, where it was cut off.
        self._priming = not cursor or bool(cursor.get(_PRIMING))
        self._full = full or self._priming
        self._measured = means.measured.get(resource_type)
        self._kept = {key: value for key, value in cursor.items() if key != "window"}
        if self._priming:
            self._kept[_PRIMING] = True
        self._refused: tuple[str, ...] = tuple(self._kept.get("refused", ()))
        self._demoted: dict[str, str] = dict(self._kept.get("demoted") or {})
        if LAST_UPDATED in self._refused:
            self._demoted.setdefault("last_updated", "")
        self._demoted = standing(self._measured, self._demoted)
        if "last_updated" not in self._demoted:
            self._refused = tuple(name for name in self._refused if name != LAST_UPDATED)
        self._window = resumed(cursor)
        self._ignored: tuple[str, ...] = ()

    def pages(self) -> Iterator[Page]:
        """Pages of a window, as ``Source.pages`` promises."""
        window, answer = self._window, None
        if window is not None and self._full and not window.whole:
            window = None
        if window is not None and window.next_link is not None:
            answer = self._client.request("GET", window.next_link)
            if self._expired(answer):
                self._full, answer = self._full or window.whole, None
                window = window.repeated() if window.several else None
        if window is not None:
            yield from self._walk(window, self._route(window.strategy, window), answer)
            return
        yield from self._begin()

    # Opening a window

    def _begin(self) -> Iterator[Page]:
        """Open a window by the first strategy that the server takes, and read it."""
        names = candidates(
            self._profile,
            self._type,
            self._measured,
            able=able(self._means, self._type),
            full=self._full,
            demoted=self._demoted,
        )
        if self._full:
            yield from self._prime()
        tried: list[list[tuple[str, str]]] = []
        answer: Answer | None = None
        for name in names:
            if (feed := self._means.feeds.get(name)) is not None:
                yield from self._fed(name, feed)
                return
            route = self._route(name, None)
            walk = route.begin()
            window = self._opened(name, route, walk or Walk())
            if walk is None:
                yield self._nothing(window)
                return
            if (wanted := route.parameters(walk)) in tried:
                continue
            answer = self._search(route, walk)
            if answer.status not in REFUSES_PARAMETER or self._capped(answer):
                yield from self._walk(window, route, answer)
                return
            tried.append(wanted)
            self._demote(name)
        if answer is not None:
            raise read_failure(answer, f"{self._type} page 1", self._means.clock())

    def _opened(self, name: Strategy, route: Route, walk: Walk) -> Window:
        since = moment(self._kept.get("since"))
        window = open_window(since, whole=route.whole, strategy=name, span=route.span)
        # Where pages shift, what came in order so far is no proof that nothing stands between.
        return replace(window, walk=walk, several=route.several or self._profile.lossy_pages)

    def _route(self, name: Strategy, window: Window | None) -> Route:
        """The searches of a strategy; those of a window under way are about the same part of time as at first."""
        profile, kind = self._profile, self._type
        if name == "roster" and self._means.roster is not None:
            made = roster.route(profile, kind, self._means.roster)
        elif name == "date_window":
            made = date_window.route(profile, kind, self._means.clock(), full=self._full)
        elif name == "last_updated":
            since = None if self._full else moment(self._kept.get("since"))
            made = last_updated.route(profile, kind, lower_bound(since, self._client.settings.overlap_s))
        else:
            made = whole.route(profile, kind, filters="last_updated" not in self._demoted and self._filters())
        return made if window is None else replace(made, whole=window.whole, span=window.span)

    def _filters(self) -> bool:
        """Whether the server is expected to heed ``_lastUpdated``."""
        if self._measured is not None and "last_updated" in self._measured.verdicts:
            return self._measured.verdicts["last_updated"] == "honoured"
        return "last_updated" in self._profile.order(self._type)

    def _search(self, route: Route, walk: Walk) -> Answer:
        """The first answer of a search. What is optional is left out from then on when the server refuses it."""
        wanted = [("_count", str(self._client.settings.page_size)), *route.parameters(walk)]
        if not self._sorts(route):
            return self._client.request("GET", self._type, params=wanted)
        answer = self._client.request("GET", self._type, params=[*wanted, (_SORT, LAST_UPDATED)])
        if answer.status not in REFUSES_PARAMETER or self._capped(answer):
            return answer
        self._refused = (*self._refused, _SORT)
        return self._client.request("GET", self._type, params=wanted)

    def _sorts(self, route: Route) -> bool:
        return route.sort and _SORT not in self._refused and self._verdict("sort") not in ("ignored", "refused")

    def _verdict(self, capability: str) -> str | None:
        return self._measured.verdicts.get(capability) if self._measured is not None else None

    def _demote(self, name: Strategy) -> None:
        self._demoted[name] = instant(self._means.clock()) or ""
        if name == "last_updated" and LAST_UPDATED not in self._refused:
            self._refused = (*self._refused, LAST_UPDATED)

    # Feeds

    def _fed(self, name: Strategy, feed: ChangedFeed) -> Iterator[Page]:
        known = dict(self._kept.get(name) or {})
        for page in feed.changed(self._type, known | {"full": True} if self._full else known):
            self._kept[name] = page.cursor
            yield replace(page, cursor=self._cursor(), strategy=name)

    def _prime(self) -> Iterator[Page]:
        """Begin with the feed of changes before everything is read, so that none in between is missed."""
        feed = self._means.feeds.get("changed_feed")
        known = feed is None or "changed_feed" in self._kept
        if feed is not None and not known and "changed_feed" in self._profile.order(self._type):
            self._kept[_PRIMING] = True
            for page in self._fed("changed_feed", feed):
                yield replace(page, last=False, whole=False)

    # Walking through a window

    def _walk(self, window: Window, route: Route, answer: Answer | None) -> Iterator[Page]:
        restarts = 0
        while True:
            try:
                page, window = self._read(window, route, answer or self._search(route, window.walk))
            except Narrow:
                window = self._narrowed(window, route)
                answer = None
                continue
            except Spoilt as found:
                window, answer = window.turned(found.walk), None
                # It may take many: each is kept, and shows that somebody is at it.
                yield self._nothing(window, last=False)
                continue
            except TurnedBack:
                self._kept.pop("since", None)
                route = self._route("last_updated", None)
                window, answer = self._opened("last_updated", route, route.begin() or Walk()), None
                continue
            except Expired:
                restarts += 1
                if not window.several or restarts > _MOST_RESTARTS:
                    raise WindowLost("the link to the next page is not valid any more", code="link_expired") from None
                window, answer = window.repeated(), None
                continue
            window = self._onward(window, route, page)
            yield self._page(page, window, route)
            if window.over:
                return
            answer = None
            if window.next_link is not None:
                answer = self._client.request("GET", window.next_link)

    def _read(self, window: Window, route: Route, answer: Answer) -> tuple[ParsedPage, Window]:
        """The page of an answer. Raises Narrow, Expired, and what the answer stands for."""
        place = f"{self._type} page {window.pages + 1}"
        if answer.status != 200:
            if self._capped(answer):
                raise Narrow
            if window.search_pages and self._expired(answer):
                raise Expired
            rest = spoilt.left_out(self._profile, window, answer, place)
            if rest is None:
                raise read_failure(answer, place, self._means.clock())
            return rest[0], rest[1].after(rest[0], link_digest(None), None)
        page = parse_page(answer.body, self._type, place=place)
        if page.self_link is None and self._sorts(route) and self._verdict("sort") == "honoured":
            page = replace(page, sorted_by=LAST_UPDATED)  # it does not say what it ran
        codes = set(warnings(page.entries))
        if codes & self._profile.expired_codes:
            raise Expired
        if spoilt.shows(self._profile, page, codes):
            around = spoilt.around(route, window, self._means.clock())
            if around is not None:
                raise Spoilt(around)
        failed = failures(page.entries)
        if passing := sorted(failed & PASSING):
            message = f"the server says that it could not search all ({', '.join(passing)})"
            raise Unavailable(message, code="search_incomplete", where=place)
        date = http_date(answer.headers.get("Date"))
        if window.pages == 0 and window.opened is None and page.next_link and not (date or page.server_time):
            opened = self._newest_stamp(route, window.walk, page)
            if opened is not None:
                return self._read(replace(window, opened=opened), route, self._search(route, window.walk))
        now = self._means.clock()
        asked = window.span.start if window.strategy == "last_updated" and not window.pages else None
        if last_updated.turned_back(asked, date or page.server_time or now):
            raise TurnedBack
        window = window.after(page, link_digest(page.next_link), date, now)
        if failed or codes & self._profile.partial_warning:
            window = replace(window, partial=True)
        self._doubt(window, route, page, codes)
        cap = self._profile.cap(self._type)
        if codes & self._profile.cap_codes or (cap is not None and window.rows >= cap):
            # The rows are landed all the same; the search is parted behind them.
            window = self._narrowed(window, route)
        return page, window

    def _newest_stamp(self, route: Route, walk: Walk, page: ParsedPage) -> datetime | None:
        """The latest stamp of all that a search finds, for servers that do not say what time it is.

        What changes from now on has a later one; so the search has to begin after this is asked.
        """
        if not self._sorts(route):
            return None
        past = [(LAST_UPDATED, f"lt{instant(self._means.clock())}")]  # a stamp of the future tells no time
        wanted = [("_count", "1"), *route.parameters(walk), *past, (_SORT, f"-{LAST_UPDATED}")]
        answer = self._client.request("GET", self._type, params=wanted)
        if answer.status != 200:
            return None
        stamps = [
            record.last_updated
            for record in parse_page(answer.body, self._type, place=f"{self._type} newest").records
            if record.last_updated is not None
        ]
        known = [record.last_updated for record in page.records if record.last_updated is not None]
        return max(stamps) if stamps and known and max(stamps) >= max(known) else None

    def _doubt(self, window: Window, route: Route, page: ParsedPage, codes: set[str]) -> None:
        """Remember when the server is seen to ignore what it was asked."""
        bound = window.span.start if window.strategy == "last_updated" else None
        if bound is None or "last_updated" in self._demoted:
            return
        # The pages of a search repeat what its first one said.
        warned = window.search_pages == 1 and bool(codes & self._profile.ignored_warning)
        if last_updated.disregards(page, bound):
            self._ignored = (LAST_UPDATED,)
            self._demote("last_updated")
        elif warned and self._sorts(route):
            self._refused = (*self._refused, _SORT)
            self._ignored = (_SORT,)
        elif warned:
            self._ignored = (LAST_UPDATED,)
            self._demote("last_updated")

    def _narrowed(self, window: Window, route: Route) -> Window:
        walk = route.narrowed(window.walk, self._means.clock())
        if walk is None:
            raise Misconfigured(
                "a search gives only its first rows, and nothing narrows it further: there are records that it"
                " never shows. Read this record type another way",
                code="search_capped",
                where=self._type,
            )
        return window.turned(walk)

    def _numbers(self, window: Window, route: Route) -> bool:
        """Whether pages are only numbered, where the search itself could begin where the last one ended."""
        if window.next_link is None or route.by != LAST_UPDATED or "last_updated" in self._demoted:
            return False
        if self._verdict("last_updated") != "honoured" or self._verdict("stamp") == "absent":
            return False
        asked = {"_count", _SORT, *(name for name, _ in route.parameters(window.walk))}
        return stepping.numbered(window.next_link, asked)

    def _onward(self, window: Window, route: Route, page: ParsedPage) -> Window:
        """The window where the next page comes from: by its link, by stamp, or when this search has given its last."""
        if not window.over:
            walk = stepping.step(window, page) if self._numbers(window, route) else None
            return window if walk is None else window.stepped(walk)
        shifting = self._profile.lossy_pages and window.search_pages > 1
        if shifting and window.seen != window.before:
            if window.passes >= _MOST_PASSES:
                raise WindowLost("the pages keep shifting while they are read", code="pages_shift")
            return window.repeated()
        walk = route.after(window.walk)
        return window if walk is None else window.turned(walk)

    def _page(self, page: ParsedPage, window: Window, route: Route) -> Page:
        if window.over and window.whole:
            self._kept.pop("history", None)
            self._kept.pop(_PRIMING, None)
        codes = set(warnings(page.entries)) - self._profile.quiet_codes
        return Page(
            newest(page.records),
            page.bad,
            self._cursor(window),
            window.over,
            window.whole,
            window.id,
            proves=not window.partial and route.proves(window.walk) and self._client.shows_all(self._type),
            warnings=tuple(sorted(codes)),
            ignored=self._ignored,
            strategy=window.strategy,
        )

    def _nothing(self, window: Window, *, last: bool = True) -> Page:
        """A page between two searches, or of a window without any: a roster that nobody stands on yet."""
        cursor = self._cursor(None if last else window)
        return Page((), (), cursor, last, window.whole, window.id, proves=False, strategy=window.strategy)

    def _cursor(self, window: Window | None = None) -> dict[str, Any]:
        cursor = dict(self._kept)
        if self._refused:
            cursor["refused"] = list(self._refused)
        if self._demoted:
            cursor["demoted"] = dict(self._demoted)
        if window is not None:
            cursor["since"] = instant(window.checkpoint)
            if not window.over:
                cursor["window"] = window.to_json()
        return cursor

    # What answers mean

    def _capped(self, answer: Answer) -> bool:
        codes = self._profile.cap_codes
        return answer.status >= 400 and bool(codes) and bool(codes & set(outcome_codes(answer.body)))

    def _expired(self, answer: Answer) -> bool:
        codes = self._profile.expired_codes
        told = answer.status >= 400 and bool(codes) and bool(codes & set(outcome_codes(answer.body)))
        return answer.status in _LINK_EXPIRED or told
