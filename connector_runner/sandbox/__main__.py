"""Run one simulated system: ``python -m connector_runner.sandbox --system ehr --port 0``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from .limits import RateLimit
from .server import Server
from .system import Start, System
from .vendors import VENDORS
from .wire import Wire

DEFAULT_PATIENTS = {"ehr": 60}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m connector_runner.sandbox", description=__doc__)
    parser.add_argument("--system", default="ehr", help="its name; ehr has patients, crm is a CRM, others start empty")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--patients", type=int, help="how many to begin with")
    parser.add_argument("--change-every", type=float, default=0, metavar="SECONDS", help="0: only on demand")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep resources and journal there")
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: no limit")
    parser.add_argument("--burst", type=float, default=1)
    parser.add_argument("--vendor", default="", choices=("", *VENDORS), help="whose EHR it is like; FHIR systems only")
    parser.add_argument("--auth", default="", choices=("", "smart"), help="ask for tokens of its own SMART server")
    parser.add_argument("--clients", type=Path, metavar="FILE", help="JSON list of the clients that it begins with")
    return parser.parse_args(arguments)


async def serve(chosen: argparse.Namespace, listening: socket.socket) -> None:
    """Serve until a signal asks to stop; says where on standard output, in one line."""
    patients = DEFAULT_PATIENTS.get(chosen.system, 0) if chosen.patients is None else chosen.patients
    start = Start(chosen.system, chosen.seed, patients, chosen.state, chosen.vendor, chosen.auth, chosen.clients)
    system = System(start, limit=RateLimit(chosen.rate, chosen.burst))
    if chosen.change_every:
        system.life.every(chosen.change_every)
    config = uvicorn.Config(
        Server(system),
        http=Wire,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        date_header=False,  # the server says the time itself, as its clock has it
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        backlog=1024,
    )
    host, port = listening.getsockname()[:2]
    sys.stdout.write(f"listening http://{host}:{port}\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listening])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    chosen = _arguments(arguments)
    listening = socket.create_server((chosen.host, chosen.port), backlog=1024)
    asyncio.run(serve(chosen, listening))


if __name__ == "__main__":
    main()
