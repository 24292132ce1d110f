"""The web server: what is pushed to us, health, readiness, metrics, and the page of what flows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from connector_runner.bootstrap import Runner, build
from connector_runner.infra import metrics
from connector_runner.infra.database import Database
from connector_runner.infra.logging import configure, get_logger
from connector_runner.infra.shared_counters import SharedCounters
from connector_runner.kernel.errors import Unavailable
from connector_runner.settings import Settings
from connector_runner.web import key_sets, page, style
from connector_runner.web.guard import Guard
from connector_runner.web.hooks import Hooks
from connector_runner.web.readiness import OK, Readiness
from connector_runner.web.scrape import scrape
from connector_runner.web.snapshot import Snapshots
from connector_runner.web.wire import Wire

log = get_logger(__name__)

STATEMENT_TIMEOUT_S = 10.0
_METHODS = ["GET", "HEAD"]
_REFUSALS = {404: "There is nothing here.", 405: "This address cannot be asked in that way."}


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until told to stop. Raises Misconfigured when there is no Postgres or Redis to use."""
    configure(settings.log_level)
    app = create_app(build(settings))
    uvicorn.run(app, host=host, port=port, http=Wire, log_config=None, access_log=False, server_header=False)


def create_app(runner: Runner) -> FastAPI:
    """The application over one Runner. Its answers hold counts, names and codes; no record's content."""
    database = Database(runner.addresses.database_url, pool_size=2, statement_timeout_s=STATEMENT_TIMEOUT_S)
    readiness = Readiness(runner.addresses, database)
    snapshots = Snapshots(runner, database)
    hooks = Hooks(runner)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        hooks.close()
        readiness.close()
        database.dispose()

    app = FastAPI(title="connector_runner", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(Guard)
    app.add_exception_handler(HTTPException, _refused)
    hooks.register(app)
    key_sets.register(app, database, cache_s=runner.settings.jwks_cache_s)
    _for_machines(app, readiness, snapshots, runner.counters)
    _for_people(app, snapshots)
    return app


def _for_machines(app: FastAPI, readiness: Readiness, snapshots: Snapshots, counters: SharedCounters) -> None:
    @app.api_route("/health", methods=_METHODS)
    async def health() -> dict[str, str]:
        """This process is alive, whatever became of the others."""
        return {"status": OK}

    @app.api_route("/ready", methods=_METHODS)
    async def ready() -> JSONResponse:
        """Postgres, its schema and Redis can be used; 503 naming what cannot."""
        checks = await readiness.checks()
        missing = [name for name, answer in checks.items() if answer != OK]
        found = {"ready": not missing, "checks": checks, "missing": missing}
        return JSONResponse(found, status_code=503 if missing else 200)

    @app.api_route("/metrics", methods=_METHODS)
    def exposed() -> Response:
        """For Prometheus."""
        return Response(scrape(snapshots, counters), headers={"Content-Type": metrics.CONTENT_TYPE})


def _for_people(app: FastAPI, snapshots: Snapshots) -> None:
    @app.api_route("/", methods=_METHODS)
    def landing(refresh: str = "on") -> HTMLResponse:
        """What flows; ``refresh=off`` holds it still."""
        try:
            snapshot = snapshots.latest()
        except Unavailable as exc:
            log.warning("page.unavailable", code=exc.code)
            text = "Postgres cannot be used now, so nothing can be said of what flows."
            unavailable = page.message("Not available", text, refresh=True)
            return HTMLResponse(unavailable, status_code=503, headers={"Retry-After": str(page.REFRESH_S)})
        return HTMLResponse(page.render(snapshot, refresh=refresh != "off"))

    @app.api_route(style.PATH, methods=_METHODS)
    async def style_sheet() -> Response:
        """How it looks."""
        return Response(
            style.CSS, media_type="text/css", headers={"Cache-Control": "public, max-age=31536000, immutable"}
        )


async def _refused(_: Request, exc: Exception) -> HTMLResponse:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    text = _REFUSALS.get(status, "This request cannot be served.")
    return HTMLResponse(page.message(f"{status}", text), status_code=status, headers=headers)
