"""The landing page: plain HTML that renews itself, readable without colour, script or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

REFRESH_S = 5
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem 1.25rem 3rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.figures{display:flex;flex-wrap:wrap;gap:1rem;padding:0;margin:1rem 0;list-style:none}
.figures li{border:1px solid #8886;border-radius:.5rem;padding:.5rem 1rem;min-width:8rem}
.figures strong{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid #8884;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
.bad{font-weight:700}
"""


def render(found: Mapping[str, Any]) -> str:
    """The page of a status document."""
    parts = [
        f"<p>Status: <strong>{escape(found['status'])}</strong></p>",
        _figures(found),
        _sources(found["sources"]),
        _sinks(found["sinks"]),
        _table("Entities", ["Type", "#Number"], sorted(found["entities"].items())),
        _queues(found["queues"]),
        _table(
            "Workers",
            ["Node", "Kind", "#Seconds since heard"],
            [(w["node"], w["kind"], w["seconds_ago"]) for w in found["workers"]],
        ),
    ]
    if found["unmapped"]:
        rows = [(u["source"], u["resource_type"], u["records"]) for u in found["unmapped"]]
        parts.append(_table("Kept without mappings", ["Source", "Record type", "#Records"], rows))
    return _document("connector_runner", "".join(parts))


def unavailable(reason: str) -> str:
    """The page while Postgres cannot be asked."""
    return _document("connector_runner", f'<p role="alert" class="bad">Unavailable: {escape(reason)}</p>')


def _document(title: str, body: str) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}"
        f"<p><small>As of {now} UTC; renewed every {REFRESH_S} seconds. Numbers only.</small></p></main></body></html>"
    )


def _figures(found: Mapping[str, Any]) -> str:
    figures = (
        ("events", found["events"]["total"]),
        ("entities", sum(found["entities"].values())),
        ("waiting for sinks", sum(sink["pending"] for sink in found["sinks"])),
        ("in quarantine", found["quarantine"]["open"]),
        ("imports running", found["imports"]["running"]),
    )
    return '<ul class="figures">' + "".join(f"<li><strong>{n:,}</strong> {name}</li>" for name, n in figures) + "</ul>"


def _sources(sources: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            source["name"],
            source["source_type"],
            source["health_status"] if source["enabled"] else "disabled",
            source["health_detail"] or source["health_code"] or "",
            _moment(source["last_poll_at"]),
            source["consecutive_errors"],
            source["event_count"],
        )
        for source in sources
    ]
    return _table("Sources", ["Name", "Type", "Health", "Reason", "Last poll", "#Errors", "#Events"], rows)


def _sinks(sinks: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            sink["name"],
            sink["synced"],
            sink["pending"],
            sink["failed"],
            ", ".join(f"{count} {state}" for state, count in sorted(sink["lanes"].items()) if count),
            sink["paused_reason"] or "",
        )
        for sink in sinks
    ]
    return _table("Sinks", ["Name", "#Synced", "#Pending", "#Failed", "Lanes", "Paused because"], rows)


def _queues(queues: Mapping[str, int] | None) -> str:
    if queues is None:
        return '<h2>Queues</h2><p role="alert" class="bad">Redis does not answer.</p>'
    return _table("Queues", ["Queue", "#Hints waiting"], sorted(queues.items()))


def _moment(value: datetime | None) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else "never"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; a column that begins with ``#`` holds numbers."""
    numeric = [column.startswith("#") for column in columns]

    def cell(tag: str, value: object, number: bool, scope: str = "") -> str:
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        return f"<{tag}{scope}{' class=n' if number else ''}>{escape(shown)}</{tag}>"

    head = "".join(
        cell("th", column.lstrip("#"), number, ' scope="col"') for column, number in zip(columns, numeric, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(cell("td", value, number) for value, number in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    if not body:
        body = f'<tr><td colspan="{len(columns)}">none</td></tr>'
    return (
        f'<section><h2>{escape(title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )
