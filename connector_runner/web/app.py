"""The web server: health, readiness, metrics, and the page of what flows."""

from __future__ import annotations

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse
from redis.exceptions import RedisError

from connector_runner.bootstrap import Runner
from connector_runner.infra import metrics, migrations
from connector_runner.kernel.errors import RunnerError
from connector_runner.observability import status, store
from connector_runner.web import page

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(runner: Runner) -> FastAPI:
    """The application over one Runner. Its answers hold counts, names and codes; no record's content."""
    app = FastAPI(title="connector_runner", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        """This process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    def ready() -> JSONResponse:
        """Postgres, its schema and Redis can be used; 503 when not."""
        checks = readiness(runner)
        return JSONResponse(checks, status_code=200 if all(checks.values()) else 503)

    @app.get("/metrics")
    def exposed() -> Response:
        """For Prometheus."""
        try:
            status.refresh_gauges(runner.database, runner.quarantine)
        except RunnerError:
            # The counters of this process are worth having while Postgres is away.
            return Response(metrics.expose(), media_type=metrics.CONTENT_TYPE, headers={"X-Gauges": "stale"})
        return Response(metrics.expose(), media_type=metrics.CONTENT_TYPE)

    @app.get("/", response_class=HTMLResponse)
    def landing() -> HTMLResponse:
        """What flows, for people."""
        try:
            found = gather(runner)
        except RunnerError as error:
            return HTMLResponse(page.unavailable(error.message), status_code=503, headers=_HEADERS)
        return HTMLResponse(page.render(found), headers=_HEADERS)

    return app


def readiness(runner: Runner) -> dict[str, bool]:
    """Which of the things that work needs can be used now."""
    database = migrations.is_current(runner.addresses.database_url)
    try:
        redis = bool(runner.redis.ping())
    except RedisError:
        redis = False
    return {"database": database, "redis": redis}


def gather(runner: Runner) -> dict[str, object]:
    """All workspaces' status, and the installation's.

    Raises Unavailable when Postgres cannot be asked.
    """
    with runner.database.sweep() as tx:
        ids = [row["workspace_id"] for row in store.workspaces(tx)]
    found = status.together([status.of_workspace(runner.database, runner.quarantine, each) for each in ids])
    try:
        return found | status.of_installation(runner.database, runner.publisher)
    except RedisError:
        return found | {"status": "degraded", "workers": [], "queues": None}
