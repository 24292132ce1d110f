"""``connector-runner services``: the Postgres and Redis that this installation uses."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from connector_runner.infra.embedded import (
    ensure_services,
    erase_services,
    known_urls,
    published_stack,
    stop_services,
)
from connector_runner.settings import Settings

app = typer.Typer(help="Postgres and Redis: given by DATABASE_URL and REDIS_URL, else embedded.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def urls(settings: Settings) -> dict[str, object]:
    """Where the parts of this installation are; None for what does not run. It holds passwords."""
    database, redis = known_urls(settings)
    stack = published_stack(settings.home)
    return {
        "database": database,
        "redis": redis,
        "web": stack.get("web"),
        "flower": stack.get("flower"),
        "sandbox": stack.get("sandbox") or {},
    }


def print_urls(found: dict[str, object], *, as_json: bool) -> None:
    """On stdout: one JSON document, or lines that a shell can read."""
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, variable in (
        ("database", "DATABASE_URL"),
        ("redis", "REDIS_URL"),
        ("web", "WEB_URL"),
        ("flower", "FLOWER_URL"),
    ):
        if found[name]:
            typer.echo(f"{variable}={found[name]}")
    sandbox = found["sandbox"]
    if isinstance(sandbox, dict):
        for name, url in sandbox.items():
            typer.echo(f"SANDBOX_{name.upper().replace('-', '_')}_URL={url}")


@app.command("up")
def up(as_json: Json = False) -> None:
    """Start the embedded services that do not run yet; print where all are."""
    settings = Settings()
    ensure_services(settings)
    print_urls(urls(settings), as_json=as_json)


@app.command("down")
def down(
    erase: Annotated[bool, typer.Option("--erase", help="Delete their data as well, for good.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the embedded services; what DATABASE_URL and REDIS_URL name is left alone."""
    settings = Settings()
    if erase:
        erase_services(settings.home)
    else:
        stop_services(settings.home)
    if as_json:
        typer.echo(json.dumps({"stopped": True, "erased": erase}))


@app.command("url")
def url(as_json: Json = False) -> None:
    """Print where things run, passwords included; starts nothing."""
    print_urls(urls(Settings()), as_json=as_json)
