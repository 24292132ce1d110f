"""Brings a database to the schema of this release."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from connector_runner.kernel.errors import Unavailable
from connector_runner.settings import PROJECT_ROOT, sqlalchemy_url


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations"))
    return config


def upgrade(url: str) -> None:
    """Apply every migration that the database lacks; others that try meanwhile wait and find nothing to do.

    Raises Unavailable when the database cannot be reached.
    """
    engine = create_engine(sqlalchemy_url(url), connect_args={"connect_timeout": 10})
    config = _config()
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError:
        raise Unavailable("Postgres cannot be reached", code="database_unavailable", where="DATABASE_URL") from None
    finally:
        engine.dispose()


def is_current(url: str) -> bool:
    """Whether the database has the schema of this release."""
    engine = create_engine(sqlalchemy_url(url), connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            row = connection.execute(text("SELECT version_num FROM schema_version")).first()
    except (OperationalError, ProgrammingError):
        return False
    finally:
        engine.dispose()
    return row is not None and row[0] == ScriptDirectory.from_config(_config()).get_current_head()
