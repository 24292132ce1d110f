"""Brings a database to the schema of this release."""

from __future__ import annotations

import re
from functools import cache

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from connector_runner.kernel.errors import Unavailable
from connector_runner.settings import PROJECT_ROOT, sqlalchemy_url

_FOLDER = PROJECT_ROOT / "migrations"
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_FOLLOWS = re.compile(r'^down_revision = "(\w+)"$', re.MULTILINE)


def upgrade(url: str, *, to: str = "head") -> None:
    """Apply every migration that the database lacks; others that try meanwhile wait and find nothing to do.

    ``to``: only those up to a revision.

    Raises Unavailable when the database cannot be reached.
    """
    engine = create_engine(sqlalchemy_url(url), connect_args={"connect_timeout": 10})
    # Here, for every command asks below what schema there should be, and few bring it there: to import Alembic
    # takes a tenth of a second.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, to)
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
    return row is not None and row[0] == _head()


@cache
def _head() -> str:
    """The revision that no other follows."""
    texts = [path.read_text() for path in (_FOLDER / "versions").glob("v*.py")]
    found = {revision for text in texts for revision in _REVISION.findall(text)}
    head: str
    (head,) = found - {revision for text in texts for revision in _FOLLOWS.findall(text)}
    return head
