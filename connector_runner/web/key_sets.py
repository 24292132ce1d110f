"""The public halves of a workspace's keys, for the servers that it asks for tokens (SMART App Launch 2.2)."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from connector_runner.auth import client_keys, store
from connector_runner.infra.database import Database
from connector_runner.infra.logging import get_logger
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Unavailable

log = get_logger(__name__)

PATH: Final = "/.well-known/jwks/{workspace}.json"


def register(app: FastAPI, database: Database, *, cache_s: int) -> None:
    """Serve the sets. Those who read one may keep it for ``cache_s`` seconds: rotation waits as long."""

    @app.api_route(PATH, methods=["GET", "HEAD"])
    def key_set(workspace: str) -> JSONResponse:
        """The JWK set of a workspace; 404 where there is no such workspace."""
        try:
            with database.sweep() as tx:
                row = store.workspace_named(tx, workspace)
            if row is None:
                raise HTTPException(404)
            with database.begin(row["workspace_id"]) as tx:
                published = client_keys.published(tx, row["workspace_id"], utc_now())
        except Unavailable as exc:
            log.warning("key_set.unavailable", code=exc.code)
            return JSONResponse({"error": "unavailable"}, status_code=503, headers={"Retry-After": "5"})
        return JSONResponse(published, headers={"Cache-Control": f"public, max-age={cache_s}"})
