"""Typed settings of one installation, from the environment.

Everything that differs between machines is here; what differs between data sources is in Postgres.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from connector_runner.kernel.errors import Misconfigured

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver we ship named: ``postgres://`` (a PaaS) and ``postgresql://`` mean psycopg2.

    SQLAlchemy 2.1 reads a bare ``postgresql://`` as psycopg 3 and does not know ``postgres://``.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise Misconfigured("must be a postgres:// or postgresql:// URL", where="DATABASE_URL")
    return f"postgresql+psycopg2://{rest}"


class Settings(BaseSettings):
    """What the environment says. ``*_s`` are seconds."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_RUNNER_", extra="ignore", populate_by_name=True)

    database_url: str | None = Field(None, validation_alias="DATABASE_URL")
    redis_url: str | None = Field(None, validation_alias="REDIS_URL")
    home: Path = Path(".connector_runner")
    """Folder of the embedded servers' state, and of the key when none is given."""
    encryption_key: str | None = None
    """Base64 of 32 bytes, or a secret reference; wraps each workspace's data key."""
    mappings: Path = PROJECT_ROOT / "mappings"
    http_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """``host`` or ``host:port`` entries, comma separated, that may be called though they are private."""
    flower_basic_auth: str | None = Field(None, validation_alias="FLOWER_BASIC_AUTH")
    """``user:password`` of Flower's page."""
    log_level: str = "INFO"
    max_resource_bytes: int = 16 * 1024 * 1024
    """The largest single resource that an import takes in; a larger one is quarantined by its first part."""
    reconcile_every_s: float = Field(300.0, gt=0)
    """From the begin of one reconciliation of a sink to that of the next; and between two samples of it."""
    reconcile_sample: int = Field(20, ge=0)
    """So many confirmed writes of each sink are read back each time."""
    llm_base_url: str | None = None
    """An OpenAI-compatible endpoint (``https://host/v1``) that may be asked for codes; none: nobody is asked."""
    llm_model: str | None = None
    llm_api_key: str | None = None
    """Secret reference of the endpoint's key (``env:NAME``, ``file:/path``); none: it wants none."""
    llm_timeout_s: float = Field(20.0, gt=0, le=120)
    llm_concurrency: int = Field(32, ge=1, le=256)
    """So many questions of review are with the model at once, for each process that reviews; its tasks share them."""
    llm_tokens_per_hour: int = Field(1_000_000, ge=0)
    """What review may spend of the model in an hour on the clock, for each workspace; 0: nothing."""
    jwks_cache_s: int = Field(3600, ge=1, le=7 * 86400)
    """For how long those who read our public keys may keep them; a new key signs no sooner."""
    io_threads: int = 16
    cpu_processes: int = 2

    @property
    def review_tasks(self) -> int:
        """So many tasks of review run at once in a process: a model that is slow leaves the rest to other work."""
        return max(1, self.io_threads // 4)

    @property
    def llm_share(self) -> int:
        """So many questions each of them has with the model at once."""
        return max(1, self.llm_concurrency // self.review_tasks)

    @field_validator("http_allow", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()
