"""CPU a resource of a bulk export, end to end, against a file import of the same NDJSON in the same run.

The export is served from memory by a thread of the benchmark, whose CPU does not count; fetched in files of 10,000
lines and in files of 50, as some EHRs make them; by the command line, which fetches and lands in one process.

python -m benchmarks.export_speed [--resources 20000]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.import_speed import import_cpu_s
from benchmarks.machine import Bench, bench, people, report, run

File = tuple[str, bytes, int]
CLI = (sys.executable, "-m", "connector_runner.cli")


def split(directory: Path, lines: int) -> list[File]:
    """The population in files of so many lines: record type, content, lines."""
    found: list[File] = []
    for path in sorted(directory.iterdir()):
        content = path.read_bytes().splitlines(keepends=True)
        for at in range(0, len(content), lines):
            some = content[at : at + lines]
            found.append((path.stem.partition(".")[0], b"".join(some), len(some)))
    return found


def serve(files: list[File]) -> ThreadingHTTPServer:
    """A server whose every export is ready at once and holds these files."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            base = f"http://{self.headers['Host']}"
            step = self.path.partition("?")[0].rpartition("/")[2]
            if step == "$export":
                self._answer(202, b"", {"Content-Location": f"{base}/fhir/status"})
            elif step == "status":
                output = [
                    {"type": kind, "url": f"{base}/file/{n}", "count": count}
                    for n, (kind, _, count) in enumerate(files)
                ]
                manifest = {"transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": False, "output": output}
                self._answer(200, json.dumps(manifest).encode(), {"Content-Type": "application/json"})
            else:
                self._answer(200, files[int(step)][1], {"Content-Type": "application/fhir+ndjson"})

        def do_DELETE(self) -> None:
            self._answer(202, b"", {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def export_cpu_s(machine: Bench, files: list[File], slug: str, scratch: Path) -> tuple[float, float, dict[str, Any]]:
    """CPU and peak memory of one export by the command line, database included."""
    server = serve(files)
    settings = {
        "base_url": f"http://127.0.0.1:{server.server_port}/fhir",
        "resources": sorted({kind for kind, _, _ in files}),
        "rate": {"per_second": 10_000, "burst": 10_000},
        "bulk": {"poll_s": 0.05},
    }
    document = scratch / f"{slug}.json"
    document.write_text(json.dumps({"name": "ehr", "source_type": "fhir_store", "settings": settings}))
    run([*CLI, "source", "apply", str(document), "--workspace", slug], machine.environment())
    before = machine.postgres_cpu_s()
    done = run([*CLI, "source", "export", "ehr", "--full", "--workspace", slug, "--json"], machine.environment())
    cpu_s = done.cpu_s + machine.postgres_cpu_s() - before
    server.shutdown()
    return cpu_s, done.peak_mb, json.loads(done.stdout)


def main() -> None:
    """Measure an import, an export of large files and one of small ones, each into a workspace of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench() as machine:
        directory = Path(scratch) / "ndjson"
        people(directory, arguments.resources)
        for slug in ("files", "large", "small"):
            machine.workspace(slug)
        imported, import_mb, counts = import_cpu_s(machine, directory, "files")
        large, large_mb, of_large = export_cpu_s(machine, split(directory, 10_000), "large", Path(scratch))
        small, small_mb, of_small = export_cpu_s(machine, split(directory, 50), "small", Path(scratch))
        events = int(str(counts["events_created"]))
        report(
            "export_speed",
            {
                "resources": events,
                "import_cpu_ms": round(imported / events * 1e3, 4),
                "large_files": of_large["files"],
                "large_cpu_ms": round(large / events * 1e3, 4),
                "large_to_import": round(large / imported, 2),
                "small_files": of_small["files"],
                "small_cpu_ms": round(small / events * 1e3, 4),
                "small_to_import": round(small / imported, 2),
                "import_mb": round(import_mb, 1),
                "large_mb": round(large_mb, 1),
                "small_mb": round(small_mb, 1),
                "same": of_large["events_created"] == of_small["events_created"] == events,
            },
        )


if __name__ == "__main__":
    main()
