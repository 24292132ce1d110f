"""The landing page: what flows, as plain HTML. Counts, codes and names that operators chose; nothing of a record.

Types without a mapping are only counted here: such a type's name is whatever a source wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from connector_runner.web import style
from connector_runner.web.markup import Markup, element, joined
from connector_runner.web.snapshot import Snapshot, WorkspaceView

REFRESH_S: Final = 5
# A word and a sign each, so that nothing is said by colour alone.
_MARKS: Final = {
    "healthy": ("good", "●"),
    "starting": ("warn", "◌"),
    "unknown": ("warn", "◌"),
    "degraded": ("warn", "▲"),
    "unhealthy": ("bad", "■"),
    "disabled": ("quiet", "-"),
}


def render(snapshot: Snapshot, *, refresh: bool = True) -> str:
    """The page; with ``refresh`` the browser asks again every five seconds."""
    overall = snapshot.overall
    seen = element("time", f"{snapshot.at:%Y-%m-%d %H:%M:%S} UTC", datetime=snapshot.at.isoformat())
    header = element(
        "header", element("h1", "connector_runner"), element("p", _mark(overall["status"]), " as of ", seen)
    )
    sections = [_workspace(view) for view in snapshot.workspaces]
    if not snapshot.workspaces:
        hint = element("code", "connector-runner workspace create SLUG")
        sections.append(element("p", "There is no workspace yet. Make one with ", hint, "."))
    if snapshot.more_workspaces:
        sections.append(element("p", f"{snapshot.more_workspaces} more workspaces are not shown."))
    main = element("main", *sections, _installation(overall), id="main")
    return _document("connector_runner: what flows", header, main, _footer(refresh), refresh=refresh)


def message(title: str, text: str, *, refresh: bool = False) -> str:
    """A page that only says something."""
    main = element("main", element("h1", title), element("p", text), id="main")
    return _document(title, main, refresh=refresh)


def _document(title: str, *body: Markup, refresh: bool) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="refresh", content=str(REFRESH_S)) if refresh else Markup(),
        element("title", title),
        element("link", rel="stylesheet", href=style.PATH),
    )
    skip = element("a", "Skip to content", href="#main", class_="skip")
    return "<!doctype html>\n" + element("html", head, element("body", skip, *body), lang="en")


def _footer(refresh: bool) -> Markup:
    if refresh:
        toggle = element("a", "Stop refreshing", href="/?refresh=off")
        words = f"Refreshes every {REFRESH_S} seconds. "
    else:
        toggle = element("a", "Refresh by itself", href="/")
        words = "Does not refresh by itself. "
    links = [element("li", element("a", name, href=f"/{name}")) for name in ("health", "ready", "metrics")]
    nav = element("nav", element("ul", *links), aria_label="For machines")
    return element("footer", element("p", words, toggle), nav)


def _workspace(view: WorkspaceView) -> Markup:
    found = view.found
    heading = f"workspace-{view.slug}"
    title = view.name or view.slug
    figures = {
        "events": found["events"]["total"],
        "entities": sum(found["entities"].values()),
        "to release": found["release"]["pending"],
        "to fold": found["folding"]["pending"],
        "pushes waiting": sum(row["pending"] for row in found["pushes"]),
        "imports running": found["imports"]["running"],
        "in quarantine": found["quarantine"]["open"],
        "types without mapping": len(found["unmapped"]),
    }
    return element(
        "section",
        element("h2", title, id=heading),
        element("p", "▲ Suspended: nothing is polled or written.", class_="mark warn") if view.suspended else Markup(),
        element("p", _mark(found["status"]), f" workspace {view.slug}"),
        _reasons(found["reasons"]),
        _figures(figures),
        _alerts(title, found["alerts"]),
        _sources(title, found["sources"]),
        _sinks(title, found["sinks"]),
        _table(
            f"Entities of {title}",
            ("type", "number"),
            [(kind, _number(count)) for kind, count in found["entities"].items()],
            empty="No entities yet.",
        ),
        aria_labelledby=heading,
    )


def _reasons(reasons: Sequence[dict[str, Any]]) -> Markup:
    if not reasons:
        return Markup()
    items = []
    for reason in reasons:
        subject = reason.get("source") or reason.get("sink")
        text = ": ".join(str(part) for part in (subject, reason["code"], reason["detail"]) if part)
        items.append(element("li", text))
    return element("ul", *items)


def _alerts(title: str, alerts: Sequence[dict[str, Any]]) -> Markup:
    if not alerts:
        return Markup()
    lines = [
        (alert["source"], alert["kind"], alert["subject"], alert["code"], alert["detail"], _time(alert["raised_at"]))
        for alert in alerts
    ]
    columns = ("source", "kind", "about", "code", "what it is", "since (UTC)")
    return _table(f"Alerts of {title}", columns, lines, empty="")


def _sources(title: str, sources: Sequence[dict[str, Any]]) -> Markup:
    lines = [
        (
            source["name"],
            source["source_type"],
            joined(_mark(source["health_status"]), *([" ", source["health_code"]] if source["health_code"] else [])),
            _time(source["last_poll_at"]),
            _number(source["consecutive_errors"]),
            _number(source["event_count"]),
        )
        for source in sources
    ]
    columns = ("source", "type", "health", "last poll (UTC)", "errors in a row", "events")
    return _table(f"Sources of {title}", columns, lines, empty="No sources yet.")


def _sinks(title: str, sinks: Sequence[dict[str, Any]]) -> Markup:
    lines = []
    for sink in sinks:
        states = ", ".join(f"{count:,} {state}" for state, count in sink["lanes"].items() if count) or "none"
        age = sink["oldest_ready_s"]
        paused = sink["paused_reason"]
        flow = element("span", f"▲ paused: {paused}", class_="mark warn") if paused else "open"
        counts = [_number(sink[name]) for name in ("synced", "pending", "failed", "held")]
        lines.append((sink["name"], flow, *counts, states, "" if age is None else f"{age:,.0f} s"))
    columns = ("sink", "flow", "synced", "pending", "failed", "held back", "lanes", "oldest due since")
    return _table(f"Sinks of {title}", columns, lines, empty="No sinks: nothing is written.")


def _installation(overall: dict[str, Any]) -> Markup:
    queues, workers = overall["queues"], overall["workers"]
    if queues is None:
        waiting = element("p", "■ Redis does not answer.", class_="mark bad")
    else:
        lines = [(name, _number(depth)) for name, depth in queues.items()]
        waiting = _table("Queues", ("queue", "hints that wait"), lines, empty="No queues.")
    alive = _table(
        "Workers that gave a sign of life",
        ("worker", "kind", "last sign"),
        [(worker["node"], worker["kind"], f"{worker['seconds_ago']} s ago") for worker in workers],
        empty="No worker gave a sign of life in the last half minute.",
    )
    return element("section", element("h2", "Installation", id="installation"), waiting, alive,
                   aria_labelledby="installation")  # fmt: skip


def _figures(figures: dict[str, int]) -> Markup:
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", f"{count:,}")) for name, count in figures.items()),
        class_="figures",
    )


def _table(caption: str, columns: Sequence[str], lines: Iterable[Sequence[object]], *, empty: str) -> Markup:
    """A table whose first column names its rows. It scrolls within itself on a narrow screen."""
    body = [element("tr", element("th", line[0], scope="row"), *(_cell(value) for value in line[1:])) for line in lines]
    if not body:
        return element("p", empty, class_="quiet")
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in columns)))
    table = element("table", element("caption", caption), head, element("tbody", *body))
    return element("div", table, class_="scroll", role="region", aria_label=caption, tabindex="0")


class _Number(str):
    """A count, set in a column of its kind."""

    __slots__ = ()


def _number(count: int) -> _Number:
    return _Number(f"{count:,}")


def _cell(value: object) -> Markup:
    return element("td", value, class_="number" if isinstance(value, _Number) else None)


def _mark(word: str) -> Markup:
    kind, sign = _MARKS.get(word, ("quiet", "-"))
    return element("span", f"{sign} {word}", class_=f"mark {kind}")


def _time(moment: datetime | None) -> str | Markup:
    if moment is None:
        return "never"
    moment = moment.astimezone(UTC)
    return element("time", f"{moment:%Y-%m-%d %H:%M:%S}", datetime=moment.isoformat())
