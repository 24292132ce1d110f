"""The source of ``poll_cost``: patients in memory, filtered and sorted by their stamps, paged by position.

A line on stdin is how many of them change.
"""

from __future__ import annotations

import json
import sys
import threading
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

from benchmarks.machine import birth_date

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """Records in the order of their stamps."""

    def __init__(self, count: int) -> None:
        self.rows = [(_stamp(n), n, 1) for n in range(count)]

    def change(self, count: int) -> None:
        """The first ones change, and go to the end."""
        moved, latest = self.rows[:count], len(self.rows)
        later = [(_stamp(latest + at), n, version + 1) for at, (_, n, version) in enumerate(moved)]
        self.rows = self.rows[count:] + later

    def page(self, query: dict[str, str], base: str) -> bytes:
        """A searchset."""
        bound = query.get("_lastUpdated", "ge").removeprefix("ge")
        start = bisect_left(self.rows, (bound, -1, 0)) if bound else 0
        start += int(query.get("_at", "0"))
        size = int(query.get("_count", "100"))
        links = [{"relation": "self", "url": f"{base}/Patient?{urlencode(query)}"}]
        if start + size < len(self.rows):
            onward = query | {"_at": str(int(query.get("_at", "0")) + size)}
            links.append({"relation": "next", "url": f"{base}/Patient?{urlencode(onward)}"})
        entries = [{"resource": _patient(*row)} for row in self.rows[start : start + size]]
        return json.dumps({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}).encode()


def _stamp(n: int) -> str:
    return (EPOCH + timedelta(milliseconds=n)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _patient(stamp: str, n: int, version: int) -> dict[str, object]:
    return {
        "resourceType": "Patient",
        "id": f"p{n}",
        "meta": {"versionId": str(version), "lastUpdated": stamp},
        "identifier": [{"system": "urn:example:mrn", "value": f"{n:08}"}],
        "name": [{"use": "official", "family": f"Family{n % 5000}", "given": [f"Given{n % 300}"]}],
        "gender": "female" if n % 2 else "male",
        "birthDate": birth_date(n),
        "telecom": [{"system": "phone", "value": f"+1617{n:07}", "use": "mobile" if version % 2 else "home"}],
        "address": [{"line": [f"{n} Main St"], "city": "Boston", "state": "MA", "postalCode": "02101"}],
    }


def main() -> None:
    """Serve until stdin ends."""
    store = Store(int(sys.argv[1]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            payload = store.page(dict(parse_qsl(parts.query)), f"http://{self.headers['Host']}/fhir")
            self.send_response(200)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{listening.server_port}/fhir", flush=True)
    for line in sys.stdin:
        store.change(int(line))
        print("changed", flush=True)


if __name__ == "__main__":
    main()
